"""`rq.get_current_job()` inside Heori: rq's own object, in every execution model."""

import copy
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import rq.job
from rq import Queue, SimpleWorker, get_current_job
from rq.job import Job
from rq.serializers import JSONSerializer

from heori_common.current_job import CurrentJob, set_current_job
from heori_common.rq.current import answer_for_rq
from heori_common.rq.lazy_job import make_job
from tests.tasks import rq_tasks, sample_tasks


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


@pytest.mark.usefixtures("shared")
def test_a_function_finds_its_job_in_every_model(stock: Queue, redis: Any) -> None:
    names = [f"tests.tasks.rq_tasks.{name}" for name in ("look_at_itself", "look_at_itself_later")]
    jobs = [stock.enqueue(names[n % 2], kwargs={"pause": 0.02}, meta={"own": n}) for n in range(12)]
    told = stock.enqueue(rq_tasks.tell_from_a_thread)
    for n, job in enumerate(jobs):
        result = job.latest_result(timeout=60)
        assert result is not None
        assert result.return_value is not None, result.exc_string
        seen = dict(result.return_value)
        worker = seen.pop("worker")
        assert seen == {
            "id": job.id,
            "status": "started",
            "stopped": False,
            "kwargs": {"pause": 0.02},
            "origin": "default",
        }
        assert job.get_meta() == {"own": n, "seen": names[n % 2]}
        assert worker == redis.hget(job.key, "worker_name").decode()
    result = told.latest_result(timeout=60)
    assert result is not None
    assert result.return_value == {"progress": 50} == told.get_meta()


PROGRAM = """
import sys
import heori_consumer.worker.process
from heori_common.rq.current import answer_for_rq
from heori_common.current_job import CurrentJob, set_current_job

made = []
answer_for_rq(lambda job: made.append(job.id) or "the job")
job = CurrentJob("a", "task", "default", 1, 180, print)
set_current_job(job)
assert "rq" not in sys.modules
import inspect, rq, rq.job
assert rq.get_current_job() == rq.get_current_job() == "the job"
assert made == ["a"]
assert "def get_current_job" in inspect.getsource(rq.job)
"""


def test_rq_is_not_imported_for_it_and_is_found_as_soon_as_it_is() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)


@pytest.fixture
def answered() -> Iterator[Callable[[CurrentJob], None]]:
    """Has rq ask Heori in this process; what is given to it is the job that runs."""
    name = "_current_job" if hasattr(rq.job, "_current_job") else "_job_stack"
    own = getattr(rq.job, name)
    answer_for_rq(lambda job: f"rq's {job.id}")
    yield set_current_job
    set_current_job(None)  # type: ignore[arg-type]
    setattr(rq.job, name, own)


def test_rqs_own_worker_inside_a_job_has_its_own_current_job(
    answered: Callable[[CurrentJob], None], stock: Queue, redis: Any
) -> None:
    assert get_current_job() is None
    answered(CurrentJob("outer", "task", "default", 1, 180, lambda *_: None))
    inner = stock.enqueue(rq_tasks.look)
    worker = SimpleWorker([stock], connection=redis, serializer=JSONSerializer)
    worker.work(burst=True)
    result = inner.latest_result()
    assert result is not None
    assert result.return_value is not None, result.exc_string
    assert result.return_value["id"] == inner.id
    assert get_current_job() == "rq's outer"


class Reader:
    """Reads jobs as a worker does, and counts how often."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, connection: Any, key: str) -> Mapping[bytes, bytes]:
        self.reads += 1
        found: Mapping[bytes, bytes] = connection.hgetall(key)
        return found


def test_a_job_is_read_once_and_only_if_something_of_it_is_looked_at(
    stock: Queue, redis_url: str
) -> None:
    queued = stock.enqueue(sample_tasks.add, 1, meta={"a": 1})
    read = Reader()
    job = make_job(queued.id, redis_url, JSONSerializer, read)
    assert isinstance(job, Job)
    assert job.id == queued.id
    assert job.get_status() == "queued"  # it asks Redis by itself
    assert job.connection.ping()
    assert read.reads == 0
    assert (job.args, job.meta, job.origin) == ([1], {"a": 1}, "default")
    assert type(job) is Job
    same = Job.fetch(queued.id, stock.connection, JSONSerializer)
    assert (same.args, same.meta) == (job.args, job.meta)
    assert {**vars(job), "connection": same.connection} == vars(same)
    assert read.reads == 1


@pytest.mark.parametrize(
    "look",
    [
        lambda job, same: job == same and same == job,
        lambda job, same: hash(job) == hash(same),
        lambda job, same: repr(job) == repr(same),
        lambda job, same: str(job) == str(same),
        lambda job, same: copy.copy(job) == same,
        lambda job, same: job.to_dict() == same.to_dict(),
        lambda job, same: not hasattr(job, "no_such_thing"),
        lambda job, same: job.return_value() == same.return_value(),
        lambda job, same: job.func is same.func and inspect.isroutine(job.func),
    ],
)
def test_it_is_like_the_one_that_rq_makes(
    look: Callable[[Job, Job], bool], stock: Queue, redis_url: str
) -> None:
    queued = stock.enqueue("operator.add", 1, 2, meta={"a": 1})
    same = Job.fetch(queued.id, stock.connection, JSONSerializer)
    assert look(make_job(queued.id, redis_url, JSONSerializer, Reader()), same)


def test_what_a_function_sets_before_it_looks_is_kept(stock: Queue, redis_url: str) -> None:
    queued = stock.enqueue("operator.add", 1, 2, meta={"a": 1})
    job = make_job(queued.id, redis_url, JSONSerializer, Reader())
    job.meta = {"b": 2}
    job.save_meta()
    assert job.description == queued.description
    assert job.meta == {"b": 2} == queued.get_meta()


def test_threads_that_look_at_the_same_time_see_one_object(stock: Queue, redis_url: str) -> None:
    queued = stock.enqueue("operator.add", 1, 2)
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Reader):
        def __call__(self, connection: Any, key: str) -> Mapping[bytes, bytes]:
            entered.set()
            assert go_on.wait(60)
            return super().__call__(connection, key)

    read = Slow()
    job = make_job(queued.id, redis_url, JSONSerializer, read)
    threads = [threading.Thread(target=lambda n=n: job.meta.update({n: n})) for n in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert read.reads == 1
    assert job.meta == {n: n for n in range(4)}


def test_a_read_that_fails_leaves_it_to_be_read_again(stock: Queue, redis_url: str) -> None:
    queued = stock.enqueue("operator.add", 1, 2)

    class Failing(Reader):
        def __call__(self, connection: Any, key: str) -> Mapping[bytes, bytes]:
            if not self.reads:
                self.reads += 1
                raise ConnectionError("away")
            return super().__call__(connection, key)

    job = make_job(queued.id, redis_url, JSONSerializer, Failing())
    with pytest.raises(ConnectionError, match="away"):
        job.args  # noqa: B018 - looking at it is what reads it
    assert job.args == [1, 2]

"""Functions without @task are called as rq calls them: each case beside what stock rq does."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.timeouts import JobTimeoutException

from heori import JobTimeout
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.job import FAILED, FINISHED, RETRY, UNKNOWN_HERE, RetryLater
from heori_common.rq.timeouts import job_timeout, job_timeout_as_rq
from tests.rigs.consumers import Consumer
from tests.rigs.in_slot import NOBODY, run
from tests.rigs.stock_rq import READS_ALL, VERSION, rq
from tests.rigs.waiting import until
from tests.rigs.zygote import Started
from tests.tasks import strangers
from tests.tasks.strangers import Adder, Basket

HERE = strangers.__name__
NEVER = 60  # seconds


BURST = "worker", "default", "--burst"


class Case(NamedTuple):
    """A job as rq enqueues it."""

    function: Any
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    timeout: int = NEVER
    json: bool = False


class End(NamedTuple):
    """What rq reads of it afterwards."""

    status: str
    value: Any
    last_line: str
    types: Sequence[int]  # of all its results


CASES = {
    "a hint that lies": Case(strangers.double, ["7"]),
    "a hint that lies, in JSON": Case(strangers.double, ["7"], json=True),
    "a class as a hint": Case(strangers.price_of, [{"price": 3}]),
    "a class as a hint, in JSON": Case(strangers.price_of, [{"price": 3}], json=True),
    "a hint for type checkers only": Case(strangers.weigh, [3]),
    "all kinds of arguments": Case(strangers.echo, [{1}, b"b", (1, 2)], {"more": Basket([1])}),
    "a list for a tuple, in JSON": Case(strangers.echo, [(1, 2)], {"more": None}, json=True),
    "a method": Case(Basket([1, 2]).total, [], {"discount": 1}),
    "a class method": Case(Basket.of, [1, 2]),
    "a static method": Case(f"{HERE}.Basket.halve", [3]),
    "an instance that can be called": Case(Adder(2), [3]),
    "a class by its name": Case(f"{HERE}.Basket", [[3]]),
    "a method of an empty container": Case(Basket([]).total),
    "a function of Python's": Case(len, [[1, 2]]),
    "one by its plain name, in JSON": Case("divmod", [7, 2], json=True),
    "a coroutine": Case(strangers.later, [1]),
    "another, in a new loop": Case(strangers.later, [2]),
    "a function that returns a coroutine": Case(strangers.no_coroutine_function, [3]),
    "a result that no pickle takes": Case(strangers.make_function),
    "a result that no JSON takes": Case(strangers.make_set, json=True),
    "a large result": Case(strangers.make_much),
    "no result": Case(strangers.nothing),
    "an error": Case(strangers.fail, ["because"]),
    "an exit": Case(strangers.leave, [3]),
    "arguments that do not fit": Case(strangers.double, [1, 2, 3]),
    "a timeout that is caught": Case(strangers.catch_timeout, timeout=4),
    "a coroutine that sleeps for too long": Case(strangers.oversleep_later, timeout=1),
}
if VERSION >= READS_ALL:
    CASES["a retry as a result, for too often"] = Case(strangers.ask_for_more, [1])
    CASES["one that no JSON takes"] = Case(strangers.ask_for_more, [1], json=True)
# What rq's SimpleWorker does not tell.
ENVIRONMENT = {
    "the job in the environment": Case(strangers.finds_its_job),
    "the worker in the environment": Case(strangers.worker_id),
}
# What needs the main thread of a process, as rq's work horse gives it to each job.
ALONE = {
    "a sleep that is too long": Case(strangers.oversleep, timeout=1),
    "a signal": Case(strangers.handle_signal),
    "a program's environment": Case(strangers.knows_its_job_below),
}
# What may be said in other words, and why.
OWN_WORDS = {
    "a method of an empty container": "it may not be imported",
}


def enqueue(connection: Any, case: Case) -> Job:
    """Send a job as an application of rq's does."""
    serializer = JSONSerializer if case.json else DefaultSerializer
    queue = Queue("default", connection=connection, serializer=serializer)
    return queue.enqueue(
        case.function, args=case.args, kwargs=dict(case.kwargs), job_timeout=case.timeout
    )


def end_of(job: Job) -> End:
    """Wait for what becomes of a job, as rq reads it."""
    until(lambda: job.get_status() in ("finished", "failed", "stopped"))
    result = job.latest_result()
    assert result is not None, job.id
    last = (result.exc_string or "").strip().rpartition("\n")[2]
    value = result.return_value
    return End(
        str(job.get_status().value),
        repr(value) if isinstance(value, Retry) else value,
        last,
        [each.type.value for each in job.results()],
    )


@pytest.fixture(scope="session")
def stock_ends() -> Mapping[str, End]:
    """How rq's own workers end all cases, those that need it in a process of their own."""
    ends: dict[str, End] = {}
    for is_json in (False, True):
        with (
            EmbeddedValkey() as server,
            Redis.from_url(server.url, socket_timeout=None) as connection,
        ):
            jobs = {
                name: enqueue(connection, case)
                for name, case in CASES.items()
                if case.json is is_json
            }
            words = ["--serializer", "rq.serializers.JSONSerializer"] if is_json else []
            rq(server.url, *BURST, "-w", "rq.worker.SimpleWorker", *words)
            if not is_json:
                more = ALONE | ENVIRONMENT
                jobs |= {name: enqueue(connection, case) for name, case in more.items()}
                rq(server.url, *BURST)
            ends |= {name: end_of(job) for name, job in jobs.items()}
    return ends


def compare(redis: Any, cases: Mapping[str, Case], stock_ends: Mapping[str, End]) -> None:
    jobs = {name: enqueue(redis, case) for name, case in cases.items()}
    for name, job in jobs.items():
        end, stock = end_of(job), stock_ends[name]
        if name in OWN_WORDS:
            end, stock = end._replace(last_line=""), stock._replace(last_line="")
        assert (name, end) == (name, stock)


@pytest.mark.usefixtures("shared")
def test_strangers_end_as_with_rq_in_every_model(stock_ends: Mapping[str, End], redis: Any) -> None:
    compare(redis, CASES | ENVIRONMENT, stock_ends)


only_processes = pytest.mark.parametrize("shared", ["processes"], indirect=True)
only_threads = pytest.mark.parametrize("shared", ["threads"], indirect=True)


@only_processes
def test_a_process_is_a_work_horse(
    shared: Consumer, stock_ends: Mapping[str, End], redis: Any
) -> None:
    compare(redis, ALONE, stock_ends)
    assert shared.metric("heori_worker_restarts_total") == 0


@only_processes
def test_a_late_job_cleans_up_and_the_next_finds_the_process_as_it_was(
    shared: Consumer, redis: Any, redis_url: str, tmp_path: Path
) -> None:
    late = enqueue(redis, Case(strangers.clean_up_late, [redis_url, "late", 1.5], timeout=4))
    changes = [enqueue(redis, Case(strangers.change_process, [str(tmp_path)])) for _ in range(6)]
    looks = [enqueue(redis, Case(strangers.look_at_process)) for _ in range(6)]
    seen = [end_of(job).value for job in looks]
    assert [end_of(job).status for job in changes] == ["finished"] * 6
    assert all(each == seen[0] for each in seen)
    assert seen[0][0] != str(tmp_path)
    assert seen[0][1:] == [False, True]
    assert end_of(late).last_line == (
        "rq.timeouts.JobTimeoutException: Task exceeded maximum timeout value (4 seconds)"
    )
    assert redis.get("late cleaned up") == b"1"
    assert shared.metric("heori_worker_restarts_total") == 0


@only_threads
def test_a_late_job_that_cleans_up_harms_no_neighbour(
    shared: Consumer, redis: Any, redis_url: str
) -> None:
    neighbour = enqueue(redis, Case(strangers.wait_for, [redis_url, "neighbour"]))
    assert redis.blpop(["neighbour began"], timeout=60)
    late = enqueue(redis, Case(strangers.clean_up_late, [redis_url, "late", 0.05], timeout=4))
    assert end_of(late).status == "failed"
    redis.rpush("neighbour may go", 1)
    assert end_of(neighbour) == End("finished", "neighbour", "", [1])
    assert redis.get("late cleaned up") == b"1"
    assert redis.hget(neighbour.key, "heori_restarts") is None
    assert shared.metric("heori_worker_restarts_total") == 0


@only_threads
@pytest.mark.usefixtures("shared")
def test_each_thread_finds_its_own_job_in_the_environment(redis: Any, redis_url: str) -> None:
    jobs = [
        enqueue(redis, Case(strangers.job_id_when_both_run, [redis_url, name])) for name in "ab"
    ]
    for name in "ab":
        assert redis.blpop([f"{name} runs"], timeout=60)
    redis.rpush("both run", 1, 1)
    assert [end_of(job).value for job in jobs] == [job.id for job in jobs]


class Stop(NamedTuple):
    """What is there of a job that was stopped."""

    end: End
    text: str | None
    told: list[bytes]
    registered: bool


def stop_one(connection: Any, url: str) -> Stop:
    """Have a job stopped while it runs, by rq's own means."""
    queue = Queue("default", connection=connection)
    args = [url, "stopped"]
    job = queue.enqueue(strangers.run_on, args=args, on_stopped=Callback(strangers.note_stop))
    assert connection.blpop(["stopped began"], timeout=60)
    send_stop_job_command(connection, job.id)
    end = end_of(job)
    told = connection.lrange("told of stop", 0, -1)
    result = job.latest_result()
    assert result is not None
    of_me = [each == job.id.encode() for each in told]
    return Stop(end, result.exc_string, of_me, job.id in queue.failed_job_registry)


@pytest.fixture(scope="session")
def stock_stop() -> Stop:
    """What stock rq makes of it."""
    with EmbeddedValkey() as server, Redis.from_url(server.url, socket_timeout=None) as connection:
        words = "rq.cli", "worker", "default", "--url", server.url
        with Started(*words, env=os.environ) as worker:
            try:
                return stop_one(connection, server.url)
            finally:
                worker.kill()
                worker.wait()


@pytest.mark.usefixtures("shared")
def test_a_stopped_stranger_ends_as_with_rq_in_every_model(
    redis: Any, redis_url: str, stock_stop: Stop
) -> None:
    assert stop_one(redis, redis_url) == stock_stop


def test_what_is_raised_before_the_call_may_be_tried_again_too() -> None:
    policy = replace(NOBODY, allow=("operator.",))
    retries = {"retries_left": b"2", "retry_intervals": b"[7, 8]"}
    again = run(policy, "operator.missing", **retries)
    assert (again.status, again.retry) == (RETRY, RetryLater(7.0, 1))
    assert run(policy, "operator.missing").status == FAILED
    assert run(policy, "operator.add", 1, 2, **retries).status == FINISHED
    waits = run(replace(policy, unknown_wait=9.0), "operator.missing", **retries)
    assert (waits.status, waits.retry) == (UNKNOWN_HERE, RetryLater(7.0, 1))


WITHOUT_RQ = """
import sys
from dataclasses import replace
import heori_consumer.worker.process
from tests.rigs.in_slot import NOBODY, run

for name in ("operator.add", "tests.tasks.frugal.add"):
    outcome = run(replace(NOBODY, allow=("operator.", "tests.")), name, 1, 2)
    assert outcome.status == "finished", outcome
assert not {"rq", "redis"} & set(sys.modules), "nobody has asked for them"
"""


def test_rq_is_loaded_in_no_worker_whose_jobs_do_not_ask_for_it() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_RQ], check=True, timeout=120)


def test_a_timeout_is_caught_by_both_of_its_names() -> None:
    for made in (job_timeout(), job_timeout_as_rq(3)):
        assert issubclass(made, JobTimeout)
        assert issubclass(made, JobTimeoutException)
    assert job_timeout() is job_timeout()
    assert str(job_timeout_as_rq(3)()) == "Task exceeded maximum timeout value (3 seconds)"

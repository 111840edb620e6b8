"""Nothing on a queue can kill a consumer or be lost in silence: one table, every kind of input.

Each row goes into the queue between good jobs. It has one end, which RQ's tools show; the good
jobs have theirs; and the next job finds the process as it should be, or a new one.
"""

import contextlib
import os
import pickle
import re
import signal
import zlib
from collections.abc import Callable, Iterator

import psutil
import pytest
import redis as redis_py
from rq.job import Job
from rq.serializers import JSONSerializer

from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.payload import decode_failure
from tests.rigs.hostile_rows import DROPPED, FINISHES, PICKLES, RECORDS, TASKS, Evil, Row, cases
from tests.rigs.siege import ADD, HOSTILE, MODELS, MODULES, Siege, consuming
from tests.rigs.waiting import is_alive, until

GOOD = 5  # jobs before each row, and after it


CASES = [
    pytest.param(model, row, id=f"{model}-{row.name}".encode("unicode_escape").decode())
    # All of a model, then all of the next: each has one consumer.
    for model, row in sorted(cases(), key=lambda case: case[0])
]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a package lies that consumers may import from."""
    directory = tmp_path_factory.mktemp("modules")
    (directory / "besieged").mkdir()
    (directory / "besieged" / "__init__.py").touch()
    for name, text in MODULES.items():
        (directory / "besieged" / f"{name}.py").write_text(text)
    return str(directory)


@pytest.fixture(scope="module")
def sieges(server: EmbeddedValkey, modules: str) -> Iterator[Callable[[str], Siege]]:
    """One consumer for each model, started when the first row needs it, the same for all."""
    made: dict[str, Siege] = {}
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_py.Redis.from_url(server.url, socket_timeout=None))

        def besiege(model: str) -> Siege:
            if model not in made:
                consumer = stack.enter_context(consuming(model, server.url, modules))
                made[model] = Siege(redis, model, consumer)
            return made[model]

        yield besiege


@pytest.mark.parametrize(("model", "row"), CASES)
def test_it_has_one_end_and_the_jobs_around_it_have_theirs(
    model: str, row: Row, sieges: Callable[[str], Siege]
) -> None:
    siege = sieges(model)
    redis, queue = siege.redis, siege.queue
    job_id = siege.new_id()
    pipe = redis.pipeline()
    good = [siege.add(pipe, siege.new_id(), ADD, n, 0) for n in range(GOOD)]
    name = row.job_id if row.job_id is not None else job_id
    if row.job_id is not None:
        pipe.delete(b"rq:results:" + row.job_id, b"rq:job:" + row.job_id)
    bad = siege.add(pipe, name, row.function, *row.args, **row.fields)
    row.prepare(pipe, queue, job_id)
    probes = [siege.add(pipe, siege.new_id(), HOSTILE + "surroundings")]
    probes += [siege.add(pipe, siege.new_id(), HOSTILE + "surroundings_later")]
    good += [siege.add(pipe, siege.new_id(), ADD, n, 0) for n in range(GOOD, 2 * GOOD)]
    pipe.execute()

    if row.end == DROPPED:
        assert [siege.value(each) for each in good] == [*range(2 * GOOD)]
        assert not redis.exists(b"rq:results:" + bad)
    elif row.end == FINISHES:
        value = siege.value(bad)
        row.check(siege, bad, value)
        assert siege.count("finished", bad) == 1
        assert siege.count("failed", bad) == 0
        assert redis.hget(b"rq:job:" + bad, "status") == b"finished"
    else:
        fields = siege.result(bad)
        if fields[b"type"] == b"2" or FINISHES not in row.end:
            assert fields[b"type"] == b"2", fields
            text = decode_failure(fields[b"exc_string"])
            assert re.search(row.end, text), text[-3000:]
            assert len(text) < 150_000
            assert siege.count("failed", bad) == 1
            assert siege.count("finished", bad) == 0
            if redis.type(b"rq:job:" + bad) == b"hash":
                assert redis.hget(b"rq:job:" + bad, "status") == b"failed"
            if row.readable:
                job = Job.fetch(bad.decode(), redis, serializer=JSONSerializer)
                assert job.is_failed
                assert (latest := job.latest_result()) is not None
                assert latest.exc_string == text
    assert [siege.value(each) for each in good] == [*range(2 * GOOD)]
    assert [siege.value(each) for each in probes] == [siege.baseline] * 2
    assert redis.llen(f"rq:queue:{queue}") == 0
    until(lambda: redis.zcard(f"rq:wip:{queue}") == 0)
    until(siege.healthy)
    row.restores(redis, queue, job_id)


@pytest.mark.parametrize("model", ["pickle"])
def test_a_copy_that_a_payload_forks_takes_no_job(
    model: str, sieges: Callable[[str], Siege]
) -> None:
    siege = sieges(model)
    # By itself, so that nothing else wakes the copy.
    forks = zlib.compress(pickle.dumps(Evil(os.fork)))
    siege.result(siege.add(siege.redis, siege.new_id(), "", data=forks))
    for worker in siege.consumer.workers:
        until(lambda worker=worker: not any(map(is_alive, worker.children())))  # type: ignore[misc]
    assert siege.ask("surroundings") == siege.baseline


# What stands around the jobs: the key, and whether its queue has to wait until it is mended.
AROUND = {
    "rq:queue:{q}": True,
    "rq:wip:{q}": True,
    "rq:finished:{q}": False,
    "rq:failed:{q}": False,
    "rq:scheduled:{q}": False,
    "rq:results:{id}": False,
    "rq:workers": False,
    "rq:workers:{q}": False,
    "rq:worker:{consumer}": False,
    "rq:queues": False,
}


@pytest.mark.parametrize("pattern", AROUND)
@pytest.mark.parametrize("model", ["keys"])
def test_a_key_of_the_wrong_type_is_told_and_loses_no_job(
    model: str, pattern: str, sieges: Callable[[str], Siege]
) -> None:
    siege = sieges(model)
    redis, queue = siege.redis, siege.queue
    bad_id = siege.new_id()
    key = pattern.format(q=queue, id=bad_id, consumer=siege.name)
    pipe = redis.pipeline()
    good = [siege.add(pipe, siege.new_id(), ADD, n, 0) for n in range(GOOD)]
    bad = siege.add(pipe, bad_id, HOSTILE + "throw", "MemoryError")
    good += [siege.add(pipe, siege.new_id(), ADD, n, 0) for n in range(GOOD, 2 * GOOD)]
    redis.delete(key)
    redis.set(key, "text")
    if pattern != "rq:queue:{q}":  # where nothing can be put now
        pipe.execute()
    if AROUND[pattern]:
        event = "a key has the wrong type and is passed over until it is mended"
        assert siege.consumer.wait_for(event)["key"] == key
        redis.delete(key)
    if pattern == "rq:queue:{q}":
        pipe.execute()

    def statuses() -> list[bytes]:
        return [redis.hget(b"rq:job:" + each, "status") for each in [*good, bad]]

    until(lambda: statuses() == [b"finished"] * (2 * GOOD) + [b"failed"])
    if pattern in ("rq:finished:{q}", "rq:failed:{q}", "rq:results:{id}"):
        while siege.consumer.wait_for("a key does not hold what it should; see TYPE")["key"] != key:
            continue  # that was about the key of the row before
    assert [siege.value(each) for each in good] == [*range(2 * GOOD)]
    if redis.type(key) == b"string":
        redis.delete(key)
    assert redis.zcard(f"rq:wip:{queue}") == 0
    assert siege.healthy()


@pytest.mark.parametrize("model", MODELS)
def test_after_all_of_that_the_same_consumer_drains_and_leaves_nothing_behind(
    model: str, sieges: Callable[[str], Siege]
) -> None:
    siege = sieges(model)
    consumer = siege.consumer
    until(lambda: len([worker for worker in consumer.workers if is_alive(worker)]) == 1)
    family = psutil.Process(consumer.process.pid).children(recursive=True)
    consumer.process.send_signal(signal.SIGTERM)
    assert consumer.process.wait(60) == 0
    until(lambda: not any(is_alive(child) for child in family))
    assert not siege.redis.smembers(f"rq:workers:{model}")
    assert siege.redis.llen(f"rq:queue:{model}") == siege.redis.zcard(f"rq:wip:{model}") == 0


def test_there_are_enough_kinds() -> None:
    names = [row.name for row in [*RECORDS, *TASKS, *PICKLES]]
    assert len(names) == len(set(names)) > 200

"""Waiting for results: of our consumers and of stock ones."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as redis_py
from rq import Queue
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.results import Result as RqResult
from rq.serializers import DefaultSerializer, JSONSerializer

from heori import (
    Handle,
    JobFailed,
    JobNotFound,
    Producer,
    group,
)
from heori_common import tasks
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import Job
from heori_common.protocol.payload import BadPayload, Call, decode_call
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.retries import ANSWER_TIMEOUT_S, LONGEST_WAIT_S
from heori_common.tasks import InvalidResult
from heori_producer.errors import original
from heori_producer.recall import Recall
from heori_producer.results import Results
from heori_producer.watcher import Watcher
from tests.rigs.proxy import proxy
from tests.rigs.refusals import replica
from tests.rigs.stock_rq import reads_all
from tests.rigs.waiting import until
from tests.tasks import sample_tasks
from tests.tasks.protocol_tasks import (
    Address,
    Point,
    send_mail,
    take_address,
    take_point,
)

ROOT = Path(__file__).parents[2]


def queued(redis: redis_py.Redis, queue: str = "default") -> list[str]:
    ids: Any = redis.lrange(f"rq:queue:{queue}", 0, -1)
    return [job_id.decode() for job_id in ids]


def test_a_result_that_does_not_come_in_time_is_a_timeout_and_the_job_goes_on(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handle = producer.submit(sample_tasks.add, 1)

    def over_by(timeout: float) -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=f"not ended after {timeout} s; it is queued"):
            handle.result(timeout)
        return time.monotonic() - began - timeout

    for timeout in (0.0, 0.2):  # a busy machine is not late each time
        assert any(0 <= over_by(timeout) < LONGEST_WAIT_S for _ in range(5))
    assert queued(redis) == [handle.id]


def test_a_job_that_is_gone_is_not_waited_for(producer: Producer, redis: redis_py.Redis) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer).delete()
    for ask in (handle.status, handle.result, lambda: handle.result(60)):
        with pytest.raises(JobNotFound, match=handle.id):
            ask()


def test_a_cancelled_job_is_not_waited_for(producer: Producer, redis: redis_py.Redis) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer).cancel()
    with pytest.raises(JobFailed, match="canceled"):
        handle.result(60)


def write_result(
    redis: redis_py.Redis, handle: Handle[Any], kind: RqResult.Type, **more: Any
) -> None:
    """A result as rq writes it, with the status that goes with it."""
    job = RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer)
    status = {RqResult.Type.SUCCESSFUL: JobStatus.FINISHED, RqResult.Type.RETRIED: JobStatus.QUEUED}
    job.set_status(status.get(kind, JobStatus.FAILED))
    RqResult.create(job, kind, 60, **more)


@pytest.mark.parametrize(
    ("kind", "exc_string", "reason"),
    [
        (RqResult.Type.FAILED, "Traceback …\nValueError: 힐", "Traceback …\nValueError: 힐"),
        (RqResult.Type.FAILED, None, "it left no traceback"),
        (RqResult.Type.STOPPED, None, "it was stopped"),
        pytest.param(5, None, "it has used up its retries", marks=reads_all),
    ],
)
def test_every_way_in_which_rq_says_that_a_job_failed_raises(
    producer: Producer, redis: redis_py.Redis, kind: Any, exc_string: str | None, reason: str
) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    write_result(redis, handle, RqResult.Type(kind), exc_string=exc_string)
    with pytest.raises(JobFailed) as caught:
        handle.result(timeout=60)
    assert (caught.value.job_id, caught.value.traceback) == (handle.id, reason)
    assert str(caught.value) == f"job {handle.id} failed:\n{reason}"
    assert (caught.value.error_type, caught.value.error_text) == (None, None)
    assert original(caught.value) is caught.value, "a text alone makes no error"


def test_a_result_wakes_whoever_waits_for_it(producer: Producer, redis: redis_py.Redis) -> None:
    def is_woken() -> bool:
        handle = producer.submit(sample_tasks.add, 1)
        results: list[int] = []
        waiting = threading.Thread(
            target=lambda: results.append(handle.result(timeout=60)), daemon=True
        )
        waiting.start()
        wait_until_blocked(redis)
        began = time.monotonic()
        write_result(redis, handle, RqResult.Type.SUCCESSFUL, return_value=3)
        waiting.join()
        assert results == [3]
        return time.monotonic() - began < LONGEST_WAIT_S / 2

    # A busy machine is not late each time.
    assert any(is_woken() for _ in range(5)), "and does not look by itself"


def test_a_job_that_rq_tries_again_is_waited_for_without_polling(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    write_result(redis, handle, RqResult.Type.RETRIED)
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(handle.result(60)), daemon=True)
    waiting.start()
    wait_until_blocked(redis)
    write_result(redis, handle, RqResult.Type.SUCCESSFUL, return_value=3)
    waiting.join()
    assert results == [3]


def test_a_failed_job_that_is_queued_again_is_waited_for(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    write_result(redis, handle, RqResult.Type.FAILED, exc_string="ValueError: the first time")
    RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer).set_status(JobStatus.QUEUED)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)
    results: list[int] = []
    waiting = threading.Thread(target=lambda: results.append(handle.result(60)), daemon=True)
    waiting.start()
    wait_until_blocked(redis)
    write_result(redis, handle, RqResult.Type.SUCCESSFUL, return_value=3)
    waiting.join()
    assert results == [3]


def wait_until_blocked(redis: redis_py.Redis) -> None:
    client: Any = redis
    until(lambda: client.info("clients")["blocked_clients"] == 1)


def test_a_result_of_another_type_or_serializer_is_refused_and_not_unpickled(
    producer: Producer, redis: redis_py.Redis
) -> None:
    wrong, pickled = producer.submit_many(sample_tasks.add, [1, 2])
    write_result(redis, wrong, RqResult.Type.SUCCESSFUL, return_value="many")
    with pytest.raises(InvalidResult, match="stored result"):
        wrong.result(timeout=60)
    job = RqJob.fetch(pickled.id, connection=redis, serializer=JSONSerializer)
    job.serializer = DefaultSerializer
    RqResult.create(job, RqResult.Type.SUCCESSFUL, 60, return_value=3)
    with pytest.raises(BadPayload, match="its serializer"):
        pickled.result(timeout=60)


def test_whoever_asks_a_server_that_is_away_is_told_and_whoever_waits_waits(nowhere: int) -> None:
    url = f"redis://127.0.0.1:{nowhere}"
    watcher = Watcher(url)
    with (
        RedisClient(url, patience=0) as redis_client,
        contextlib.closing(Results(watcher, Commands())) as results,
    ):
        recall = Recall(redis_client, Commands(), watcher)
        task = tasks.find(sample_tasks.add)
        handle = Handle("a", "default", task, redis_client, Commands(), results, recall)
        for ask in (handle.status, handle.cancel, handle.running):
            with pytest.raises(RedisUnavailable):
                ask()
        # Who waits for the end does so until the time is up, in whatever way.
        with pytest.raises(TimeoutError, match=f"nobody knows .* Redis at 127.0.0.1:{nowhere} is"):
            handle.result(timeout=0.1)
        assert not group([handle]).wait(timeout=0.1)
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(awaited(handle), 0.1))


async def awaited(handle: Handle[int]) -> int:
    return await handle


@pytest.mark.parametrize("timeout", [0, 0.7])
def test_a_wait_goes_by_this_machines_clock_though_the_server_says_nothing(
    redis_url: str, timeout: float
) -> None:
    with (
        proxy(urlsplit(redis_url).port or 0) as between,
        Producer(f"redis://127.0.0.1:{between.port}") as producer,
    ):
        handle = producer.submit(sample_tasks.add, 1)
        between.hold(everything=True)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="nobody knows whether job"):
            handle.result(timeout)
        assert time.monotonic() - began < ANSWER_TIMEOUT_S, "it has waited for no answer"
        between.let_go()


@pytest.mark.parametrize("sends", [False, True], ids=["only waits", "sends"])
def test_who_waits_leaves_a_server_that_has_become_a_replica(
    redis_url: str, redis: redis_py.Redis, monkeypatch: pytest.MonkeyPatch, *, sends: bool
) -> None:
    # Who sends is led away at once; who only waits looks by itself, from time to time.
    monkeypatch.setattr("heori_producer.watcher_loop.LOOK_EVERY_S", 1000.0 if sends else 0.1)
    with (
        EmbeddedValkey() as other,
        redis_py.Redis.from_url(other.url, socket_timeout=None) as primary,
        proxy(urlsplit(redis_url).port or 0) as between,
        Producer(f"redis://127.0.0.1:{between.port}") as producer,
        ThreadPoolExecutor(1) as threads,
    ):
        handle = producer.submit(sample_tasks.add, 1)
        known: Any = redis.dump(f"rq:job:{handle.id}")
        primary.restore(f"rq:job:{handle.id}", 0, known)
        result = threads.submit(asyncio.run, awaited(handle))
        until(lambda: redis.info("clients")["tracking_clients"])
        between.lead_to(urlsplit(other.url).port or 0)
        with replica(redis):
            if sends:
                producer.submit(sample_tasks.add, 2)
            until(lambda: primary.info("clients")["tracking_clients"])
            write_result(primary, handle, RqResult.Type.SUCCESSFUL, return_value=3)
            assert result.result(60) == 3


STOCK_WORKER = """
import sys, redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
connection = redis.Redis.from_url(sys.argv[1], socket_timeout=None)
queues = [Queue(n, connection=connection, serializer=JSONSerializer) for n in ("default", "mail")]
worker = SimpleWorker(queues, connection=connection, serializer=JSONSerializer)
sys.exit(not worker.work(burst=True, logging_level="ERROR"))
"""


def test_a_stock_worker_runs_our_jobs_and_we_read_its_results(
    producer: Producer, redis_url: str, redis: redis_py.Redis
) -> None:
    added = producer.submit(sample_tasks.add, 40)
    failing = producer.submit(sample_tasks.fail, "힐 went wrong")
    point = producer.submit(take_point, Point(1, "힐"))
    address = producer.submit(take_address, Address(postCode="12", since=date(2020, 2, 29)))
    nothing = producer.submit(send_mail, "a@example.org")
    unserialisable = producer.submit(sample_tasks.unserialisable)
    ran = subprocess.run(
        [sys.executable, "-c", STOCK_WORKER, redis_url],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr

    assert added.result(timeout=60) == 42
    assert added.status() == "finished"
    assert point.result(timeout=60) == Point(1, "힐")
    assert address.result(timeout=60) == Address(postCode="12", since=date(2020, 2, 29))
    assert nothing.result(timeout=60) is None
    with pytest.raises(JobFailed) as caught:
        failing.result(timeout=60)
    assert "raise ValueError(text)\nValueError: 힐 went wrong" in caught.value.traceback
    assert failing.status() == "failed"
    assert unserialisable.result(timeout=60) == "Unserializable return value"


def test_a_job_that_stock_rq_sent_is_read(redis_url: str, redis: redis_py.Redis) -> None:
    queue = Queue("mail", connection=redis, serializer=JSONSerializer)
    theirs = queue.enqueue(sample_tasks.add, 1, b=2, job_timeout=9)
    with RedisClient(redis_url) as redis_client:
        job = redis_client.execute(Commands().job(theirs.id))
        assert redis_client.execute(Commands().status(theirs.id)) == "queued"
        assert redis_client.execute(Commands().status("nobody")) is None
    assert isinstance(job, Job)
    assert (job.id, job.queue, job.status, job.timeout) == (theirs.id, "mail", "queued", 9)
    assert job.description == theirs.description == "tests.tasks.sample_tasks.add(1, b=2)"
    assert job.enqueued_at == theirs.enqueued_at
    assert decode_call(job.data, ["json"], 1000) == Call(
        "tests.tasks.sample_tasks.add", [1], {"b": 2}
    )

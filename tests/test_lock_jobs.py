"""Jobs that declare their locks, on real consumers in several models."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from rq import Queue
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.registry import DeferredJobRegistry
from rq.serializers import JSONSerializer

from common.locks import Mutex, Semaphore, session
from common.tasks import InvalidArguments, task
from producer import JobFailed, Producer
from tests import lock_tasks, sample_tasks
from tests.conftest import Consumer, until

MODELS = {
    "threads": ["--model", "threads", "--slots", "8"],
    "processes": ["--model", "processes", "--processes", "2"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "8"],
}
TASKS = {"HEORI_TASKS": "tests.lock_tasks,tests.sample_tasks"}


@pytest.fixture(autouse=True)
def nothing_of_a_lock_is_left(redis: Any) -> Iterator[None]:
    """No key but the last fence, once everything has ended."""
    yield
    session.close()
    left = {b"rq:heori:fence", b"rq:heori:reaper"}

    def ours() -> set[bytes]:
        return {key for key in redis.keys("rq:heori:*") if b":fenced:" not in key} - left

    until(lambda: not ours() and not redis.zcard("rq:deferred:default"), timeout=15)


@pytest.fixture(params=MODELS)
def consumer(request: pytest.FixtureRequest, consume: Callable[..., Consumer]) -> Consumer:
    return consume(*MODELS[request.param], **TASKS).ready()


def parked(redis: Any, queue: str = "default") -> int:
    return int(redis.zcard(f"rq:heori:parked:{queue}"))


@pytest.mark.usefixtures("consumer")
def test_jobs_on_one_account_never_overlap_and_come_in_order(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(50)])
    assert [handle.result(30) for handle in handles] == list(range(50))
    assert redis.get("overlaps") is None
    assert [int(number) for number in redis.lrange("order:account:5", 0, -1)] == list(range(50))


def test_two_consumers_share_the_order(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    for _ in range(2):
        consume(*MODELS["threads"], **TASKS).ready()
    handles = producer.submit_many(lock_tasks.enter, [(redis_url, 5, n) for n in range(50)])
    handles += producer.submit_many(lock_tasks.enter_later, [(redis_url, 6, n) for n in range(50)])
    assert [handle.result(30) for handle in handles] == [*range(50), *range(50)]
    assert redis.get("overlaps") is None
    assert [int(number) for number in redis.lrange("order:account:5", 0, -1)] == list(range(50))


@pytest.mark.usefixtures("consumer")
def test_no_more_jobs_run_than_there_are_permits(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    handles = producer.submit_many(lock_tasks.compute, [(redis_url, n) for n in range(50)])
    assert [handle.result(30) for handle in handles] == list(range(50))
    assert redis.get("overlaps") is None


@pytest.mark.usefixtures("consumer")
def test_transfers_in_opposite_order_never_deadlock(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    calls = [(redis_url, 1 + n % 2, 2 - n % 2, n) for n in range(200)]
    handles = producer.submit_many(lock_tasks.transfer, calls)
    assert [handle.result(60) for handle in handles] == list(range(200))
    assert redis.get("overlaps") is None

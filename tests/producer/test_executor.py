"""An executor whose futures are jobs, with real consumers; and handles that are awaited."""

import asyncio
import functools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from heori import (
    InvalidResult,
    JobCanceled,
    JobFailed,
    JobNotFound,
    Producer,
    RedisExecutor,
    UnknownTask,
)
from heori_common.values.equality import same
from heori_producer.executor import JobFuture
from tests.rigs.consumers import Consumer, SharedConsumers
from tests.rigs.waiting import is_alive, until
from tests.tasks import protocol_tasks, sample_tasks, value_tasks
from tests.tasks.protocol_tasks import Point
from tests.tasks.raising_tasks import EXACT, INEXACT, Status, throw


@pytest.fixture
def executor(redis_url: str) -> Iterator[RedisExecutor]:
    made = RedisExecutor(redis_url)
    yield made
    made.shutdown(wait=False, cancel_futures=True)


@pytest.fixture(params=["threads"])
def shared(
    request: pytest.FixtureRequest, redis_url: str, shared_consumers: SharedConsumers
) -> Consumer:
    return shared_consumers.take(request.param)


@pytest.fixture
def consumer(shared: Consumer) -> Consumer:
    return shared


def rq_job(redis: Any, future: JobFuture[Any]) -> RqJob:
    assert future.handle is not None
    return RqJob.fetch(future.handle.id, connection=redis, serializer=JSONSerializer)


# Results


@pytest.mark.usefixtures("consumer")
def test_futures_become_what_the_functions_return(executor: RedisExecutor) -> None:
    assert executor.submit(sample_tasks.add, 1, b=2).result(60) == 3
    assert executor.submit(sample_tasks.add_later, 1, 2).result(60) == 3
    assert executor.submit(math.sqrt, 16).result(60) == 4
    point = executor.submit(protocol_tasks.take_point, Point(1, "a"))
    assert point.result(60) == Point(1, "a")
    futures = [executor.submit(sample_tasks.add, n) for n in range(50)]
    assert sorted(future.result() for future in as_completed(futures, 60)) == [*range(2, 52)]


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("chunksize", [1, 7])
def test_map_gives_results_in_order(executor: RedisExecutor, chunksize: int, redis: Any) -> None:
    results = executor.map(sample_tasks.add, range(50), range(50), timeout=60, chunksize=chunksize)
    assert list(results) == [2 * n for n in range(50)]
    assert len(redis.keys("rq:job:*")) == (50 if chunksize == 1 else 8)
    points = [Point(n, "a") for n in range(10)]
    assert list(executor.map(protocol_tasks.take_point, points, chunksize=chunksize)) == points
    later = executor.map(sample_tasks.add_later, [1, 2], [3, 4], chunksize=chunksize)
    assert list(later) == [4, 6]


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_raises_what_a_call_has_raised(executor: RedisExecutor, chunksize: int) -> None:
    results = executor.map(math.sqrt, [1, 4, 9, -1, 16], chunksize=chunksize)
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="math domain error"):
        next(results)


@pytest.mark.usefixtures("consumer")
def test_a_chunk_runs_only_what_its_consumer_may_run(executor: RedisExecutor) -> None:
    for chunksize in (1, 2):
        refused = pytest.raises(
            (JobFailed, UnknownTask), match=r"'os\.getenv' is no registered task"
        )
        with refused as caught:
            next(executor.map(os.getenv, ["HOME"], chunksize=chunksize))
        assert "Python's own" in str(caught.value)


@pytest.mark.usefixtures("consumer")
def test_exceptions_are_what_they_were_with_the_traceback_from_there(
    executor: RedisExecutor,
) -> None:
    futures = {name: executor.submit(throw, name) for name in EXACT | INEXACT}
    errors: dict[str, Any] = {name: future.exception(60) for name, future in futures.items()}
    for name, error in errors.items():
        told = error.__cause__ if name in EXACT else error
        assert isinstance(told, JobFailed)
        # traceback itself leaves out the cause of an error that is false
        assert "LookupError: the cause of it" in told.traceback or name == "counted"
        assert (told.error_type or "").endswith(type((EXACT | INEXACT)[name]()).__name__)
    for name, make in EXACT.items():
        error, here = errors[name], make()
        assert (type(error), str(error), repr(error)) == (type(here), str(here), repr(here)), name
        assert (error.args, vars(error)) == (here.args, vars(here))
    assert errors["located"].errno == 2
    noted = errors["noted"]
    assert noted.__cause__.error_notes == noted.__notes__ == ["first note", "second\nnote"]
    chunk = executor.map(throw, ["status", "plain"], chunksize=2)
    with pytest.raises(Status, match=r"^status 404$"):
        next(chunk)
    with pytest.raises(JobFailed, match="SystemExit: 3"):
        executor.submit(sample_tasks.leave, "SystemExit").result(60)
    with pytest.raises(JobFailed, match="longer than its timeout of 1 s"):
        executor.submit(sample_tasks.spin_limited, 30.0).result(60)


class Outer:
    class Inner(Exception):
        pass


@pytest.mark.parametrize(
    "function",
    [
        lambda: None,
        str,
        "text".upper,
        Outer().__str__,
        functools.partial(math.sqrt, 4),
    ],
)
def test_what_no_consumer_could_import_is_refused(
    executor: RedisExecutor, function: Any, redis: Any
) -> None:
    with pytest.raises(UnknownTask):
        executor.submit(function)
    assert redis.keys("rq:job:*") == []
    executor.shutdown()


# Ends of another kind


def test_a_cancelled_future_never_runs(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    first, second = (
        executor.submit(sample_tasks.count_run, redis_url, "ran", str(n)) for n in range(2)
    )
    later: list[Any] = []
    first.add_done_callback(later.append)
    assert first.cancel()
    assert first.cancelled()
    assert later == [first]
    assert wait([first, second], 0, return_when=FIRST_COMPLETED).done == {first}
    assert rq_job(redis, first).get_status() == "canceled"
    assert redis.zscore("rq:canceled:default", rq_job(redis, first).id) is not None
    consume().ready()
    assert second.result(60) is None
    assert redis.lrange("rq:queue:default", 0, -1) == []
    assert not second.cancel()
    with pytest.raises(CancelledError):
        first.result()
    assert redis.hkeys("ran") == [b"1"]


@pytest.mark.usefixtures("consumer")
def test_a_running_future_cannot_be_cancelled(
    executor: RedisExecutor, redis: Any, redis_url: str
) -> None:
    future = executor.submit(sample_tasks.hold, redis_url, "run")
    assert redis.blpop(["run:running"], timeout=60)
    assert future.running()
    assert not future.cancel()
    redis.rpush("run:go", "now")
    assert future.result(60) == "run"
    assert not future.running()


@pytest.mark.usefixtures("looks_often")
def test_what_others_cancel_or_delete_is_noticed(executor: RedisExecutor, redis: Any) -> None:
    canceled, deleted = (executor.submit(sample_tasks.add, n) for n in range(2))
    rq_job(redis, canceled).cancel()
    rq_job(redis, deleted).delete()
    with pytest.raises(CancelledError):
        canceled.result(60)
    with pytest.raises(JobNotFound):
        deleted.result(60)


def test_shutdown_may_cancel_what_waits(redis_url: str, redis: Any, consumer: Consumer) -> None:
    executor = RedisExecutor(redis_url)
    running = [executor.submit(sample_tasks.hold, redis_url, "last") for _ in range(4)]
    for _ in running:
        assert redis.blpop(["last:running"], timeout=60)
    waiting = [executor.submit(sample_tasks.add, n) for n in range(500)]
    ended = threading.Thread(target=lambda: executor.shutdown(cancel_futures=True))
    ended.start()
    until(lambda: sum(future.cancelled() for future in waiting) > 400)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(sample_tasks.add, 1)
    assert ended.is_alive(), "it waits for what runs"
    redis.rpush("last:go", *"1234")
    ended.join(60)
    assert [future.result(0) for future in running] == ["last"] * 4
    assert all(future.done() for future in waiting)
    done = sum(not future.cancelled() for future in waiting)
    until(lambda: consumer.metric("heori_jobs_total", outcome="succeeded") == 4 + done)


def test_without_waiting_futures_resolve_all_the_same_and_the_thread_ends(
    redis_url: str, consume: Callable[..., Consumer]
) -> None:
    before = threading.active_count()
    executor = RedisExecutor(redis_url)
    future = executor.submit(sample_tasks.add, 1)
    executor.shutdown(wait=False)
    consume().ready()
    assert future.result(60) == 3
    until(lambda: threading.active_count() <= before + 1)  # the consumer's log has one


# Whatever happens


def connections() -> set[int]:
    """The ports of those of this process that are open."""
    return {
        each.laddr.port
        for each in psutil.net_connections("tcp")
        if each.laddr and each.pid == os.getpid() and each.status == psutil.CONN_ESTABLISHED
    }


def test_thousands_of_futures_are_resolved_over_one_connection(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any
) -> None:
    consume().ready()
    before = connections()
    futures = [executor.submit(sample_tasks.add, number) for number in range(2000)]
    until(lambda: len(connections() - before) == 2)  # one to send, one to wait
    assert wait(futures, 300).not_done == set()
    assert [future.result() for future in futures] == [n + 2 for n in range(2000)]
    assert len(connections() - before) == 2


def test_every_future_resolves_though_a_consumer_is_killed_in_the_middle(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    killed = consume("--slots", "4", HEORI_LEASE="3").ready()
    running = [executor.submit(sample_tasks.hold, redis_url, "kill") for _ in range(4)]
    for _ in running:
        assert redis.blpop(["kill:running"], timeout=60)
    futures = [executor.submit(sample_tasks.add, n) for n in range(300)]
    family = killed.workers
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.join()
    until(lambda: not any(is_alive(worker) for worker in family))
    consume().ready()  # with leases that it loses on no machine that stands still for a moment
    redis.rpush("kill:go", *"123456789abc")
    assert [future.result(60) for future in futures] == [n + 2 for n in range(300)]
    assert [future.result(60) for future in running] == ["kill"] * 4


def test_a_lost_connection_loses_no_result(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any
) -> None:
    future = executor.submit(sample_tasks.add, 1)
    until(lambda: any("track" in str(c) or c["flags"] == "t" for c in redis.client_list()))
    redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    consume().ready()
    assert future.result(60) == 3


# Awaited handles


@pytest.mark.usefixtures("consumer")
def test_handles_can_be_awaited_and_the_loop_goes_on(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    async def main() -> None:
        async def let_go() -> None:
            await asyncio.sleep(0.01)
            redis.rpush("loop:go", "now")  # which would not come if the loop stood still

        letting_go = asyncio.create_task(let_go())
        assert await producer.submit(sample_tasks.hold, redis_url, "loop") == "loop"
        assert letting_go.done()
        handles = producer.submit_many(sample_tasks.add, range(100))
        assert await asyncio.gather(*handles) == [*range(2, 102)]
        assert await handles[0] == 2
        with pytest.raises(JobFailed, match="ValueError: no"):
            await producer.submit(sample_tasks.fail, "no")

    asyncio.run(main())


@pytest.mark.usefixtures("looks_often")
def test_an_awaited_handle_can_time_out_and_be_cancelled(producer: Producer) -> None:
    async def main() -> None:
        handle = producer.submit(sample_tasks.add, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await handle
        assert handle.status() == "queued"
        assert handle.cancel()
        with pytest.raises(JobCanceled):
            await asyncio.wait_for(handle, 60)
        assert not handle.cancel()

    asyncio.run(main())


def test_values_come_back_as_they_were_also_in_chunks(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any
) -> None:
    consume(HEORI_TASKS="tests.tasks.protocol_tasks,tests.tasks.value_tasks").ready()
    address = protocol_tasks.Address(postCode="1", since=date(2020, 2, 29))
    assert list(executor.map(protocol_tasks.take_address, [address], chunksize=2)) == [address]
    values: list[tuple[Callable[[Any], Any], Any]] = [
        (value_tasks.take_counted, value_tasks.Counted([1])),
        (value_tasks.take_bytes_of_any_kind, b"\xff"),
        (value_tasks.take_datetime_or_str, "2026-01-02"),
        (value_tasks.take_grid, {(1, 2): "a"}),
        (value_tasks.take_secret, SecretStr("x")),
        (value_tasks.take_it, (1, {2: date(2026, 1, 2)})),
    ]
    for function, value in values:
        assert same(executor.submit(function, value).result(60), value)
        assert all(same(each, value) for each in executor.map(function, [value] * 3, chunksize=2))
    future = executor.submit(value_tasks.returns_less, value_tasks.Derived(x=1, y=2).model_dump())
    with pytest.raises(InvalidResult, match="Derived, and the hint names Base only"):
        future.result(60)
    assert rq_job(redis, future).get_status() == "failed"
    pair = value_tasks.Pair(datetime(2026, 1, 2, tzinfo=UTC), Path("a"))
    read = executor.submit(value_tasks.take_pair, pair)
    assert read.result(60).path == Path("a")
    assert rq_job(redis, read).return_value() == ["2026-01-02T00:00:00Z", "a"], "rq sees plain JSON"

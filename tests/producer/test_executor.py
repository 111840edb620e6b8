"""An executor whose futures are jobs, with real consumers; and handles that are awaited."""

import asyncio
import functools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed, wait
from datetime import date
from typing import Any

import psutil
import pytest
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from heori import JobCanceled, JobFailed, JobNotFound, Producer, RedisExecutor, UnknownTask
from heori_producer.errors import original
from heori_producer.executor import JobFuture
from heori_producer.watcher import CALL_EVERY_S
from tests.rigs.consumers import Consumer, SharedConsumers
from tests.rigs.waiting import until
from tests.tasks import protocol_tasks, sample_tasks
from tests.tasks.protocol_tasks import Point


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
    assert sorted(future.result() for future in as_completed(futures, 20)) == [*range(2, 52)]


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("chunksize", [1, 7])
def test_map_gives_results_in_order(executor: RedisExecutor, chunksize: int, redis: Any) -> None:
    results = executor.map(sample_tasks.add, range(50), range(50), timeout=20, chunksize=chunksize)
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
        assert "HEORI_ALLOW" in str(caught.value)


@pytest.mark.usefixtures("consumer")
def test_exceptions_are_what_they_were_with_the_traceback_from_there(
    executor: RedisExecutor,
) -> None:
    future = executor.submit(sample_tasks.fail, "because: 힐\nof two lines")
    error = future.exception(20)
    assert type(error) is ValueError
    assert str(error) == "because: 힐\nof two lines"
    assert isinstance(error.__cause__, JobFailed)
    assert "raise ValueError(text)" in error.__cause__.traceback
    with pytest.raises(JobFailed, match="SystemExit: 3"):
        executor.submit(sample_tasks.leave, "SystemExit").result(60)
    with pytest.raises(JobFailed, match="longer than its timeout of 1 s"):
        executor.submit(sample_tasks.spin_limited, 30.0).result(60)


TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n    ^^^\n'


@pytest.mark.parametrize(
    ("text", "kind", "args"),
    [
        (TRACE + "ZeroDivisionError: division by zero\n", ZeroDivisionError, ("division by zero",)),
        (TRACE + "KeyError: 'order-17'\n", KeyError, ("order-17",)),
        (TRACE + "KeyError: ('a', 1)\n", KeyError, (("a", 1),)),
        (TRACE + "KeyError: <Key a>\n", KeyError, ("<Key a>",)),
        (TRACE + "ValueError\n", ValueError, ()),
        (TRACE + "ValueError: a\nb: c\n", ValueError, ("a\nb: c",)),
        (
            TRACE + "ValueError: first\n\nThe above exception was …\n\n" + TRACE + "OSError: two\n",
            OSError,
            ("two",),
        ),
        (TRACE + "heori_common.tasks.UnknownTask: what\n", UnknownTask, ("what",)),
        (
            TRACE + "FileNotFoundError: [Errno 2] No such file or directory: 'a: b'\n",
            FileNotFoundError,
            (2, "No such file or directory"),
        ),
        (
            TRACE + "ConnectionRefusedError: [Errno 111] Connection refused\n",
            ConnectionRefusedError,
            (111, "Connection refused"),
        ),
        (TRACE + "tests.producer.test_executor.Outer.Inner: nested\n", "Outer.Inner", ("nested",)),
    ],
)
def test_an_exception_is_made_anew_from_its_traceback(text: str, kind: Any, args: Any) -> None:
    error = original(JobFailed("id", text))
    assert type(error).__qualname__ == (kind if isinstance(kind, str) else kind.__qualname__)
    assert error.args == args
    assert isinstance(error.__cause__, JobFailed)


@pytest.mark.parametrize(
    "line",
    [
        "nowhere.to.be.found.Error: not imported, and not imported for it",
        "SystemExit: 3",
        "KeyboardInterrupt",
        "os.system: true",
        "builtins.eval: 1",
        "UnicodeDecodeError: 'utf-8' codec can't decode",
        "tests.producer.test_executor.Demanding: one",
        "tests.producer.test_executor.Explosive: bang",
        "tests.producer.test_executor.Numbered: number 7 is refused",
        "tests.producer.test_executor.Numbered",
        "heori.FencedOut: the write with fence 7 was refused: 9 has written; the lock was lost",
        "heori.DeadlockDetected: this wait would never end: a waits for b",
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        "PermissionError: [Errno 13] Permission denied: 'a' -> 'b'",
        "  | ExceptionGroup: two (2 sub-exceptions)",
        "no error at all",
        "",
    ],
)
def test_what_cannot_safely_be_made_anew_stays_a_failed_job(line: str) -> None:
    for text in (TRACE + line + "\n", line + "\n"):
        failed = JobFailed("id", text)
        assert original(failed) is failed


class Outer:
    class Inner(Exception):
        pass


class Numbered(Exception):
    def __init__(self, number: object = 0) -> None:
        super().__init__(f"number {number} is refused")


class Demanding(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


class Explosive(Exception):
    def __init__(self, text: str) -> None:
        raise ValueError(text)


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


def test_what_others_cancel_or_delete_is_noticed(executor: RedisExecutor, redis: Any) -> None:
    canceled, deleted = (executor.submit(sample_tasks.add, n) for n in range(2))
    rq_job(redis, canceled).cancel()
    rq_job(redis, deleted).delete()
    with pytest.raises(CancelledError):
        canceled.result(CALL_EVERY_S + 5)
    with pytest.raises(JobNotFound):
        deleted.result(5)


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
    assert consumer.metric("heori_jobs_total", outcome="succeeded") == 4 + done


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


def connections() -> int:
    """How many of this process are open."""
    every = [each for each in psutil.net_connections("tcp") if each.pid == os.getpid()]
    return sum(each.status == psutil.CONN_ESTABLISHED for each in every)


def test_thousands_of_futures_are_resolved_over_one_connection(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any
) -> None:
    consume().ready()
    before = connections()
    futures = [executor.submit(sample_tasks.add, number) for number in range(3000)]
    assert connections() - before == 2, "one to send, one to wait"
    assert wait(futures, 27).not_done == set()
    assert [future.result() for future in futures] == [n + 2 for n in range(3000)]
    assert connections() - before == 2


def test_every_future_resolves_though_a_consumer_is_killed_in_the_middle(
    executor: RedisExecutor, consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    killed = consume("--slots", "4", HEORI_LEASE="1").ready()
    running = [executor.submit(sample_tasks.hold, redis_url, "kill") for _ in range(4)]
    for _ in running:
        assert redis.blpop(["kill:running"], timeout=60)
    futures = [executor.submit(sample_tasks.add, n) for n in range(300)]
    family = killed.workers
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.join()
    until(lambda: not any(worker.is_running() for worker in family))
    consume(HEORI_LEASE="1").ready()
    redis.rpush("kill:go", *"12345678")
    assert [future.result(40) for future in futures] == [n + 2 for n in range(300)]
    assert [future.result(40) for future in running] == ["kill"] * 4


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
def test_handles_can_be_awaited_and_the_loop_goes_on(producer: Producer) -> None:
    async def main() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        turning = asyncio.create_task(turn())
        assert await producer.submit(sample_tasks.nap, 0.3) == 0.3
        assert turns > 5
        turning.cancel()
        handles = producer.submit_many(sample_tasks.add, range(100))
        assert await asyncio.gather(*handles) == [*range(2, 102)]
        assert await handles[0] == 2
        with pytest.raises(JobFailed, match="ValueError: no"):
            await producer.submit(sample_tasks.fail, "no")

    asyncio.run(main())


def test_an_awaited_handle_can_time_out_and_be_cancelled(producer: Producer) -> None:
    async def main() -> None:
        handle = producer.submit(sample_tasks.add, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await handle
        assert handle.status() == "queued"
        assert handle.cancel()
        with pytest.raises(JobCanceled):
            await asyncio.wait_for(handle, CALL_EVERY_S + 5)
        assert not handle.cancel()

    asyncio.run(main())


def test_a_date_in_a_chunk_comes_back_as_its_type(
    executor: RedisExecutor, consume: Callable[..., Consumer]
) -> None:
    consume(HEORI_TASKS="tests.tasks.protocol_tasks").ready()
    address = protocol_tasks.Address(postCode="1", since=date(2020, 2, 29))
    assert list(executor.map(protocol_tasks.take_address, [address], chunksize=2)) == [address]

"""Each connection that there is, broken in each way: what is asked over it is answered.

A server that vanishes without a word is missed after ANSWER_TIMEOUT_S, and where it is to tell by
itself, after two times QUIET_S. These are shorter here.
"""

import asyncio
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as redis_py

from heori import Mutex, Producer, RedisExecutor, group
from heori_common.locks import session
from heori_common.protocol.commands import Command
from heori_common.redis import push
from heori_common.redis.address import Address
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.async_dialer import AsyncDialer
from heori_common.redis.async_push import AsyncPushConnection
from heori_common.redis.client import RedisClient
from heori_common.redis.dialer import Dialer
from heori_common.redis.push import PushThread, Reply
from heori_common.settings import Settings
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.options import ConsumerOptions
from heori_consumer.supervisor.redis_retry import RedisRetry
from heori_producer import handle as handles
from tests.rigs.consumers import Consumer
from tests.rigs.proxy import Break, Proxy, proxy
from tests.rigs.script_bench import Bench, done
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

MOST_S = 60.0
SET = Command(("SET", "key", "value"), bytes)
GREETING = [("SUBSCRIBE", "channel")]


@dataclass
class Place:
    """Where a connection is used.

    Attributes:
        url: leads through the proxy.
        direct: does not.
        bench: does what consumers do, and is not broken.
    """

    url: str
    direct: str
    bench: Bench

    @property
    def redis(self) -> Any:
        return self.bench.redis

    def after_job(self, read: Callable[[], Any]) -> Callable[[], Any]:
        """What to read when the one job that waits has returned 3; as a consumer does it."""

        def act() -> Any:
            self.bench.ack(*map(done, self.bench.claim()))
            return read()

        return act


# Each has used its connections, or waits on them, when it yields what is called after the break.
Use = Callable[[Place], AbstractContextManager[Callable[[], object]]]


@contextmanager
def a_producer(place: Place) -> Iterator[Callable[[], object]]:
    with RedisClient(place.url) as client:
        client.execute(SET)
        yield lambda: client.execute(SET)


@contextmanager
def several_at_once(place: Place) -> Iterator[Callable[[], object]]:
    with RedisClient(place.url) as client:
        client.execute(SET)
        yield lambda: client.execute_many([SET, SET])[1]


@contextmanager
def a_consumer(place: Place) -> Iterator[Callable[[], object]]:
    client, retry = AsyncRedisClient(place.url, connections=1, answer_timeout=1.0), RedisRetry()

    async def ask() -> bytes:
        return await retry.persist("asking", lambda: client.execute(SET))

    with asyncio.Runner() as runner:
        runner.run(ask())
        yield lambda: runner.run(ask())
        runner.run(client.close())


@contextmanager
def calls_of_a_thread(place: Place) -> Iterator[Callable[[], object]]:
    with pushes(place, []) as push_thread:
        call(push_thread)
        yield lambda: call(push_thread)


@contextmanager
def calls_of_an_event_loop(place: Place) -> Iterator[Callable[[], object]]:
    with asyncio.Runner() as runner:

        async def begin() -> tuple[AsyncPushConnection, asyncio.Task[None]]:
            dialer = AsyncDialer(Address.parse(place.url))
            connection = AsyncPushConnection(dialer, GREETING, lambda _: None, lambda _: None)
            return connection, asyncio.create_task(connection.run())

        async def ask() -> bytes:
            reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            connection.call(SET, reply.set_result)
            value: bytes = (await reply).value
            return value

        connection, task = runner.run(begin())
        runner.run(ask())
        yield lambda: runner.run(ask())
        task.cancel()


@contextmanager
def a_subscription(place: Place) -> Iterator[Callable[[], object]]:
    heard: list[Any] = []
    with pushes(place, heard) as push_thread:
        call(push_thread)

        def publish() -> bytes:
            def is_heard() -> bool:
                place.redis.publish("channel", "OK")
                return b"OK" in heard

            until(is_heard)
            return b"OK"

        yield publish


@contextmanager
def pushes(place: Place, heard: list[Any]) -> Iterator[PushThread]:
    dialer = Dialer(Address.parse(place.url))
    made = PushThread(dialer, "p", GREETING, lambda push: heard.append(push[-1]), lambda _: None)
    yield made
    made.close()


def call(connection: PushThread) -> bytes:
    replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
    connection.call(SET, replies.put)
    value: bytes = replies.get(timeout=MOST_S).value
    return value


@contextmanager
def a_lock(place: Place) -> Iterator[Callable[[], object]]:
    lock = Mutex("lock", place.url)
    lock.acquire()

    def again() -> bool:
        lock.release()
        return lock.acquire()

    yield again
    lock.release()


@contextmanager
def a_lock_of_a_coroutine(place: Place) -> Iterator[Callable[[], object]]:
    async def take() -> bool:
        async with Mutex("lock", place.url) as lock:
            return lock.hold.fence > 0

    asyncio.run(take())
    yield lambda: asyncio.run(take())


@contextmanager
def a_lock_that_is_waited_for(place: Place) -> Iterator[Callable[[], object]]:
    holder, waiter = Mutex("lock", place.direct), Mutex("lock", place.url)
    holder.acquire()

    def wait() -> bool:
        with waiter:
            return True

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(wait)
        until(place.redis.pubsub_channels)

        def release() -> bool:
            holder.release()
            return waiting.result(MOST_S)

        yield release


@contextmanager
def a_lock_that_is_held(place: Place) -> Iterator[Callable[[], object]]:
    with Mutex("lock", place.url, lease=3.0) as lock:
        hold, session_ = lock.hold, lock.session()
        session_.push.wait_until_greeted(MOST_S)

        def is_renewed() -> bool:
            before = hold.valid_until
            until(lambda: hold.valid_until > before)
            return not hold.why

        yield is_renewed


@contextmanager
def result(place: Place) -> Iterator[Callable[[], object]]:
    with Producer(place.url) as producer, ThreadPoolExecutor(1) as thread:
        handle = producer.submit(sample_tasks.add, 1)
        waiting = thread.submit(handle.result, MOST_S)
        until(lambda: place.redis.info("clients")["blocked_clients"])
        yield place.after_job(lambda: waiting.result(MOST_S))


@contextmanager
def awaited_handle(place: Place) -> Iterator[Callable[[], object]]:
    async def ended() -> int:
        return await handle

    with Producer(place.url) as producer, ThreadPoolExecutor(1) as thread:
        handle = producer.submit(sample_tasks.add, 1)
        waiting = thread.submit(lambda: asyncio.run(ended()))
        until(lambda: is_tracked(place))
        yield place.after_job(lambda: waiting.result(MOST_S))


@contextmanager
def awaited_group(place: Place) -> Iterator[Callable[[], object]]:
    with Producer(place.url) as producer:
        jobs = group([producer.submit(sample_tasks.add, 1)])
        until(lambda: is_tracked(place))
        yield place.after_job(lambda: jobs.wait(MOST_S) and jobs.results(0)[0])


@contextmanager
def future(place: Place) -> Iterator[Callable[[], object]]:
    with RedisExecutor(place.url) as executor:
        made = executor.submit(sample_tasks.add, 1)
        until(lambda: is_tracked(place))
        yield place.after_job(lambda: made.result(MOST_S))


def is_tracked(place: Place) -> bool:
    return bool(place.redis.info("stats")["tracking_total_keys"])


USES: dict[Use, object] = {
    a_producer: b"OK",
    several_at_once: b"OK",
    a_consumer: b"OK",
    calls_of_a_thread: b"OK",
    calls_of_an_event_loop: b"OK",
    a_subscription: b"OK",
    a_lock: True,
    a_lock_of_a_coroutine: True,
    a_lock_that_is_waited_for: True,
    a_lock_that_is_held: True,
    result: 3,
    awaited_handle: 3,
    awaited_group: 3,
    future: 3,
}


@pytest.fixture
def between(redis_url: str) -> Iterator[Proxy]:
    with proxy(urlsplit(redis_url).port or 0) as made:
        yield made
    session.close()


@pytest.mark.parametrize("how", Break, ids=lambda how: how.name.lower())
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_what_is_asked_over_a_connection_that_breaks_is_answered(
    between: Proxy,
    bench: Bench,
    redis_url: str,
    use: Use,
    how: Break,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"redis://127.0.0.1:{between.port}/0"
    if how is Break.VANISHED:
        url += "?socket_timeout=1"
        monkeypatch.setattr(push, "QUIET_S", 0.3)
        monkeypatch.setattr(handles, "ANSWER_TIMEOUT_S", 1.0)
        monkeypatch.setattr(handles, "LONGEST_WAIT_S", 0.3)
    with use(Place(url, redis_url, bench)) as act:
        assert between.strike(how) > 0
        assert act() == USES[use]


@pytest.mark.parametrize(("lease", "seconds"), [(1.0, 3.0), (12.0, 4.0), (60.0, 10.0)])
def test_one_answer_that_never_comes_costs_a_consumer_no_lease(
    settings: Settings, lease: float, seconds: float
) -> None:
    with_lease = settings.model_copy(update={"lease": lease})
    context = Context(with_lease, ConsumerOptions.create(("default",), "threads"), "me")
    assert context.redis.answer_timeout == seconds


def test_a_consumer_whose_connections_break_runs_each_job_once(
    between: Proxy, consume: Callable[..., Consumer], redis_url: str, redis: redis_py.Redis
) -> None:
    consumer = consume(HEORI_REDIS_URL=f"redis://127.0.0.1:{between.port}/0").ready()
    with Producer(redis_url) as producer:
        for how in (Break.IDLE, Break.IN_COMMAND, Break.IN_REPLY):
            assert producer.submit(sample_tasks.add, 1).result(MOST_S) == 3
            assert between.strike(how) >= 2
            done = [producer.submit(sample_tasks.add, number) for number in range(20)]
            assert [job.result(MOST_S) for job in done] == [number + 2 for number in range(20)]
            assert {redis.xlen(f"rq:results:{job.id}") for job in done} == {1}
    assert consumer.stop() == 0

"""What only a producer of an event loop promises: the loop goes on, and nothing is half done."""

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from heori import AsyncProducer, RedisUnavailable, Settings, group
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import encode_result
from tests.rigs.proxy import Break, Proxy
from tests.tasks import sample_tasks
from tests.tasks.flow_tasks import double, total

KEYS = Keys()
QUEUE = KEYS.queue("default")
LINE = KEYS.waiting_producers("default")
add = sample_tasks.add


def own_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("heori")}


@contextlib.asynccontextmanager
async def never_blocked() -> AsyncIterator[Callable[[], int]]:
    """Nothing in here starts a thread, and others of the loop get their turn; tells how often."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    threads = own_threads()
    other = asyncio.create_task(take_turns())
    try:
        yield lambda: turns
        assert own_threads() <= threads, "of other tests, some may have ended"
    finally:
        other.cancel()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what Redis holds sets no event
            await asyncio.sleep(0.005)


def test_the_loop_goes_on_while_a_queue_is_full(redis_url: str, redis: Any) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 1})

    async def main() -> None:
        async with AsyncProducer(settings=settings) as producer, never_blocked() as turns:
            await producer.submit(add, 1)
            first = asyncio.create_task(producer.submit(add, 2))
            await until(lambda: redis.zcard(LINE) == 1)
            second = asyncio.create_task(producer.submit(add, 3))
            await until(lambda: redis.zcard(LINE) == 2)
            before = turns()
            await asyncio.sleep(0.05)
            assert turns() > before
            assert {first.done(), second.done()} == {False}
            # Who is cancelled sends nothing, and makes room in the line.
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            await until(lambda: redis.zcard(LINE) == 1)
            redis.lpop(QUEUE)
            handle = await second
            assert redis.lrange(QUEUE, 0, -1) == [handle.id.encode()]

    asyncio.run(main())


def test_a_cancelled_call_is_done_or_is_not_and_its_key_tells(redis_url: str, redis: Any) -> None:
    async def main() -> None:
        async with AsyncProducer(redis_url) as producer:
            await producer.submit(add, 0)
            for turns in range(6):
                keyed = producer.options(key=f"k{turns}", queue="keyed")
                call = asyncio.create_task(keyed.submit(add, turns))
                for _ in range(turns):  # at whatever point it is
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
                handle = await keyed.submit(add, turns)
                assert await handle.status() == "queued"
            # The connection is as it was: others' answers are not mixed up.
            handles = await asyncio.gather(*(producer.submit(add, n) for n in range(50)))
            assert await asyncio.gather(*(each.status() for each in handles)) == ["queued"] * 50
        assert redis.llen(KEYS.queue("keyed")) == 6
        assert redis.llen(QUEUE) == 51

    asyncio.run(main())


def test_a_flow_whose_sending_is_cancelled_leaves_nothing_that_waits(
    redis_url: str, redis: Any
) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 1})

    async def main() -> None:
        async with AsyncProducer(settings=settings) as producer, never_blocked() as turns:
            flow = group([double.s(1), double.s(2)], then=total.s())
            sending = asyncio.create_task(producer.submit_flow(flow))
            await until(lambda: redis.zcard(LINE) == 1)
            assert redis.zcard(KEYS.deferred("default")) == 1
            before = turns()
            await until(lambda: turns() > before)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await until(lambda: redis.zcard(KEYS.deferred("default")) == 0)
            await until(lambda: redis.zcard(LINE) == 0)
            assert redis.llen(QUEUE) <= 1

    asyncio.run(main())


def test_the_loop_goes_on_through_an_outage(redis_url: str, redis: Any, nowhere: int) -> None:
    port = int(redis_url.rsplit(":", 1)[1].partition("/")[0])

    async def main(proxy: Proxy) -> None:
        async with (
            AsyncProducer(f"redis://127.0.0.1:{proxy.port}/0") as producer,
            never_blocked() as turns,
        ):
            handle = await producer.submit(add, 1)
            waiting = asyncio.ensure_future(handle)
            proxy.lead_to(nowhere)
            proxy.strike(Break.IDLE)
            before = turns()
            with pytest.raises(RedisUnavailable):
                await producer.submit(add, 2)
            assert turns() > before
            assert not waiting.done()
            with pytest.raises(TimeoutError, match="nobody knows whether"):
                await handle.result(0.01)
            proxy.lead_to(port)
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(RedisUnavailable):
                        await producer.submit(add, 3)
                        break
            # What was awaited all the while hears of its end.
            redis.xadd(
                KEYS.results(handle.id), {"type": 1, "return_value": encode_result(b"3", "json")}
            )
            assert await waiting == 3

    with contextlib.closing(Proxy(port)) as proxy:
        threading.Thread(target=proxy.serve, daemon=True).start()
        asyncio.run(main(proxy))


def test_it_belongs_to_one_loop_until_it_is_closed(redis_url: str) -> None:
    producer = AsyncProducer(redis_url)

    async def use() -> str:
        return await (await producer.submit(add, 1)).status()

    async def use_and_close() -> str:
        status = await use()
        await producer.close()
        return status

    assert asyncio.run(use_and_close()) == "queued"
    assert asyncio.run(use()) == "queued"  # and is left open
    with pytest.raises(RuntimeError, match="for one event loop"):
        asyncio.run(use())
    gc.collect()


def test_sending_very_many_leaves_others_their_turns(redis_url: str, redis: Any) -> None:
    async def main() -> None:
        async with AsyncProducer(redis_url) as producer, never_blocked() as turns:
            began = time.monotonic()
            await producer.submit_many(add, range(5000))
            # It would be one turn or two, were they not let in between.
            assert turns() >= 10, time.monotonic() - began
        assert redis.llen(QUEUE) == 5000

    asyncio.run(main())

"""One consumer of a service does for all what one can do, and the others next to nothing."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import msgpack
import psutil
import pytest
from rq.job import Job as RqJob

from heori import Producer
from heori_common.protocol.commands import Claimed, Command, Commands, HandOver
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import Keys, service_of
from heori_consumer.supervisor.cancellation import CancellationWatch
from heori_consumer.supervisor.leadership import LEADS_FOR_S
from heori_consumer.supervisor.queue_watch import BUSY_S, CALL_QUEUES, QueueWatch
from tests.rigs.consumers import Consumer
from tests.rigs.listening import ME, leading
from tests.rigs.offers import Idle
from tests.rigs.script_bench import Bench
from tests.rigs.stock_rq import enqueue
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

KEYS = Keys()
LEADER = KEYS.leader(service_of(["default"]))


def leader(redis: Any, key: str = LEADER) -> str:
    """The name of the consumer that leads."""
    return (redis.get(key) or b"").decode().partition(" ")[2]


def leading_of(consumers: list[Consumer], redis: Any) -> Consumer:
    """Wait until one of these leads."""
    found: list[Consumer] = []

    def is_known() -> bool:
        name = leader(redis)
        found[:] = [each for each in consumers if name_of(each) == name]
        return bool(found)

    until(is_known)
    return found[0]


def name_of(consumer: Consumer) -> str:
    [line] = [line for line in consumer.log if line["event"] == "consuming"]
    return str(line["consumer"])


# Being elected


def test_a_service_is_a_set_of_queues() -> None:
    assert service_of(["a", "b"]) == service_of(("b", "a"))
    assert len({service_of(queues) for queues in (["a"], ["b"], ["a", "b"], ["ab"])}) == 4


def test_one_leads_until_it_is_not_heard_of_or_resigns(bench: Bench, redis: Any) -> None:
    def lead(consumer: str, ttl: float = 30.0, consumers: int = 0) -> tuple[bool, int]:
        led = bench.execute(
            bench.commands.lead(
                "s",
                consumer=consumer,
                ttl=ttl,
                interval=1.0,
                max_deliveries=3,
                consumers=consumers,
            )
        )
        assert led.taken_back == 0
        return led.leads, led.consumers

    key = KEYS.leader("s")
    redis.sadd(KEYS.workers(), "a", "b", "c")
    assert lead("one") == (True, 3)
    assert lead("two", consumers=9) == (False, 3), "as the leader has counted them"
    assert lead("one", consumers=40) == (True, 40)
    assert lead("two") == (False, 40)
    assert lead("two", ttl=0) == (False, 40), "who does not lead cannot resign"
    assert leader(redis, key) == "one"
    assert lead("one", ttl=0) == (False, 0)
    assert lead("two", ttl=0.001) == (True, 3)
    until(lambda: not redis.exists(key))
    assert lead("one")[0]
    redis.delete(key)
    redis.lpush(key, "no string")
    assert lead("two")[0]
    assert redis.pttl(key) > 0


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_when_the_leader_ends_or_stands_still_another_leads(
    ending: signal.Signals, consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumers = [consume("--slots", "1").ready() for _ in range(3)]
    first = leading_of(consumers, redis)
    others = [each for each in consumers if each is not first]
    begin = time.monotonic()
    if ending == signal.SIGTERM:
        assert first.stop() == 0
    else:
        first.process.send_signal(ending)
    # It may have stood still before, so that less than LEADS_FOR_S is left, or nothing.
    led, left_ms = redis.pipeline().get(LEADER).pttl(LEADER).execute()
    names = {name_of(each) for each in others}
    until(lambda: leader(redis) in names)
    took = time.monotonic() - begin
    if name_of(first) in (led or b"").decode():
        assert ending != signal.SIGTERM, "it has resigned"
        assert left_ms <= 1000 * LEADS_FOR_S
        assert took >= left_ms / 1000 - 0.01
    assert producer.options(delay=0.1).submit(sample_tasks.add, 1).result(60) == 3
    if ending == signal.SIGSTOP:
        first.process.send_signal(signal.SIGCONT)
        until(lambda: first.samples("heori_queue_depth") == [])
    # Who leads counts a moment later.
    until(lambda: sum(len(each.samples("heori_queue_depth")) for each in others) == 1)


# Cancelled jobs


def test_the_leader_tells_a_consumer_which_of_its_jobs_were_cancelled(
    redis: Any, redis_url: str
) -> None:
    def claim(queue: str, consumer: str) -> Command[Claimed]:
        return Commands().claim(
            [queue], 9, lease=30, consumer=consumer, token=consumer, max_payload=1000
        )

    async def main() -> None:
        jobs = {queue: enqueue(redis, "add", [1], [2], queue=queue) for queue in ("a", "a@@t", "b")}
        redis.zadd(KEYS.turns("a"), {"t": -1})  # which tools of rq's know nothing of
        async with asyncio.timeout(120), leading(redis_url, "a", "b") as led:
            led.begin(CancellationWatch(led.context, led.leadership, led.heard.listener))
            for queue, consumer in (("a", ME), ("b", "another")):
                claimed = await led.context.redis.execute(claim(queue, consumer))
                assert claimed.claims

            async def told_of(*canceled: RqJob) -> None:
                expected = {job.id for job in canceled}
                seen: set[str] = set()
                while seen != expected:
                    kind, ids = msgpack.unpackb(await led.heard.told.get())
                    assert kind == "canceled"
                    seen.update(ids)
                    assert seen <= expected, "of the others another consumer is told"

            for first, _ in jobs.values():
                first.cancel()
            mine = [jobs["a"][0], jobs["a@@t"][0]]
            await told_of(*mine)
            redis.client_kill_filter(_type="pubsub")
            jobs["a"][1].cancel()
            jobs["b"][1].cancel()
            await told_of(*mine, jobs["a"][1])

    asyncio.run(main())


def test_while_nobody_waits_for_jobs_no_queue_is_watched(
    bench: Bench, redis: Any, redis_url: str
) -> None:
    def reads() -> int:
        """How often anybody has asked so far how long a queue is."""
        return int(redis.info("commandstats").get("cmdstat_llen", {"calls": 0})["calls"])

    async def main() -> list[Claim]:
        async with asyncio.timeout(120), leading(redis_url, "default") as led:
            led.begin(QueueWatch(led.context, led.leadership, led.heard.listener))
            before = reads()
            for n in range(20):
                redis.rpush(KEYS.queue("default"), f"by rq {n}")
                await asyncio.sleep(2 * BUSY_S)
            assert reads() - before <= 8, "until it was seen that nobody waits"
            redis.delete(KEYS.queue("default"))
            idle = Idle(bench, "idle")
            idle.offer()
            redis.rpush(KEYS.queue("default"), "by rq")
            while (woken := await asyncio.to_thread(idle.told)) is None:
                pass
            idle.channel.close()
            return woken.claims

    assert asyncio.run(main()) == []


def test_of_many_queues_that_are_written_at_once_few_are_read_while_nobody_waits(
    bench: Bench, redis: Any, redis_url: str
) -> None:
    queues = [f"q{number}" for number in range(4 * CALL_QUEUES)]
    keys = [KEYS.queue(queue) for queue in queues]

    def reads() -> int:
        return int(redis.info("commandstats").get("cmdstat_llen", {"calls": 0})["calls"])

    def are_watched() -> bool:
        return bool(redis.info("stats")["tracking_total_keys"] >= 2 * len(queues))

    async def main() -> HandOver:
        async with asyncio.timeout(120), leading(redis_url, *queues) as led:
            led.begin(QueueWatch(led.context, led.leadership, led.heard.listener))
            await asyncio.to_thread(until, are_watched)
            before, term = reads(), led.leadership.term
            with redis.pipeline() as pipe:
                for key in keys:
                    pipe.rpush(key, "by rq")
                pipe.execute()
            await asyncio.sleep(6 * BUSY_S)
            terms = 1 + led.leadership.term - term  # a slow machine may begin another
            assert reads() - before <= 2 * CALL_QUEUES * terms, "one call, and a look now and then"
            redis.delete(*keys)
            idle = Idle(bench, "idle", *queues)
            idle.offer()
            await asyncio.to_thread(until, are_watched)  # all of them, again
            redis.rpush(keys[-1], "by rq")
            while (woken := await asyncio.to_thread(idle.told)) is None:
                pass
            idle.channel.close()
            return woken

    assert asyncio.run(main()).claims == []


# What idle consumers cost

SECONDS = 5.0
NO_COST = {"cmdstat_info", "cmdstat_config|resetstat"}  # of this test


def commands_a_second(redis: Any) -> dict[str, float]:
    """How often each command is called, by a client or a script, while nothing happens."""
    redis.config_resetstat()
    begin = time.monotonic()
    time.sleep(SECONDS)
    calls = {name: counts["calls"] for name, counts in redis.info("commandstats").items()}
    seconds = time.monotonic() - begin
    return {name: number / seconds for name, number in calls.items() if name not in NO_COST}


def until_it_leads_as_ever(consumer: Consumer, redis: Any, queues: int = 1) -> None:
    """Wait until it has done what it does once, when it begins to lead."""
    # Four keys of each queue, the list of all, and whether rq is suspended.
    until(lambda: redis.info("stats")["tracking_total_keys"] >= 4 * queues + 2)
    calls = "heori_redis_call_seconds_count"
    until(lambda: consumer.metric(calls, command="tidy") >= 1)
    # The first looks at all queues.
    until(lambda: consumer.metric(calls, command="reclaim") >= 2)


def until_all_are_idle(number: int, redis: Any) -> None:
    """Wait until so many wait for jobs, and hear what is told to them."""
    until(lambda: redis.zcard(KEYS.offers(service_of(["default"]))) == number)
    until(lambda: len(redis.pubsub_channels(KEYS.told("*"))) == number)


def wake_ups(consumer: Consumer) -> int:
    """How often its supervisor has slept so far."""
    return int(psutil.Process(consumer.process.pid).num_ctx_switches().voluntary)


def test_idle_consumers_send_next_to_nothing_and_seldom_wake(
    consume: Callable[..., Consumer], redis: Any
) -> None:
    first = consume().ready()
    until_it_leads_as_ever(first, redis)
    alone = sum(commands_a_second(redis).values())
    others = [consume().ready() for _ in range(4)]
    until_all_are_idle(1 + len(others), redis)

    def costs() -> tuple[float, float, float]:
        """Commands a second of each, and wake-ups of the leader and of the liveliest other."""
        before = {each: wake_ups(each) for each in (first, *others)}
        each = (sum(commands_a_second(redis).values()) - alone) / len(others)
        woke = {each: (wake_ups(each) - so_far) / SECONDS for each, so_far in before.items()}
        return each, woke.pop(first), max(woke.values())

    # One that has just started has more to do, and on a busy machine for some time.
    seen = (costs() for _ in range(5))
    assert any(each <= 3 and leads <= 8 and other <= 5 for each, leads, other in seen), (
        "a beat once a second, twice while it leads, and the replies to what it asks then"
    )


def test_quiet_queues_cost_about_what_one_does(
    consume: Callable[..., Consumer], redis: Any
) -> None:
    first = consume().ready()
    until_it_leads_as_ever(first, redis)
    # One that stands still sends less, and one that leads anew has more to do: not each time.
    alone = max(sum(commands_a_second(redis).values()) for _ in range(2))
    assert first.stop() == 0
    others = [f"q{n}" for n in range(999)]
    second = consume(*(word for queue in others for word in ("--queue", queue))).ready()
    until_it_leads_as_ever(second, redis, 1 + len(others))
    spent = (commands_a_second(redis) for _ in range(5))
    assert any(sum(each.values()) <= 2 * alone for each in spent), alone
    assert second.stop() == 0

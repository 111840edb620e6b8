"""What a consumer does with what it is told: when it begins a job, and what Redis hears of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from heori import Producer
from heori_common.protocol.commands import HandOver
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import Keys, service_of
from heori_consumer.between.options import Policy, WorkerOptions
from heori_consumer.pool.pool import Pool
from heori_consumer.pool.roster import PoolOptions
from heori_consumer.supervisor.acknowledger import Acknowledger
from heori_consumer.supervisor.bounds import Bounds
from heori_consumer.supervisor.claimer import Claimer
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.dependents import Dependents
from heori_consumer.supervisor.hand_overs import TRUSTED_S, HandOvers
from heori_consumer.supervisor.intake import Intake
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.precedence import Precedence
from tests.rigs.consumers import Consumer
from tests.rigs.listening import ME, Heard, context_of
from tests.rigs.offers import Idle, handed, overdue
from tests.rigs.script_bench import Bench, ids
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

SERVICE = service_of(["default"])
WORKER = WorkerOptions(
    "threads", 1, 0, Policy((), (), (), 1_000_000, 1.0), json_logs=True, log_level="info"
)


class Given(Pool):
    """A pool without workers: one slot, for which it notes which jobs it would begin."""

    jobs: list[str]
    dispatched: asyncio.Event

    def wanted(self) -> int:
        return max(0, 1 - len(self.jobs))

    idle = wanted

    def dispatch(self, claims: Sequence[Claim], *, can_wait: bool = False) -> None:
        self.jobs += ids(list(claims))
        if claims:
            self.dispatched.set()


@dataclass
class Claiming:
    """What claims and is told in a consumer, on a real server."""

    context: Context
    hand_overs: HandOvers
    claimer: Claimer
    leadership: Leadership
    pool: Given
    lost: list[None]

    async def claim(self, during: Callable[[], None] = lambda: None) -> None:
        """Confirm what has come, and do something while that is on its way."""
        claiming = asyncio.create_task(self.claimer._take(0))
        await asyncio.sleep(0)  # until it waits for the answer
        assert not claiming.done()
        during()
        await claiming


@asynccontextmanager
async def claiming(url: str, *, begins_at_once: bool = True) -> AsyncIterator[Claiming]:
    context = context_of(url, "default")
    leadership = Leadership(context)
    acknowledger = Acknowledger(context, Dependents(context, leadership))
    pool = Given(
        PoolOptions(1, WORKER),
        acknowledger,
        context.failures,
        context.beat,
        lambda _: None,
        context.refusals.add,
        context.leases.claiming,
    )
    pool.jobs, pool.dispatched = [], asyncio.Event()
    precedence = Precedence(context, pool)
    lost: list[None] = []
    hand_overs = HandOvers(
        Intake(context, pool, precedence), lambda: lost.append(None), begins_at_once=begins_at_once
    )
    claimer = Claimer(
        context,
        pool,
        precedence,
        Intake(context, pool, precedence),
        hand_overs,
        Heard(context.redis).listener,
        leadership,
        Bounds(context, pool, acknowledger),
    )
    made = Claiming(context, hand_overs, claimer, leadership, pool, lost)
    try:
        await made.claim()  # from which it knows the server's clock
        yield made
    finally:
        await context.redis.close()


def hand(bench: Bench, *jobs: str, late: bool = False) -> list[HandOver]:
    """What this consumer is told of each of these jobs; a late one was long on its way."""
    me = Idle(bench, ME)
    told = []
    for job in jobs:
        me.offer()
        bench.send(job)
        hand_over = me.hears()
        told.append(hand_over._replace(at=hand_over.at - 4 * TRUSTED_S * late))
    me.channel.close()
    return told


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 120))


def test_what_comes_during_a_claim_is_confirmed_by_the_next(bench: Bench, redis_url: str) -> None:
    async def main() -> None:
        async with claiming(redis_url) as consumer:
            first, second = hand(bench, "first", "second")
            consumer.hand_overs.told(first)
            await consumer.claim(lambda: consumer.hand_overs.told(second))
            assert consumer.hand_overs.unconfirmed == [second]
            assert handed(bench) == 1
            await consumer.claim()
            assert consumer.hand_overs.unconfirmed == []
            assert handed(bench) == 0
            assert consumer.pool.jobs == ["first", "second"]
            assert consumer.lost == []

    run(main)


@pytest.mark.parametrize("fate", ["confirmed", "taken back"])
def test_what_comes_late_during_a_claim_begins_when_redis_has_confirmed_it(
    fate: str, bench: Bench, redis_url: str
) -> None:
    async def main() -> None:
        async with claiming(redis_url) as consumer:
            [first] = hand(bench, "first")
            [late] = hand(bench, "late", late=True)
            consumer.hand_overs.told(first)
            await consumer.claim(lambda: consumer.hand_overs.told(late))
            assert consumer.pool.jobs == ["first"], "that claim knew nothing of the other"
            if fate == "taken back":
                overdue(bench)
                command = bench.commands.take_back_overdue(SERVICE, consumer="b", max_deliveries=3)
                assert bench.execute(command) == 1
            await consumer.claim()
            assert consumer.pool.jobs == ["first", "late"][: 1 + (fate == "confirmed")]
            assert consumer.hand_overs.unconfirmed == []
            assert consumer.lost == [], "it has not begun"
            # What was known of it is forgotten: the same words would be another hand-over.
            consumer.hand_overs.confirmed([late], [])
            assert consumer.pool.jobs.count("late") == (fate == "confirmed")

    run(main)


def test_a_job_that_could_kill_the_supervisor_begins_when_redis_has_confirmed_it(
    bench: Bench, redis_url: str
) -> None:
    async def main() -> None:
        async with claiming(redis_url, begins_at_once=False) as consumer:
            consumer.hand_overs.told(*hand(bench, "1"))
            assert consumer.pool.jobs == []
            await consumer.claim()
            assert consumer.pool.jobs == ["1"]

    run(main)


@pytest.mark.parametrize("waiting", [[], ["2"]], ids=["no other", "another"])
def test_no_other_is_taken_for_the_slot_of_a_job_that_begins_when_it_is_confirmed(
    waiting: list[str], bench: Bench, redis_url: str
) -> None:
    async def main() -> None:
        async with claiming(redis_url, begins_at_once=False) as consumer:
            [first] = hand(bench, "1")
            for job in waiting:
                bench.send(job)
            consumer.hand_overs.told(first)
            running = asyncio.create_task(consumer.claimer.run())
            await consumer.pool.dispatched.wait()
            assert consumer.pool.jobs == ["1"]
            assert bench.queue() == waiting
            assert bench.redis.zcard(bench.commands.keys.offers(SERVICE)) == 0
            consumer.claimer.stop()
            await running

    run(main)


def test_a_claim_of_queues_the_last_of_which_is_refused_meanwhile_takes_nothing(
    bench: Bench, redis_url: str
) -> None:
    async def main() -> None:
        async with claiming(redis_url) as consumer:
            consumer.hand_overs.told(*hand(bench, "handed"))
            bench.send("1")
            consumer.context.refusals.add("default", "its jobs are pickles")
            claimed = await consumer.claimer._take(5)
            assert claimed is not None, "Redis has refused it"
            assert claimed.claims == []
            assert handed(bench) == 0
            assert bench.queue() == ["1"]

    run(main)


def test_a_handed_job_that_kills_its_consumer_was_delivered(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    keys = Keys()
    consumer = consume("--model", "inline").ready()
    until(lambda: redis.zcard(keys.offers(SERVICE)) == 1)
    job = producer.submit(sample_tasks.leave, "kill")
    consumer.join()
    assert redis.zcard(keys.handed(SERVICE)) == 0, "else it would be handed over for ever"
    assert redis.zcard(keys.wip("default")) == 1
    assert redis.hget(keys.job(job.id), "heori_deliveries") == b"1"


@pytest.mark.parametrize("was_cut_off", [False, True])
def test_whoever_claims_takes_back_what_the_leader_leaves(
    was_cut_off: bool, bench: Bench, redis_url: str
) -> None:
    async def main() -> None:
        async with claiming(redis_url) as consumer:
            frozen = Idle(bench, "frozen")
            frozen.offer()
            bench.send("1")
            assert ids(frozen.hears().claims) == ["1"]
            overdue(bench)
            for _ in range(1 + was_cut_off):
                consumer.leadership.connected()
            await consumer.claim()
            assert handed(bench) == was_cut_off, "with it, others may have been"
            assert bench.queue() == ["1"][was_cut_off:]
            frozen.channel.close()

    run(main)

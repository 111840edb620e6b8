"""When ends wait for company: only where more jobs wait in Redis, and nobody minds."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from heori import Producer
from heori_common.protocol.job import FINISHED, STOPPED, Claim, Outcome
from heori_consumer.pool.prefetch import Room, is_time_to_claim
from heori_consumer.supervisor.rhythm import PATIENT_S, PROMPT_S, Rhythm
from tests.rigs.consumers import Consumer
from tests.tasks import sample_tasks

PLAIN = Claim("id", "a", "execution", 1, 0.0, None, 180, None, None, b"")
OF_OTHERS = PLAIN._replace(queue="b")
NOT_PLAIN = [
    PLAIN._replace(locks=[("lock", 1)]),
    PLAIN._replace(special=True),
    PLAIN._replace(rate_limit_key=b"key"),
    PLAIN._replace(rest=b"callbacks"),
    PLAIN._replace(phase=STOPPED),
]
SHORT_JOBS = 400
SCRIPTS = ("cmdstat_eval", "cmdstat_evalsha")


def crowded() -> Rhythm:
    rhythm = Rhythm()
    assert rhythm.claimed([PLAIN] * 8, 8, are_brief=True)
    return rhythm


def may_wait(rhythm: Rhythm, *claims: Claim) -> bool:
    can_wait = rhythm.can_wait([(claim, Outcome(FINISHED)) for claim in claims])
    called = time.monotonic()
    pause = rhythm.due(called, can_wait=can_wait) - called
    assert pause == pytest.approx(PATIENT_S if can_wait else PROMPT_S)
    return can_wait


def test_ends_wait_while_claims_bring_all_that_there_is_room_for() -> None:
    rhythm = crowded()
    assert may_wait(rhythm, PLAIN, PLAIN)
    assert rhythm.claimed([PLAIN], 1, are_brief=True), "one more tells nothing new"
    assert may_wait(rhythm, PLAIN)


@pytest.mark.parametrize(
    ("claims", "wanted", "are_brief"),
    [
        ([PLAIN] * 7, 8, True),
        ([], 8, True),
        ([PLAIN] * 8, 8, False),
        ([OF_OTHERS] + [PLAIN] * 7, 8, True),
        *(([PLAIN, claim], 2, True) for claim in NOT_PLAIN),
    ],
)
def test_ends_wait_no_longer_once_a_claim_brings_less_or_what_somebody_may_wait_for(
    claims: list[Claim], wanted: int, are_brief: bool
) -> None:
    rhythm = crowded()
    assert not rhythm.claimed(claims, wanted, are_brief=are_brief)
    assert not may_wait(rhythm, PLAIN)


def test_one_job_that_was_claimed_alone_may_be_all_that_there_is() -> None:
    rhythm = Rhythm()
    assert not rhythm.claimed([PLAIN], 1, are_brief=True)
    assert not may_wait(rhythm, PLAIN)


@pytest.mark.parametrize("claim", [OF_OTHERS, *NOT_PLAIN])
def test_what_others_may_wait_for_has_whatever_ended_with_it_told_at_once(claim: Claim) -> None:
    assert not may_wait(crowded(), PLAIN, claim)


def test_what_waits_goes_with_the_next_claim() -> None:
    rhythm = crowded()
    called = time.monotonic()
    rhythm.claim()
    assert rhythm.due(called, can_wait=True) == pytest.approx(called + PROMPT_S)


@pytest.mark.parametrize(
    "change",
    [
        lambda rhythm: rhythm.claimed([], 8, are_brief=True),
        lambda rhythm: rhythm.claimed([OF_OTHERS] * 8, 8, are_brief=True),
        lambda rhythm: rhythm.claim(),
    ],
)
def test_who_rests_looks_again_as_soon_as_something_changes(
    change: Callable[[Rhythm], object],
) -> None:
    async def rest() -> None:
        rhythm = crowded()
        resting = asyncio.create_task(rhythm.rest(60))
        await asyncio.sleep(0)
        change(rhythm)
        async with asyncio.timeout(60):
            await resting

    asyncio.run(rest())


@pytest.mark.parametrize(
    ("rooms", "expected"),
    [
        ([Room(7, 1, 13), Room(7, 1, 13)], True),  # both have room for half
        ([Room(7, 1, 13), Room(8, 1, 13)], False),  # another one's room is about to come
        ([Room(4, 1, 13), Room(13, 1, 13)], True),  # one runs short
        ([Room(1, 2, 2), Room(2, 2, 2)], True),  # one has a slot that is idle
    ],
)
def test_a_claim_waits_for_the_room_of_all_while_none_runs_short(
    rooms: list[Room], expected: bool
) -> None:
    assert is_time_to_claim(rooms) == expected


def test_short_jobs_share_their_claims_and_acknowledgements(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consume("--model", "processes", "--processes", "2", "--slots", "1").ready()
    producer.submit_many(sample_tasks.nap, [(0.005,)] * 20)[-1].result(60)

    def calls_for_each() -> float:
        redis.config_resetstat()
        producer.submit_many(sample_tasks.nap, [(0.005,)] * SHORT_JOBS)[-1].result(60)
        counts = redis.info("commandstats")
        calls: int = sum(counts[name]["calls"] for name in SCRIPTS if name in counts)
        return calls / SHORT_JOBS

    # Where jobs take long, as on a busy machine, they share less; it is not so each time.
    assert any(calls_for_each() < 0.35 for _ in range(5)), "about a sixth, and a half before"

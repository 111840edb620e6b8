"""When a consumer looks at something now and then: with its beat, so that it wakes once for all."""

import asyncio
import time

import pytest

from heori_consumer.beat import HALF_S, WHOLE_S, Beat


@pytest.mark.parametrize(
    ("seconds", "step"), [(5.0, WHOLE_S), (1.3, WHOLE_S), (WHOLE_S, WHOLE_S), (HALF_S, HALF_S)]
)
def test_looks_that_are_due_about_the_same_time_are_with_one_beat_and_never_late(
    seconds: float, step: float
) -> None:
    beat = Beat()
    whole = beat.within(WHOLE_S)
    for _ in range(100):
        before = time.monotonic()
        when = beat.within(seconds)
        assert before < when <= time.monotonic() + seconds
        beats = (when - whole) / step
        assert beats == pytest.approx(round(beats), abs=1e-6)
        time.sleep(0.001)


def test_what_is_due_before_the_next_beat_is_in_time() -> None:
    beat = Beat()
    for seconds in (0.0, 0.001, 0.2):
        before = time.monotonic()
        assert beat.within(seconds) <= time.monotonic() + seconds
        assert beat.within(seconds) >= before


def test_a_wait_with_the_beat_ends_with_its_event_or_in_time() -> None:
    async def wait() -> tuple[bool, bool]:
        beat, event = Beat(), asyncio.Event()
        in_time = await beat.wait(event, 0.01)
        asyncio.get_running_loop().call_soon(event.set)
        return in_time, await beat.wait(event, 3600)

    assert asyncio.run(wait()) == (False, True)


def test_consumers_have_beats_of_their_own() -> None:
    assert len({round(Beat().within(WHOLE_S) % WHOLE_S, 6) for _ in range(20)}) > 10

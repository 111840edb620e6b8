"""Which tasks are kept from each other's way, and whether that stays so."""

from dataclasses import replace

import pytest

from heori_consumer.auto.apart import FEW, SEEN, KeepingApart
from heori_consumer.auto.demand import Observation, Spent, TaskUse
from heori_consumer.auto.size import Size

SPIN, VISIT = "spin", "visit"
# A second of 2 × 4 threads: jobs that compute in Python hold up those that wait.
CROWDED = Observation(
    seconds=1.0,
    size=Size(2, 4, 1),
    settled=True,
    backlog=True,
    running=2.0,
    gil_wait=4.0,
    io_wait=2.0,
    cpu=1.9,
    loop_busy=0.0,
    coroutines=0.0,
    cores=2.0,
    process_bytes=1,
    slot_bytes=1,
    tasks={SPIN: TaskUse(90, 5.0, 1.8), VISIT: TaskUse(30, 3.0, 0.1)},
    spent={SPIN: Spent(1.9, 3.1, 0.0), VISIT: Spent(0.1, 0.9, 2.0)},
)
CALM = replace(
    CROWDED,
    gil_wait=0.3,
    tasks={SPIN: TaskUse(90, 1.9, 1.8), VISIT: TaskUse(35, 2.1, 0.1)},
    spent={SPIN: Spent(1.9, 0.1, 0.0), VISIT: Spent(0.1, 0.2, 1.8)},
)


def see(apart: KeepingApart, seen: Observation, seconds: int, *, is_free: bool = True) -> None:
    for _ in range(seconds):
        apart.step(seen, is_free=is_free)


@pytest.fixture
def apart() -> KeepingApart:
    """One that has begun to keep tasks apart, and has seen nothing since."""
    begun = KeepingApart()
    see(begun, CROWDED, SEEN)
    assert (begun.tasks, begun.fate) == (frozenset([SPIN]), "on trial")
    return begun


def test_what_only_waits_for_itself_is_kept_apart_as_long_as_it_helps(apart: KeepingApart) -> None:
    assert apart.most == 4, "as many as there are slots, as each takes 20 ms"
    see(apart, CALM, SEEN)
    assert (apart.tasks, apart.fate) == (frozenset([SPIN]), "kept")
    assert apart.effect is not None
    assert apart.effect.time == pytest.approx(2.1 / 35 / (3.0 / 30))
    assert apart.effect.work == pytest.approx(1.0)
    see(apart, CALM, 100)
    assert apart.fate == "kept"


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(CROWDED, id="nothing is faster"),
        pytest.param(
            replace(CALM, tasks={**CALM.tasks, SPIN: TaskUse(60, 1.9, 1.2)}), id="less is done"
        ),
    ],
)
def test_what_does_not_help_is_undone_and_not_tried_again_soon(
    apart: KeepingApart, seen: Observation
) -> None:
    see(apart, seen, SEEN)
    assert (apart.tasks, apart.fate) == (frozenset(), "undone")
    see(apart, CROWDED, 600)
    assert apart.fate == "undone"
    see(apart, CROWDED, 302)
    assert apart.tasks, "after a quarter of an hour it is"


def test_a_size_that_changes_meanwhile_leaves_nothing_to_be_told(apart: KeepingApart) -> None:
    apart.step(replace(CALM, size=Size(2, 8, 1)), is_free=True)
    assert (apart.tasks, apart.fate) == (frozenset(), "put off")


def test_a_little_of_both_is_worth_it_too(apart: KeepingApart) -> None:
    both = {SPIN: TaskUse(97, 1.9, 1.95), VISIT: TaskUse(33, 33 * 0.092, 0.1)}
    see(apart, replace(CALM, tasks=both), SEEN)
    assert apart.fate == "kept"


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(replace(CALM, tasks={SPIN: CALM.tasks[SPIN]}), id="nothing else runs"),
        pytest.param(
            replace(CALM, spent={**CALM.spent, SPIN: Spent(0.9, 0.1, 1.0)}), id="it waits itself"
        ),
    ],
)
def test_it_ends_when_there_is_no_reason_any_more(apart: KeepingApart, now: Observation) -> None:
    see(apart, CALM, SEEN)
    see(apart, now, SEEN)
    assert (apart.tasks, apart.fate) == (frozenset(), "over")


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(
            replace(CROWDED, spent={**CROWDED.spent, SPIN: Spent(4.0, 1.0, 0.0)}),
            id="it computes without the GIL",
        ),
        pytest.param(
            replace(CROWDED, spent={**CROWDED.spent, SPIN: Spent(1.0, 3.0, 1.0)}),
            id="it waits for other things",
        ),
        pytest.param(
            replace(CROWDED, tasks={**CROWDED.tasks, VISIT: TaskUse(1, 3.0, 0.1)}),
            id="next to nothing else runs",
        ),
        pytest.param(replace(CROWDED, running=5.0), id="others have the cores"),
        pytest.param(replace(CROWDED, settled=False), id="the size is not there yet"),
    ],
)
def test_where_nothing_is_to_be_gained_nothing_is_done(seen: Observation) -> None:
    apart = KeepingApart()
    see(apart, seen, FEW + SEEN)
    assert apart.fate == "over"


def test_one_thing_is_on_trial_at_a_time() -> None:
    apart = KeepingApart()
    see(apart, CROWDED, SEEN, is_free=False)
    assert apart.fate == "over"

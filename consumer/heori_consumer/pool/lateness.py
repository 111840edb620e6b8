"""Jobs of a worker that are late, and that no exception ends: who is to blame for it.

Their worker is killed once for all of them. A job is late by its own doing, as in a call into C
that does not come back; or because another job holds what it needs to go on: the GIL, or the event
loop that they share. The one ends with the worker, and the other runs again.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import takewhile
from typing import NamedTuple

from heori_common.protocol.job import Claim
from heori_consumer.between.slot_table import AtStop, SlotState, SlotTable
from heori_consumer.gil.states import GIL_WAIT, RUNNING
from heori_consumer.gil.usage import CoreUse

# How long after its timeout, or after it was asked to stop, a job that cannot be interrupted costs
# its worker process the life. The first is time in which the worker could have ended it: where it
# wants a core only what it gets counts, and all begins anew when a GIL that was held is let go.
# The second is the most that a job has in any case.
HARD_GRACE_S, MOST_GRACE_S = 1.0, 10.0
# A GIL or an event loop that nobody else has had for this long is held by somebody. The thread of a
# worker that receives wants the GIL ten times a second, and a turn of the loop as often.
HELD_S = 0.5
# How often the threads are looked at before it is said which of them holds the GIL: one that waits
# for it asks for it every 5 ms, for which it runs, or is to run: that takes long on a busy machine.
# So there are more looks where several seem to run, as only one of them can hold it.
LOOKS, MOST_LOOKS = 3, 40
# So much of the time between two looks counts at most, of either of these. A supervisor that looks
# less often was itself stopped, or had no core; and so had its workers, probably.
MOST_COUNTED_S, MOST_COUNTED_AT_LAST_S = 0.2, 1.0


class Doing(Enum):
    """What a running job is doing, of those that matter here."""

    HOLDING = "it is where it may hold up the others"
    OWN_CALL = "it waits for something that no other job has"
    HELD_UP = "it waits for the GIL or the loop"
    UNKNOWN = "nobody can tell"


class Accused(NamedTuple):
    """A job that a slot runs, while some job of its worker is late."""

    number: int
    overdue: bool  # its timeout is over
    asked: bool  # it was to stop, and has not
    doing: Doing


class LateSince(NamedTuple):
    """Since when a job is late, by either clock."""

    clock: float
    at_last: float


class Sentence(NamedTuple):
    """What becomes of the jobs that a worker runs which is killed; all others run again.

    Attributes:
        ends: the numbers of those that end with it.
        apart: of those that run again in a process of their own.
    """

    ends: frozenset[int]
    apart: frozenset[int]


class Lateness:
    """Looks out for late jobs of one worker.

    Args:
        state: returns what a thread does (see `gil.states`); None when there is no telling.
        use: returns what the worker has of the cores; None when there is no telling.

    Attributes:
        is_close: whether one may be late, as far as the last look has told.
    """

    def __init__(
        self,
        table: SlotTable,
        state: Callable[[int], str | None],
        use: Callable[[], CoreUse | None],
    ) -> None:
        self._table = table
        self._state = state
        self._use = use
        self._looked: float | None = None
        self._was_held = False
        self._used: CoreUse | None = None  # at the last look, if a job was late
        # Two clocks for these two graces. The first stands still while nobody could end a job.
        self._clock = self._at_last = 0.0
        self._late: dict[int, LateSince] = {}  # by number
        self._waiting: set[int] = set()  # threads that were seen to wait for the GIL
        self._looks = 0
        self.is_close = False
        self._seen = 0  # the number of the latest claim that was looked at
        self._shortest = float("inf")  # timeout of those, in seconds
        self._none_before = 0.0  # time.monotonic(): none of those has a timeout that ends before

    def look(
        self, now: float, claims: dict[int, Claim], asked: Mapping[int, float]
    ) -> Sentence | None:
        """Tell what is to become of its jobs if it must be killed for a late one; else None.

        Args:
            now: time.monotonic().
            claims: what it holds, by number.
            asked: when jobs were asked to stop, by number.
        """
        passed, self._looked = now - (self._looked or now), now
        held = self._table.gil_enabled() and self._table.silence(now) > HELD_S
        let_go, self._was_held = self._was_held and not held, held
        self.is_close = not self._is_none_over(now, claims, asked)
        if not self.is_close:
            self._forget()
            return None
        running = [
            (slot, state)
            for slot, state in enumerate(self._table.read())
            if state.running and state.taken in claims
        ]
        overdue = {
            state.taken: now - end
            for _, state in running
            if (end := _end(state, claims[state.taken], asked)) < now
        }
        self._count(overdue, passed, anew=let_go)
        if not any(map(self._is_over, self._late.values())):
            self._forget_threads()
            return None
        states: dict[int, str | None] = {}
        if held:
            states = {state.thread: self._state(state.thread) for _, state in running}
            self._waiting |= {each for each, is_at in states.items() if is_at == GIL_WAIT}
            self._looks += 1
            may_hold = [each for each in states.keys() - self._waiting if states[each] == RUNNING]
            if self._looks < (LOOKS if len(may_hold) <= 1 else MOST_LOOKS):
                return None
        return judge(
            Accused(
                state.taken,
                state.taken in overdue,
                state.taken in asked,
                self._doing(slot, state.thread, now, states),
            )
            for slot, state in running
        )

    def _count(self, overdue: Mapping[int, float], passed: float, *, anew: bool) -> None:
        """Let the clocks go on.

        Args:
            overdue: for how many seconds jobs are late, by number.
            passed: seconds since the last look.
            anew: whether the worker could end none of them before, and can from now on.
        """
        before, self._used = self._used, self._use() if overdue else None
        counted, at_last = min(passed, MOST_COUNTED_S), min(passed, MOST_COUNTED_AT_LAST_S)
        if before is not None and self._used is not None and self._used.wants:
            counted = min(counted, self._used.cpu - before.cpu)
        self._clock += counted
        self._at_last += at_last
        self._late = {
            number: self._late.get(number)
            or LateSince(
                self._clock - max(0.0, seconds - (passed - counted)),
                self._at_last - max(0.0, seconds - (passed - at_last)),
            )
            for number, seconds in overdue.items()
        }
        if anew:
            self._late = {n: each._replace(clock=self._clock) for n, each in self._late.items()}

    def _is_over(self, late: LateSince) -> bool:
        """Whether either grace of a job is over."""
        at_last = self._at_last - late.at_last > MOST_GRACE_S
        return at_last or self._clock - late.clock > HARD_GRACE_S

    def _forget(self) -> None:
        """That jobs were late."""
        self._late = {}
        self._used = None
        self._forget_threads()

    def _forget_threads(self) -> None:
        """What was seen of them while a job was late."""
        self._waiting.clear()
        self._looks = 0

    def _is_none_over(
        self, now: float, claims: dict[int, Claim], asked: Mapping[int, float]
    ) -> bool:
        """Whether it is certain, without a look at each slot, that no job was to have ended."""
        new = list(takewhile(lambda number: number > self._seen, reversed(claims)))
        if new:
            self._seen = new[0]
            if (shortest := _shortest([claims[number] for number in new])) < self._shortest:
                self._shortest, self._none_before = shortest, 0.0
        if now > self._none_before:
            self._shortest = _shortest(claims.values())
            # What begins from now on has its time from then on.
            self._none_before = min(self._table.began_first(), now) + self._shortest
        return not asked and now <= self._none_before and not self._table.has_grants()

    def _doing(self, slot: int, thread: int, now: float, states: Mapping[int, str | None]) -> Doing:
        """What the job in a slot is doing.

        Args:
            states: what the threads do; none while the GIL is not held.
        """
        if thread == self._table.loop() and (states or self._table.loop_silence(now) > HELD_S):
            if slot != self._table.at():
                return Doing.HELD_UP
            if not states:
                return Doing.HOLDING
        if not states:
            return Doing.OWN_CALL
        if thread in self._waiting:
            return Doing.HELD_UP
        match states[thread]:
            case None:
                return Doing.UNKNOWN
            case state:
                return Doing.HOLDING if state == RUNNING else Doing.OWN_CALL


def judge(jobs: Iterable[Accused]) -> Sentence:
    """Tell which jobs end with their worker.

    All that are overdue by their own doing, and not just the first that was noticed: each of the
    others would cost the next worker its life. Who was held up is innocent if there is a job that
    may have held it up.
    """
    jobs = list(jobs)
    asked = {job.number for job in jobs if job.asked}
    overdue: dict[Doing, set[int]] = {doing: set() for doing in Doing}
    for job in jobs:
        if job.overdue and not job.asked:
            overdue[job.doing].add(job.number)
    ends = asked | overdue[Doing.HOLDING] | overdue[Doing.OWN_CALL]
    held_up, unknown = overdue[Doing.HELD_UP], overdue[Doing.UNKNOWN]
    if all(job.doing is Doing.HELD_UP for job in jobs):
        return Sentence(frozenset(ends | held_up), frozenset())  # by a thread that is no job's
    if len(jobs) == 1:
        return Sentence(frozenset(ends | unknown), frozenset())
    apart = unknown
    if held_up and not overdue[Doing.HOLDING]:
        # Who holds them up has time left. It gets that where it is in nobody's way.
        for doing in (Doing.HOLDING, Doing.OWN_CALL):  # a call may wait without letting go
            if holders := {job.number for job in jobs if job.doing is doing}:
                apart = apart | holders
                break
    return Sentence(frozenset(ends), frozenset(apart - ends))


def _shortest(claims: Iterable[Claim]) -> float:
    """The shortest of their timeouts, in seconds."""
    return min([c.timeout for c in claims if c.timeout > 0], default=float("inf"))


def _end(state: SlotState, claim: Claim, asked: Mapping[int, float]) -> float:
    """When a running job was to end; it is killed HARD_GRACE_S later."""
    by_timeout = state.since + claim.timeout if claim.timeout > 0 else float("inf")
    by_timeout = state.end or by_timeout
    stopped = asked.get(state.taken, float("inf"))
    match state.at_stop:
        case AtStop.HAS_ENDED:
            return by_timeout
        case AtStop.IS_KILLED:
            return min(by_timeout, stopped - HARD_GRACE_S)
    return min(by_timeout, stopped)

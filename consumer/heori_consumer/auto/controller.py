"""Chooses the size of a pool: goes where the model says, looks what came of it, and undoes.

Pure: it has no clock and does nothing. Each second it is told what was seen, and may answer with a
move. Whoever asks makes the move; later observations tell that the size is there.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from heori_consumer.auto import words
from heori_consumer.auto.demand import (
    Mix,
    Observation,
    count,
    estimate,
    is_fed_slowly,
    is_starved,
)
from heori_consumer.auto.held_up import held_up
from heori_consumer.auto.lesson import Lesson
from heori_consumer.auto.load import Weights, are_alike, have_same_needs, is_other, needs_else
from heori_consumer.auto.model import LEAP, SMALL_LEAP, Forecast, candidates
from heori_consumer.auto.move import CameOf, Cause, Fate, Move
from heori_consumer.auto.size import Size, SizeBounds

# Observations that a choice takes at least, that are kept, and that are the latest.
LEAST_SEEN = 3
MOST_SEEN = 30
LATEST = 3
# How many a judgement takes at most while figures go up and down.
MOST_OF_TRIAL = 10
# How many are between two looks at whether the size is still right; and once it was found good, as
# such a look takes milliseconds, and a change is seen at once.
CHOOSE_EVERY = 5
CHOOSE_LATER = 15
# What is worth a move: so many times the throughput; more of it, once the size was found good; or
# so little of the memory, for about the same.
WORTH = 1.05
WORTH_LATER = 1.12
SAVES = 0.8
SAME, SAME_OF_MANY = 0.98, 0.995
# A move that was to bring more is kept from this on, and one that was to save from that.
GAINED = 1.02
KEPT = 0.98
# Of the cores that it may use: there is nothing to gain.
FULL = 0.97
# Threads that wait for the GIL or for a core for so much of their time are too many.
CROWDED = 0.5
# Of what a move was to bring, and how many times as long jobs wait since: then it is for a thing
# that all of them wait for, and more slots are no use.
DISAPPOINTS = 0.9
WAITS_LONGER = 1.2
# What it plans with of what jobs need but for cores, as no model is exact. Of jobs of several tasks
# even less is known: those that wait stand in line behind those that compute.
MARGIN = 1.25
MARGIN_OF_MANY = 2.0
# Less is tried only of a load that has been the same for so many observations.
STEADY = 8
# What has not helped is not tried again for so many seconds of the same load.
REMEMBERED_S = 900.0
# Jobs that take long keep the threads that are to end: it is not waited for these for longer.
PATIENCE_S = 15.0
# Of the memory that it may have, what it plans with: processes grow. And so do threads, by what
# they run.
MEMORY_SHARE = 0.95
THREADS_GROW = 4


class _Lid(NamedTuple):
    """What no size was seen to exceed.

    Attributes:
        size: that is as good as any.
        left: seconds until that is forgotten.
        rate: jobs a second, if all wait for the same thing, as a service.
        wait: seconds that a job waits when it is not in its line.
    """

    size: Size
    left: float
    rate: float = float("inf")
    wait: float = float("inf")


class _OnTrial(NamedTuple):
    """A move that is to be judged."""

    move: Move
    seen: tuple[Observation, ...]  # before it, as the next
    estimates: dict[str, float]


class Controller:
    """Steers one pool.

    Args:
        size: that the pool has.
        bounds: that no size exceeds.
        lessons: what others have learned, by task.

    Attributes:
        size: that it wants.
        outcomes: how many moves came to what.
        estimates: how many times the throughput would be with one more and one less of each;
            replaced as a whole, so that another thread can read it.
        lessons: with what it has learned itself.
    """

    def __init__(
        self, size: Size, bounds: SizeBounds, lessons: Mapping[str, Lesson] | None = None
    ) -> None:
        self.size = size
        self.outcomes: Counter[Fate] = Counter()
        self.estimates: dict[str, float] = {}
        self.lessons = dict(lessons or {})
        self._bounds = bounds
        self._seen: deque[Observation] = deque(maxlen=MOST_SEEN)
        self._unsettled = 0.0  # seconds
        self._is_new = False  # the size; threads that have just come import and connect at first
        self._until_choice = 0  # observations
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget what holds for other work."""
        self._weights = Weights()
        self._trial: _OnTrial | None = None
        self._settled: tuple[Observation, ...] = ()  # when the size was found good
        self._barred: dict[Size, float] = {}  # what has not helped, with the seconds left
        self._lid: _Lid | None = None
        self._leap = LEAP
        self._may_save = True
        self._gil_share = 1.0  # of CPU, as it was last seen

    def step(self, seen: Observation) -> Move | None:
        """Look at what was seen of the last second, and say where to go, if anywhere."""
        if seen.size != self.size or not self._is_there(seen):
            self._seen.clear()
            return None
        if self._is_too_large(seen, self.size):
            return self._fit_memory(seen)
        if not seen.backlog or self._is_new:  # what is done says nothing of what could be
            self._is_new = False
            self._seen.clear()
            return None
        self._age(seen.seconds)  # at idle nothing is forgotten
        self._seen.append(seen)
        self._weights.learn(seen)
        if len(self._seen) < LEAST_SEEN:
            return None
        if self._has_changed():
            self._seen.clear()  # the last of them may be half of this and half of that
            self._until_choice = 0
            return None
        if self._trial is not None:
            return self._judge(self._trial)
        self._until_choice -= 1
        return self._choose() if self._until_choice <= 0 else None

    def decline(self, move: Move) -> None:
        """Take it that the last move is not made: the size stays what it was."""
        self._moved(move.before)
        if self._trial is not None:
            self.estimates = self._trial.estimates
        self._trial = None
        self._lid = _Lid(move.before, REMEMBERED_S)
        self._may_save = False

    # The load

    def _age(self, seconds: float) -> None:
        self._barred = {
            size: left - seconds for size, left in self._barred.items() if left > seconds
        }
        if self._lid is not None:
            left = self._lid.left - seconds
            self._lid = self._lid._replace(left=left) if left > 0 else None

    def _is_there(self, seen: Observation) -> bool:
        self._unsettled = 0.0 if seen.settled else self._unsettled + seen.seconds
        return seen.settled or self._unsettled > PATIENCE_S

    def _has_changed(self) -> bool:
        """Whether what was found does not hold any more; if so, forget that."""
        before = self._trial.seen if self._trial is not None else self._settled
        if not before:
            return False
        latest = list(self._seen)[-LATEST:]
        if needs_else(before, latest):
            self._has_overtaken()
            self._begin_anew()
            return True
        if self._trial is not None or not is_other(self._weights, before, latest):
            return False
        if have_same_needs(before, latest):
            # Others leave it more of the machine, or less: what was of no use then may be of use.
            self._settled = ()
            self._barred, self._lid = {}, None
        else:
            self._begin_anew()
        return True

    def _has_overtaken(self) -> None:
        if self._trial is not None:
            self._came_of(self._trial.move, "overtaken")

    def _came_of(self, move: Move, fate: Fate, gain: float | None = None) -> None:
        self.outcomes[fate] += 1
        move.outcome = CameOf(fate, gain)

    def _mix(self) -> Mix:
        mix = estimate(self._seen, self._gil_share)
        if mix.gil_share is not None:
            self._gil_share = mix.gil_share
        if self._lid is not None:
            wait = min(mix.plain.wait, self._lid.wait)
            mix = mix._replace(plain=mix.plain._replace(wait=wait))
        return mix

    def _forecast(self, mix: Mix, margin: float = 1.0) -> Forecast:
        cores = self._seen[-1].cores
        lid = None
        if self._lid is not None:
            lid = Forecast(mix, cores, margin=margin).throughput(self._lid.size)
            lid = min(lid, self._lid.rate)
        if (lock := held_up(self._seen)) is not None:
            lid = lock.rate if lid is None else min(lid, lock.rate)
        if is_fed_slowly(self._seen):
            rate = count(self._seen)[0] / sum(each.seconds for each in self._seen)
            lid = rate if lid is None else min(lid, rate)
        return Forecast(mix, cores, lid, margin)

    def _estimates(self, forecast: Forecast) -> dict[str, float]:
        sizes = {
            f"{name}{step:+}": {**_numbers(self.size), name: number}
            for name in _numbers(self.size)
            for step in (1, -1)
            if (number := _numbers(self.size)[name] + step) > 0
        }
        return {change: _gain(forecast, self.size, Size(**size)) for change, size in sizes.items()}

    # Choices

    def _choose(self) -> Move | None:
        self._until_choice = CHOOSE_LATER if len(self._settled) >= STEADY else CHOOSE_EVERY
        mix, seen = self._mix(), self._seen[-1]
        main = self._weights.main_task(self._seen)
        forecast = self._forecast(mix, MARGIN if main is not None else MARGIN_OF_MANY)
        exact = self._forecast(mix)
        self.estimates = self._estimates(exact)
        recalled = self._recalled(main, mix, forecast)
        sizes = self._sizes(mix)
        target = recalled or self._target(main, forecast, sizes)
        expected = _gain(exact, self.size, target)
        gain = _gain(forecast, self.size, target)
        if main is not None and not is_starved(self._seen):
            gain = min(gain, expected)  # the margin says how far to go, not whether
        if gain >= (WORTH_LATER if self._settled else WORTH) and not self._has_all_cores():
            cause = "known from before" if recalled else words.cause(seen, target)
            return self._go(target, max(expected, WORTH), exact, cause)
        if main is not None and self._may_save and len(self._seen) >= STEADY:
            target = self._less(main, mix, sizes)
            if self._saves(target):
                expected = min(_gain(exact, self.size, target), 1.0)
                return self._go(target, expected, exact, words.why_less(self._seen))
        if not self._settled or len(self._settled) < STEADY <= len(self._seen):
            self._settled = tuple(self._seen)
            if main is not None:
                demand = mix.coroutine if mix.on_loop > 0.5 else mix.plain
                self.lessons[main] = Lesson(demand, self.size, seen.cores)
        return None

    def _sizes(self, mix: Mix) -> list[Size]:
        """Those within reach that may be tried."""
        return [
            size
            for size in candidates(
                self.size,
                self._bounds,
                self._leap,
                has_loops=mix.on_loop > 0,
                has_plain=mix.on_loop < 1,
            )
            if size not in self._barred
            and not self._is_too_large(self._seen[-1], size)
            and (size.processes <= self.size.processes or mix.on_loop < 1 or mix.full_loops)
        ]

    def _target(self, main: str | None, forecast: Forecast, sizes: Sequence[Size]) -> Size:
        """The smallest size that is about as good as the best of some."""
        rates = {size: forecast.throughput(size) for size in sizes}
        good = (SAME if main is not None else SAME_OF_MANY) * max(rates.values(), default=0.0)
        return min(
            (size for size, rate in rates.items() if rate >= good),
            key=self._cost,
            default=self.size,
        )

    def _less(self, main: str | None, mix: Mix, sizes: Sequence[Size]) -> Size:
        """The smallest size that costs no more than this one, and will do."""
        now = self.size
        cheaper = [size for size in sizes if self._cost(size) <= self._cost(now)]
        if mix.on_loop > 0:  # room for coroutines costs nothing
            most, room = self._bounds.max_coroutines, now.processes * now.coroutines
            cheaper = [
                each for each in cheaper if each.coroutines >= min(most, room / each.processes)
            ]
        # Coroutines are in each other's way no more than their loop tells.
        margin = MARGIN if mix.on_loop < 1 else 1.0
        return self._target(main, self._forecast(mix.of_fewer_processes, margin), cheaper)

    def _recalled(self, main: str | None, mix: Mix, forecast: Forecast) -> Size | None:
        """Where jobs like these did best before."""
        lesson = self.lessons.get(main) if main is not None else None
        seen = self._seen[-1]
        if lesson is None or self._settled or lesson.cores != seen.cores:
            return None
        size = self._bounds.within(lesson.size)
        demand = mix.coroutine if mix.on_loop > 0.5 else mix.plain
        is_fit = size not in self._barred and not self._is_too_large(seen, size)
        if not is_fit or not are_alike(lesson.demand, demand):
            return None
        return size if forecast.throughput(size) >= forecast.throughput(self.size) else None

    def _has_all_cores(self) -> bool:
        seconds = sum(each.seconds for each in self._seen)
        return sum(each.cpu for each in self._seen) >= FULL * seconds * self._seen[-1].cores

    def _saves(self, target: Size) -> bool:
        seen = self._seen[-1]
        if seen.memory(target) <= SAVES * seen.memory(self.size):
            return True
        threads = sum(each.threads for each in self._seen)
        at_work = sum(each.cpu + each.io_wait for each in self._seen)
        crowd = 1 - at_work / threads if threads else 0.0
        return crowd >= CROWDED and 2 * target.slots <= self.size.slots

    def _cost(self, size: Size) -> tuple[int, int, int]:
        return self._seen[-1].memory(size), size.processes * size.slots, size.coroutines

    def _go(self, target: Size, gain: float, forecast: Forecast, cause: Cause) -> Move:
        seen = tuple(self._seen)
        reason = f"{words.path(self.size, target)}: {words.state(seen)}; {words.expected(gain)}"
        move = Move(self.size, target, reason, gain, cause)
        self._trial = _OnTrial(move, seen, self.estimates)
        self._moved(target)
        self.estimates = self._estimates(forecast)
        return move

    def _moved(self, size: Size) -> None:
        self.size = size
        self._settled = ()
        self._unsettled = 0.0
        self._is_new = True
        self._until_choice = 0
        self._seen.clear()

    # What came of it

    def _judge(self, trial: _OnTrial) -> Move | None:
        before, after = self._weights.rates(trial.seen, tuple(self._seen))
        gain = after.mean / before.mean if before.mean else 1.0
        bound = GAINED if trial.move.gain >= WORTH else KEPT
        error = 2 * gain * (before.uncertainty**2 + after.uncertainty**2) ** 0.5
        if abs(gain - bound) < error and len(self._seen) < MOST_OF_TRIAL:
            return None
        # In doubt the smaller size is as good.
        bound += error / 4 if trial.move.gain >= WORTH else -error / 4
        self._trial = None
        if trial.move.gain < WORTH:
            self._may_save = False  # once is enough for one load
        if gain >= bound:
            self._came_of(trial.move, "kept", gain)
            self._barred[trial.move.before] = REMEMBERED_S
            if trial.move.gain < WORTH:
                self._lid = self._lid or _Lid(self.size, REMEMBERED_S)  # more has done no more
            elif gain < DISAPPOINTS * trial.move.gain:
                self._look_for_line(trial.seen)
            return self._choose()
        self._came_of(trial.move, "undone", gain)
        self._barred[self.size] = REMEMBERED_S
        if trial.move.gain >= WORTH:
            is_flat = gain >= KEPT  # so something else bounds it, however far it goes
            if is_flat or self._leap == SMALL_LEAP or not self._was_leap(trial.move):
                self._lid = _Lid(trial.move.before, REMEMBERED_S)
            self._leap = SMALL_LEAP
        reason = (
            f"{words.path(self.size, trial.move.before)}: {gain - 1:+.0%} jobs/s since the last "
            f"move, where {trial.move.gain - 1:+.0%} was expected"
        )
        self.estimates = trial.estimates
        back = Move(
            self.size, trial.move.before, reason, 1 / gain, cause="the last move did not help"
        )
        self._moved(back.size)
        return back

    def _was_leap(self, move: Move) -> bool:
        before, after = _numbers(move.before), _numbers(move.size)
        return any(after[name] > SMALL_LEAP * before[name] for name in after)

    def _look_for_line(self, before: tuple[Observation, ...]) -> None:
        """Jobs that wait longer since there are more of them stand in a line."""
        waits, jobs = zip(
            *(
                (sum(each.io_wait for each in window), max(1, count(window)[0]))
                for window in (before, self._seen)
            ),
            strict=True,
        )
        wait = waits[0] / jobs[0]
        if waits[1] / jobs[1] > WAITS_LONGER * wait:
            rate = jobs[1] / sum(each.seconds for each in self._seen)
            self._lid = _Lid(self.size, REMEMBERED_S, rate, wait)

    # Memory

    def _is_too_large(self, seen: Observation, size: Size) -> bool:
        most = self._bounds.max_memory
        if most is None:
            return False
        if size == self.size:
            return seen.memory(size) > most
        return seen.memory(size, THREADS_GROW) > most * MEMORY_SHARE

    def _fit_memory(self, seen: Observation) -> Move | None:
        """Become as small as it must."""
        sizes = [
            size
            for size in candidates(self.size, self._bounds, 1, has_loops=False, has_plain=True)
            if not self._is_too_large(seen, size)
        ]
        target = max(sizes, key=lambda size: size.processes * size.slots, default=None)
        if target is None or seen.memory(target) >= seen.memory(self.size):
            return None
        self._has_overtaken()
        self._trial = None
        self._barred[self.size] = REMEMBERED_S
        reason = (
            f"{words.path(self.size, target)}: {seen.memory(self.size) / 1e6:.0f} MB are more "
            f"than the bound of {(self._bounds.max_memory or 0) / 1e6:.0f} MB"
        )
        move = Move(self.size, target, reason, 1.0, cause="too much memory")
        self._moved(target)
        return move


def _gain(forecast: Forecast, before: Size, after: Size) -> float:
    now = forecast.throughput(before)
    return forecast.throughput(after) / now if now > 0 else 1.0


def _numbers(size: Size) -> dict[str, int]:
    return {"processes": size.processes, "slots": size.slots, "coroutines": size.coroutines}

"""What a pool has done in some observations, and whether that is the same kind of work.

Jobs are counted by weight, so that a mix of others is no change of throughput: each as much as its
task took when it was first seen.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from heori_consumer.auto.demand import Demand, Observation, count

# Jobs take long when fewer have ended than this, or than this many times the slots: those that have
# begun together end together. More of them can be counted, with one half of a round in doubt.
FEW = 20
ROUNDS = 2
# Work is of another kind when threads spend so much more of their time in another way, or do so
# much more or less, as a share, and when that is so many standard errors.
OTHER_SHARE = 0.15
OTHER_RATE = 0.25
ERRORS = 4.0
# A task's jobs need something else when it is this many times as much or as little, and so much of
# all that they need, or of the cores.
ALIKE = 1.3
# At another size the same job needs more or less, as threads drive each other's data out of caches.
ALIKE_AT_ANOTHER_SIZE = 1.7
NOTABLE = 0.1
MAIN = 0.8  # of the work: the task that it is of


class Pace(NamedTuple):
    """Work a second."""

    mean: float
    error: float  # standard, of the mean

    @property
    def uncertainty(self) -> float:
        """The error as a share of the mean."""
        return self.error / self.mean if self.mean else 0.0


class Weights:
    """How much a job of each task counts."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}

    def learn(self, seen: Observation) -> None:
        """Look at the tasks that are new."""
        for name, use in seen.tasks.items():
            if use.finished:
                self._of.setdefault(name, use.run / use.finished)

    def rates(self, *windows: Sequence[Observation]) -> list[Pace]:
        """The rates of some windows, all by the same measure.

        Where too few jobs have ended to count them, it is the time in which they came nearer to
        their ends.
        """
        is_long = any(_is_long(window) for window in windows)
        return [
            _rate(
                window,
                [self._work(each, is_long) for each in window],
                0.0 if is_long else _doubt(window),
            )
            for window in windows
        ]

    def main_task(self, seen: Sequence[Observation]) -> str | None:
        """The task that next to all of the work is of."""
        work: dict[str, float] = {}
        for each in seen:
            for name, use in each.tasks.items():
                work[name] = work.get(name, 0.0) + use.finished * self._of.get(name, 0.0)
        main = max(work, key=lambda name: work[name], default=None)
        return main if main is not None and work[main] >= MAIN * sum(work.values()) else None

    def _work(self, seen: Observation, is_long: bool) -> float:  # noqa: FBT001
        if is_long:
            return seen.progress / seen.seconds
        work = sum(use.finished * self._of.get(name, 0.0) for name, use in seen.tasks.items())
        return work / seen.seconds


def _is_long(window: Sequence[Observation]) -> bool:
    size = window[-1].size
    return count(window)[0] < max(FEW, ROUNDS * size.processes * size.slots)


def _doubt(window: Sequence[Observation]) -> float:
    """The share of the jobs that may be of those which have begun together."""
    size = window[-1].size
    return size.processes * size.slots / max(1, count(window)[0]) / 2


def _rate(window: Sequence[Observation], work: list[float], doubt: float) -> Pace:
    mean = fmean(work)
    finished = max(1, count(window)[0])
    least = mean / sqrt(finished) / 2  # that many jobs do not come more evenly
    spread = stdev(work) / sqrt(len(work)) if len(work) > 1 else mean
    return Pace(mean, max(least, spread, doubt * mean))


def is_other(weights: Weights, before: Sequence[Observation], now: Sequence[Observation]) -> bool:
    """Whether the work, or what the machine leaves for it, has changed at one size."""
    for column in range(3):
        was, has = ([_shares(each)[column] for each in window] for window in (before, now))
        if _differ(was, has, OTHER_SHARE):
            return True
    was_rate, has_rate = weights.rates(before, now)
    least = max(OTHER_RATE * was_rate.mean, _errors(len(before), len(now)) * was_rate.error)
    return abs(has_rate.mean - was_rate.mean) > least


def _shares(seen: Observation) -> tuple[float, float, float]:
    """Of all threads: where jobs are coroutines, what the few do that have one says nothing."""
    threads = seen.size.processes * seen.size.slots * seen.seconds
    return seen.running / threads, seen.gil_wait / threads, seen.io_wait / threads


def _differ(was: Sequence[float], has: Sequence[float], least: float) -> bool:
    """Whether two means differ by so much at least, and by more than chance would have it."""
    error = stdev(was) / sqrt(len(was)) if len(was) > 1 else fmean(was)
    return abs(fmean(has) - fmean(was)) > max(least, _errors(len(was), len(has)) * error)


def _errors(was: int, has: int) -> float:
    """How many standard errors of a mean are no chance, if there are so many figures."""
    # Of a few observations the spread says little: it may be much larger than it looks.
    return ERRORS * (1 + 4 / max(1, was - 1)) * sqrt(1 + was / has)


def needs_else(before: Sequence[Observation], now: Sequence[Observation]) -> bool:
    """Whether jobs need another time of CPU than before, at whatever size; or are of other tasks.

    Tasks are compared one by one, as their shares go up and down. Of what they wait for nobody can
    tell: with more slots they may wait for each other.
    """
    was, has = _cpu_of_tasks(before), _cpu_of_tasks(now)
    known = was.keys() & has.keys()
    if not known:
        return bool(was) and bool(has)
    alike = ALIKE if before[-1].size == now[-1].size else ALIKE_AT_ANOTHER_SIZE
    return any(
        _differ(was[name], has[name], (1 - 1 / alike) * max(fmean(was[name]), fmean(has[name])))
        for name in known
        if max(_cores(before, name), _cores(now, name)) >= NOTABLE * now[-1].cores
    )


def _cpu_of_tasks(seen: Sequence[Observation]) -> dict[str, list[float]]:
    """CPU seconds of a job in each observation, for each task of which enough have ended."""
    finished: Counter[str] = Counter()
    for each in seen:
        for name, use in each.tasks.items():
            finished[name] += use.finished
    return {
        name: [
            each.tasks[name].cpu / each.tasks[name].finished for each in seen if name in each.tasks
        ]
        for name in finished
        if finished[name] >= FEW
    }


def _cores(seen: Sequence[Observation], name: str) -> float:
    """How many cores a task's jobs have used."""
    used = sum(each.tasks[name].cpu for each in seen if name in each.tasks)
    return used / sum(each.seconds for each in seen)


def have_same_needs(before: Sequence[Observation], now: Sequence[Observation]) -> bool:
    """Whether jobs of one size need what they did, whatever the machine has left for them."""
    return are_alike(*(_needs(window) for window in (before, now)))


def _needs(seen: Sequence[Observation]) -> Demand:
    jobs = max(1, count(seen)[0])
    cpu, wait = sum(each.cpu for each in seen), sum(each.io_wait for each in seen)
    return Demand(cpu / jobs, 0.0, wait / jobs)


def are_alike(one: Demand, other: Demand) -> bool:
    """Whether two tasks need about the same."""
    total = max(one.total, other.total)
    return all(
        max(a, b) < NOTABLE * total or 1 / ALIKE <= (a + 1e-9) / (b + 1e-9) <= ALIKE
        for a, b in ((one.cpu, other.cpu), (one.wait, other.wait))
    )

"""What a pool has done in some observations, and whether that is the same kind of work.

Jobs are counted by weight, so that a mix of others is no change of throughput: each as much as its
task took when it was first seen.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from heori_consumer.auto.demand import Demand, Observation, count

# Jobs take long when fewer have ended than this, or than this many times the slots: those that have
# begun together end together.
FEW = 20
ROUNDS = 10
# Work is of another kind when threads spend so much more of their time in another way, or do so
# much more or less, as a share, and when that is so many standard errors.
OTHER_SHARE = 0.15
OTHER_RATE = 0.25
ERRORS = 4.0
# A task's jobs need something else when it is this many times as much or as little, and so much of
# all that they need.
ALIKE = 1.3
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
        return [_rate(window, [self._work(each, is_long) for each in window]) for window in windows]

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


def _rate(window: Sequence[Observation], work: list[float]) -> Pace:
    mean = fmean(work)
    finished = max(1, count(window)[0])
    least = mean / sqrt(finished) / 2  # that many jobs do not come more evenly
    spread = stdev(work) / sqrt(len(work)) if len(work) > 1 else mean
    return Pace(mean, max(least, spread))


def is_other(weights: Weights, before: Sequence[Observation], now: Sequence[Observation]) -> bool:
    """Whether the work at one size has changed."""
    # Of a few observations the spread says little: it may be much larger than it looks.
    errors = ERRORS * (1 + 4 / (len(before) - 1)) * sqrt(1 + len(before) / len(now))
    for column in range(3):
        was, has = ([_shares(each)[column] for each in window] for window in (before, now))
        error = stdev(was) / sqrt(len(was))
        if abs(fmean(has) - fmean(was)) > max(OTHER_SHARE, errors * error):
            return True
    was_rate, has_rate = weights.rates(before, now)
    difference = abs(has_rate.mean - was_rate.mean)
    return difference > max(OTHER_RATE * was_rate.mean, errors * was_rate.error)


def _shares(seen: Observation) -> tuple[float, float, float]:
    threads = seen.threads or 1.0
    return seen.running / threads, seen.gil_wait / threads, seen.io_wait / threads


def needs_else(before: Sequence[Observation], now: Sequence[Observation]) -> bool:
    """Whether jobs need another time of CPU than before, at whatever size."""
    needs = []
    for window in (before, now):
        finished = count(window)[0]
        if finished < FEW:
            return False
        uses = [use for each in window for use in each.tasks.values()]
        needs.append((sum(use.cpu for use in uses) / finished, sum(use.run for use in uses)))
    (was, was_run), (has, has_run) = needs
    if max(was, has) < NOTABLE * min(was_run / 1, has_run / 1):
        return False
    return not 1 / ALIKE <= (has + 1e-6) / (was + 1e-6) <= ALIKE


def are_alike(one: Demand, other: Demand) -> bool:
    """Whether two tasks need about the same."""
    total = max(one.total, other.total)
    return all(
        max(a, b) < NOTABLE * total or 1 / ALIKE <= (a + 1e-9) / (b + 1e-9) <= ALIKE
        for a, b in ((one.cpu, other.cpu), (one.wait, other.wait))
    )

"""What a worker has counted since it started, and how that reaches the supervisor.

Each frame of outcomes carries the cumulative totals of the tasks it is about. So a worker that
is killed leaves totals that are just as far as the outcomes that were received from it: neither
is ahead of the other. The supervisor adds the totals of the dead to a base.

prometheus_client's multiprocess mode would cost a lock and a file per update, and keep the
files of dead processes.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Upper bounds, in seconds. Queue jobs take from microseconds to minutes.
BUCKETS = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, float("inf"))


class Outcome(NamedTuple):
    """What came of one job, as it travels from a worker to its supervisor."""

    number: int  # the job's, in its worker
    succeeded: bool
    body: bytes | None  # the encoded result or traceback
    task: str
    run_time: float  # seconds
    queue_time: float  # seconds
    error: str  # what went wrong, in a line; empty if nothing did


@dataclass(slots=True)
class Histogram:
    """Counts per bucket and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    total: float = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in seconds."""
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(
            [a + b for a, b in zip(self.counts, other.counts, strict=True)],
            self.total + other.total,
        )


@dataclass(slots=True)
class TaskTotals:
    """Everything counted for one task."""

    succeeded: int = 0
    failed: int = 0
    run_time: Histogram = field(default_factory=Histogram)
    queue_time: Histogram = field(default_factory=Histogram)

    def count(self, outcome: Outcome) -> None:
        """Count one job."""
        if outcome.succeeded:
            self.succeeded += 1
        else:
            self.failed += 1
        self.run_time.observe(outcome.run_time)
        self.queue_time.observe(outcome.queue_time)

    def __add__(self, other: "TaskTotals") -> "TaskTotals":
        return TaskTotals(
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.run_time + other.run_time,
            self.queue_time + other.queue_time,
        )

    def to_wire(self) -> list[Any]:
        """As it travels."""
        run, queue = self.run_time, self.queue_time
        return [self.succeeded, self.failed, run.counts, run.total, queue.counts, queue.total]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> "TaskTotals":
        """The inverse of `to_wire`."""
        succeeded, failed, run_counts, run_total, queue_counts, queue_total = wire
        return cls(
            succeeded,
            failed,
            Histogram(run_counts, run_total),
            Histogram(queue_counts, queue_total),
        )


Totals = dict[str, TaskTotals]


def count(totals: Totals, outcomes: Iterable[Outcome]) -> set[str]:
    """Count outcomes; returns the names of the tasks they were of."""
    touched = set()
    for outcome in outcomes:
        of_task = totals.get(outcome.task)
        if of_task is None:
            of_task = totals[outcome.task] = TaskTotals()
        of_task.count(outcome)
        touched.add(outcome.task)
    return touched


def add(base: Totals, more: Totals) -> Totals:
    """The sum of two, task by task."""
    return {
        name: base.get(name, TaskTotals()) + more.get(name, TaskTotals())
        for name in base.keys() | more.keys()
    }

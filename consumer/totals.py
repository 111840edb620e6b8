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


FINISHED, FAILED, STOPPED, RETRY = STATUSES = ("finished", "failed", "stopped", "retry")


class Outcome(NamedTuple):
    """What came of one job, as it travels from a worker to its supervisor."""

    number: int  # the job's, in its worker
    status: str  # one of STATUSES; "retry" is a failure that is to run again
    body: bytes | None  # the encoded result or traceback
    task: str
    run_time: float  # seconds
    queue_time: float  # seconds
    retry: tuple[float, int] | None  # in how many seconds, and how often after that
    beside_loop: bool  # a plain function that ran in a thread beside an event loop


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

    ended: list[int] = field(default_factory=lambda: [0] * len(STATUSES))  # by status
    beside_loop: int = 0
    run_time: Histogram = field(default_factory=Histogram)
    queue_time: Histogram = field(default_factory=Histogram)

    def count(self, outcome: Outcome) -> None:
        """Count one job."""
        self.ended[STATUSES.index(outcome.status)] += 1
        self.beside_loop += outcome.beside_loop
        self.run_time.observe(outcome.run_time)
        self.queue_time.observe(outcome.queue_time)

    def __add__(self, other: "TaskTotals") -> "TaskTotals":
        return TaskTotals(
            [a + b for a, b in zip(self.ended, other.ended, strict=True)],
            self.beside_loop + other.beside_loop,
            self.run_time + other.run_time,
            self.queue_time + other.queue_time,
        )

    def to_wire(self) -> list[Any]:
        """As it travels."""
        run, queue = self.run_time, self.queue_time
        return [self.ended, self.beside_loop, run.counts, run.total, queue.counts, queue.total]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> "TaskTotals":
        """The inverse of `to_wire`."""
        ended, beside_loop, run_counts, run_total, queue_counts, queue_total = wire
        return cls(
            ended,
            beside_loop,
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

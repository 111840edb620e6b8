"""What a worker has counted since it started, and how that reaches the supervisor.

Each frame of outcomes carries the cumulative totals of the tasks it is about. So a worker that
is killed leaves totals that are just as far as the outcomes that were received from it: neither
is ahead of the other. The supervisor adds the totals of the dead to a base.

prometheus_client's multiprocess mode would cost a lock and a file per update, and keep the
files of dead processes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from heori_common.metrics import JOB_SECONDS, MOST_TASKS, Histogram, bounded
from heori_common.protocol.job import UNKNOWN_HERE, Outcome


def _times() -> Histogram:
    return Histogram(JOB_SECONDS)


@dataclass(slots=True)
class TaskTotals:
    """Everything counted for one task but how its jobs have ended, as Redis decides that."""

    beside_loop: int = 0
    run_time: Histogram = field(default_factory=_times)
    cpu_time: Histogram = field(default_factory=_times)
    queue_time: Histogram = field(default_factory=_times)

    def count(self, outcome: Outcome) -> None:
        """Count one job."""
        self.beside_loop += outcome.beside_loop
        self.run_time.observe(outcome.run_time)
        self.cpu_time.observe(outcome.cpu_time)
        self.queue_time.observe(outcome.queue_time)

    def __add__(self, other: "TaskTotals") -> "TaskTotals":
        return TaskTotals(
            self.beside_loop + other.beside_loop,
            self.run_time + other.run_time,
            self.cpu_time + other.cpu_time,
            self.queue_time + other.queue_time,
        )

    def to_wire(self) -> list[Any]:
        """As it travels."""
        times = (self.run_time, self.cpu_time, self.queue_time)
        return [self.beside_loop, *((time.counts, time.total) for time in times)]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> "TaskTotals":
        """The inverse of `to_wire`."""
        beside_loop, *times = wire
        return cls(beside_loop, *(Histogram(JOB_SECONDS, *time) for time in times))


Totals = dict[str, TaskTotals]


def count(totals: Totals, outcomes: Iterable[Outcome]) -> set[str]:
    """Count ends of jobs; returns the names of the tasks they were of."""
    touched = set()
    for outcome in outcomes:
        if outcome.status == UNKNOWN_HERE:  # it has not ended
            continue
        of_task = totals.get(task := outcome.task)
        if of_task is None:
            task = bounded(task, totals, MOST_TASKS)
            of_task = totals.setdefault(task, TaskTotals())
        of_task.count(outcome)
        touched.add(task)
    return touched


def add(base: Totals, more: Totals) -> Totals:
    """The sum of two, task by task."""
    both = dict(base)
    for name, of_task in more.copy().items():  # another thread may count meanwhile
        task = bounded(name, both, MOST_TASKS)
        both[task] = both.get(task, TaskTotals()) + of_task
    return both

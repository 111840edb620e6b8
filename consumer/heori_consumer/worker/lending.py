"""Which jobs of a worker wait for other jobs, so that their slots are lent meanwhile."""

from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from heori_consumer.between.slot_table import SlotTable


class WaitingJobs(NamedTuple):
    """What the jobs of a worker wait for, as its supervisor wants to know it."""

    jobs: int  # that wait for others
    queues: list[str]  # of those others


class _JobWait(NamedTuple):
    slot: int
    number: int
    queues: tuple[str, ...]


class Lending:
    """Keeps the waits of jobs.

    A wait begins and ends in the thread of the job, where an exception may interrupt anything.
    So that is one step of a dict, and what follows from it is done by `settle`, in a thread of the
    worker's own.

    Args:
        jobs: the numbers of those that run.
        wake: has `settle` called soon.

    Attributes:
        changed: whether it is to be called.
    """

    def __init__(self, jobs: Container[int], table: SlotTable, wake: Callable[[], object]) -> None:
        self._jobs = jobs
        self._table = table
        self._wake = wake
        self._waits: dict[object, _JobWait] = {}
        self._settled: dict[int, int] = {}  # slots by the jobs that waited in them when last told
        self.changed = False

    def begin(self, slot: int, number: int, queues: Iterable[str]) -> object:
        """A job begins to wait; one job may do so several times at once."""
        wait = object()
        self._waits[wait] = _JobWait(slot, number, tuple(queues))
        self.look()
        return wait

    def end(self, wait: object) -> None:
        """That is over."""
        self._waits.pop(wait, None)
        self.look()

    def look(self) -> None:
        """Have it found out what waits now: a job that had waits has ended, say."""
        self.changed = True
        self._wake()

    def settle(self) -> WaitingJobs:
        """Tell who waits now, and write it into the slot table."""
        self.changed = False
        waiting: dict[int, int] = {}
        queues: set[str] = set()
        for wait, (slot, number, of) in self._waits.copy().items():
            if number in self._jobs:
                waiting[number] = slot
                queues.update(of)
            else:  # a thread that the job has left behind
                self._waits.pop(wait, None)
        for number in self._settled.keys() - waiting.keys():
            self._table.wait(self._settled[number], 0)
        for number in waiting.keys() - self._settled.keys():
            self._table.wait(waiting[number], number)
        self._settled = waiting
        return WaitingJobs(len(waiting), sorted(queues))

"""Which jobs of a worker wait for other jobs, so that their slots are lent meanwhile."""

import time
from collections.abc import Callable, Container
from itertools import islice
from typing import NamedTuple

from heori_common.current_job import AwaitedJobs
from heori_consumer.between.slot_table import SlotTable

# A job that has asked how another is doing, this many seconds ago at most, may ask until that ends.
# Its slot is not lent, as nobody knows what it does in between.
ASKED_LATELY_S = 2.0
# With this part of the slots lent that can be, the awaited jobs are to run before all others: else
# those that wait in front of them might take the rest, and wait as well.
MOSTLY = 0.5
# Jobs that are named so, of each wait.
NAMED_JOBS = 16


class WaitingJobs(NamedTuple):
    """What the jobs of a worker wait for, as its supervisor wants to know it."""

    waiting: int  # jobs that wait for others
    asking: int  # jobs that ask others how they are doing
    queues: list[str]  # of those others
    first: list[tuple[str, str]]  # queue and id of those that are to run before all others


class _JobWait(NamedTuple):
    slot: int
    number: int
    awaited: AwaitedJobs


class Lending:
    """Keeps the waits of jobs.

    A wait begins and ends in the thread of the job, where an exception may interrupt anything.
    So that is one step of a dict, and what follows from it is done by `settle`, in a thread of the
    worker's own.

    Args:
        jobs: the numbers of those that run.
        most: slots that can be lent.
        wake: has `settle` called soon.

    Attributes:
        changed: whether it is to be called.
    """

    def __init__(
        self, jobs: Container[int], most: int, table: SlotTable, wake: Callable[[], object]
    ) -> None:
        self._jobs = jobs
        self._most = most
        self._table = table
        self._wake = wake
        self._waits: dict[object, _JobWait] = {}
        self._settled: dict[int, int] = {}  # slots by the jobs that waited in them when last told
        self._asked: dict[int, tuple[float, str]] = {}  # when, and about which queue, by job
        self.changed = False

    @property
    def expects_more(self) -> bool:
        """Whether it is to be looked at again soon, as it may change without being told."""
        return bool(self._asked) or self._is_deep(len(self._settled))

    def begin(self, slot: int, number: int, awaited: AwaitedJobs) -> object:
        """A job begins to wait; one job may do so several times at once."""
        wait = object()
        self._waits[wait] = _JobWait(slot, number, awaited)
        self.look()
        return wait

    def end(self, wait: object) -> None:
        """That is over."""
        self._waits.pop(wait, None)
        self.look()

    def ask(self, number: int, queue: str) -> None:
        """A job asks how another is doing."""
        self._asked[number] = time.monotonic(), queue
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
        first: list[tuple[str, str]] = []
        for wait, (slot, number, awaited) in self._waits.copy().items():
            if number in self._jobs:
                waiting[number] = slot
                jobs = awaited()
                queues.update(queue for queue, _ in jobs)
                first += islice((job for job in jobs if job[1]), NAMED_JOBS)
            else:  # a thread that the job has left behind
                self._waits.pop(wait, None)
        for number in self._settled.keys() - waiting.keys():
            self._table.wait(self._settled[number], 0)
        for number in waiting.keys() - self._settled.keys():
            self._table.wait(waiting[number], number)
        self._settled = waiting
        asking = 0
        for number, (at, queue) in self._asked.copy().items():
            if number not in self._jobs or time.monotonic() - at > ASKED_LATELY_S:
                self._asked.pop(number, None)
            elif number not in waiting:
                asking += 1
                queues.add(queue)
        if not self._is_deep(len(waiting)):
            first.clear()
        return WaitingJobs(len(waiting), asking, sorted(queues), first)

    def _is_deep(self, waiting: int) -> bool:
        return waiting > 0 and waiting >= self._most * MOSTLY

"""Which jobs of a worker wait for other jobs, so that their slots are lent meanwhile."""

import time
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from heori_consumer.between.slot_table import SlotTable

# A job that has asked how another is doing, this many seconds ago at most, may ask until that ends.
# Its slot is not lent, as nobody knows what it does in between.
ASKED_LATELY_S = 2.0


class WaitingJobs(NamedTuple):
    """What the jobs of a worker wait for, as its supervisor wants to know it."""

    waiting: int  # jobs that wait for others
    asking: int  # jobs that ask others how they are doing
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
        self._asked: dict[int, tuple[float, str]] = {}  # when, and about which queue, by job
        self.changed = False

    @property
    def expects_more(self) -> bool:
        """Whether it is to be looked at again soon, as time alone may change what is so."""
        return bool(self._asked)

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
        asking = 0
        for number, (at, queue) in self._asked.copy().items():
            if number not in self._jobs or time.monotonic() - at > ASKED_LATELY_S:
                self._asked.pop(number, None)
            elif number not in waiting:
                asking += 1
                queues.add(queue)
        return WaitingJobs(len(waiting), asking, sorted(queues))

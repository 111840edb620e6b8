"""What each slot of a worker is doing, readable from outside even after the worker is dead.

A few numbers in memory shared by the supervisor and one worker. Writing them costs a job less
than a microsecond and no message, and they survive a SIGKILL.
"""

from multiprocessing.context import ForkServerContext
from typing import NamedTuple

_FIELDS = 6


class RetryLater(NamedTuple):
    """That a job is to be run again, though it has failed."""

    delay: float  # seconds from its end
    left: int  # how many more times after that


class SlotState(NamedTuple):
    """A slot, as last written."""

    taken: int  # the number of the job it took last, 0 if none
    running: bool
    since: float  # time.monotonic() when it took it; one clock for all processes of a machine
    task: int  # which, by the number that the worker has told for it; 0 if not known yet
    at_timeout: RetryLater | None  # what is to become of the job if it must be killed


class SlotTable:
    """One row per slot. Each row has one writer, its slot; the supervisor only reads."""

    def __init__(self, context: ForkServerContext, slots: int) -> None:
        self._cells = context.RawArray("d", slots * _FIELDS)
        self.slots = slots

    def take(self, slot: int, number: int, now: float) -> None:
        """Tell that a slot has taken a job and runs it."""
        row = slot * _FIELDS
        self._cells[row + 5] = -1
        self._cells[row + 3] = 0
        self._cells[row + 2] = now
        self._cells[row + 1] = 1
        self._cells[row] = number

    def begin(self, slot: int, task: int, at_timeout: RetryLater | None) -> None:
        """Tell, before the job runs, what only the worker knows about it."""
        row = slot * _FIELDS
        self._cells[row + 3] = task
        if at_timeout is not None:
            self._cells[row + 4] = at_timeout.delay
            self._cells[row + 5] = at_timeout.left

    def finish(self, slot: int) -> None:
        """Tell that the job that the slot took last is no longer running."""
        self._cells[slot * _FIELDS + 1] = 0

    def read(self) -> list[SlotState]:
        """All slots."""
        cells = self._cells[:]
        return [
            SlotState(
                int(cells[row]),
                bool(cells[row + 1]),
                cells[row + 2],
                int(cells[row + 3]),
                RetryLater(cells[row + 4], int(cells[row + 5])) if cells[row + 5] >= 0 else None,
            )
            for row in range(0, len(cells), _FIELDS)
        ]

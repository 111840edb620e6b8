"""What each slot of a worker is doing, readable from outside even after the worker is dead.

A few numbers in memory shared by the supervisor and one worker. Writing them costs a job less
than a microsecond and no message, and they survive a SIGKILL.
"""

from multiprocessing.context import ForkServerContext
from typing import NamedTuple

_FIELDS = 3


class SlotState(NamedTuple):
    """A slot, as last written."""

    taken: int  # the number of the job it took last, 0 if none
    running: bool
    since: float  # time.monotonic() when it took it; one clock for all processes of a machine


class SlotTable:
    """One row per slot. Each row has one writer, its slot; the supervisor only reads."""

    def __init__(self, context: ForkServerContext, slots: int) -> None:
        self._cells = context.RawArray("d", slots * _FIELDS)
        self.slots = slots

    def take(self, slot: int, number: int, now: float) -> None:
        """Tell that a slot has taken a job and runs it."""
        row = slot * _FIELDS
        self._cells[row + 2] = now
        self._cells[row + 1] = 1
        self._cells[row] = number

    def finish(self, slot: int) -> None:
        """Tell that the job that the slot took last is no longer running."""
        self._cells[slot * _FIELDS + 1] = 0

    def read(self) -> list[SlotState]:
        """All slots."""
        cells = self._cells[:]
        return [
            SlotState(int(cells[row]), bool(cells[row + 1]), cells[row + 2])
            for row in range(0, len(cells), _FIELDS)
        ]

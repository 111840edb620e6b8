"""What each slot of a worker is doing, readable from outside even after the worker is dead.

A few numbers in memory shared by the supervisor and one worker. Writing them costs a job less
than a microsecond and no message, and they survive a SIGKILL.
"""

import mmap
import threading
import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum
from itertools import compress
from typing import NamedTuple

from heori_common.protocol.job import RetryLater

# Of a slot: number of the job, whether it runs, since when, task, delay and number of retries,
# thread, number of the job that waits for other jobs, when it must have ended, what becomes of it
# when it is stopped, CPU time that its thread had used when its function was called.
_FIELDS = 11
_BYTES = 8  # of each number, a double
# Of the process: whether the GIL is on, the slot whose coroutine its loop is at, seconds for
# which its loop was busy, since when it is, since when it is asked for an answer, the latest lag,
# the thread of the loop, when it was alive last, slots that were ever in use, whether any job was
# ever granted anything.
_GIL, _AT, _BUSY, _BUSY_SINCE, _ASKED, _LAG, _LOOP, _ALIVE, _USED, _GRANTED, _OTHERS = range(11)


class AtStop(IntEnum):
    """What becomes of a job that is to stop."""

    ENDS = 0  # by itself, and is killed if it does not
    IS_KILLED = 1  # at once, as nothing but itself is in its process
    HAS_ENDED = 2  # what still runs are its callbacks


class SlotState(NamedTuple):
    """A slot, as last written."""

    taken: int  # the number of the job it took last, 0 if none
    running: bool
    waits: bool  # for other jobs, so that the slot is lent
    since: float  # time.monotonic() when it took it; one clock for all processes of a machine
    task: int  # which, by the number that the worker has told for it; 0 if not known yet
    thread: int  # that runs its jobs, as the kernel numbers it
    at_timeout: RetryLater | None  # what is to become of the job if it must be killed
    end: float  # time.monotonic() when it must have ended; 0 where its timeout says that
    at_stop: AtStop
    cpu_before: float  # seconds its thread had used when its function was called; -1 until then


# What slots run: a thread as the kernel numbers it, and a task as in `SlotState`. A plain tuple, as
# many are made often.
Work = tuple[int, int]


class SlotTable:
    """One row per slot, which its slot writes; and one for what they share, an event loop, say.

    The supervisor only reads.

    Args:
        file: the descriptor of the memory that all who use it share, as large as `bytes_of` says.
            It may be closed afterwards.
        lend: how many slots may be added while jobs wait for other jobs.
        room: how many more it has rows for. None of them takes memory before it is used.

    Attributes:
        slots: that the worker has now, without those that are added for a while.
        lend: how many may be added while jobs wait for other jobs.
        most: rows that it has.
    """

    def __init__(self, file: int, slots: int, lend: int, room: int = 0) -> None:
        self.slots = slots
        self.lend = lend
        self.most = slots + lend + room
        self._others = self.most * _FIELDS
        self._using = threading.Lock()  # threads and a loop may come to have more slots at once
        self._grants = False  # whether any job was granted anything; most workers have no such
        memory = mmap.mmap(file, self.bytes_of(slots, lend, room))
        self._cells = memoryview(memory).cast("d")
        self._cells[self._others + _AT] = -1
        self._cells[self._others + _USED] = slots

    @staticmethod
    def bytes_of(slots: int, lend: int, room: int = 0) -> int:
        """How large a table is."""
        return ((slots + lend + room) * _FIELDS + _OTHERS) * _BYTES

    # A slot's own

    def sit(self, slot: int, thread: int) -> None:
        """Tell which thread runs a slot's jobs from now on, as the kernel numbers it."""
        self._cells[slot * _FIELDS + 6] = thread

    def wait(self, slot: int, number: int) -> None:
        """Tell that the job of that number waits for other jobs; with 0, that none does."""
        self._cells[slot * _FIELDS + 7] = number

    def take(self, slot: int, number: int, now: float) -> None:
        """Tell that a slot has taken a job and runs it."""
        row = slot * _FIELDS
        if self._grants:
            self._cells[row + 8] = 0
            self._cells[row + 9] = 0
        self._cells[row + 10] = -1
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

    def call(self, slot: int, cpu: float) -> None:
        """Tell, as the job's function is called, the CPU time that its thread has used so far."""
        self._cells[slot * _FIELDS + 10] = cpu

    def grant(self, slot: int, until: float, at_stop: AtStop) -> None:
        """Tell when a job must have ended, and what becomes of it when it is to stop.

        Args:
            until: time.monotonic().
        """
        row = slot * _FIELDS
        self._grants = True
        self._cells[self._others + _GRANTED] = 1
        self._cells[row + 8] = until
        self._cells[row + 9] = at_stop

    def finish(self, slot: int) -> None:
        """Tell that the job that the slot took last is no longer running."""
        self._cells[slot * _FIELDS + 1] = 0

    def pass_on(self, slot: int) -> None:
        """Tell that the slot has not begun the job that it took last: another one will."""
        self._cells[slot * _FIELDS + 1] = 0
        self._cells[slot * _FIELDS] = 0

    # The process's

    def use(self, slots: int) -> None:
        """Tell that so many slots are in use, the first ones."""
        used = self._others + _USED
        with self._using:
            self._cells[used] = max(self._cells[used], slots)

    def tell_gil(self, *, enabled: bool) -> None:
        """Tell whether its interpreter has a GIL that is on."""
        self._cells[self._others + _GIL] = enabled

    def be_alive(self, now: float) -> None:
        """Tell that the thread which receives has had the GIL."""
        self._cells[self._others + _ALIVE] = now

    def tell_loop(self, thread: int) -> None:
        """Tell which thread its event loop runs in, as the kernel numbers it."""
        self._cells[self._others + _LOOP] = thread

    def step(self, slot: int) -> None:
        """Tell whose coroutine the event loop is at: a slot's, or -1 for none."""
        self._cells[self._others + _AT] = slot

    def loop_waits(self) -> None:
        """Tell that the event loop has nothing to do."""
        since = self._cells[self._others + _BUSY_SINCE]
        if since:
            self._cells[self._others + _BUSY] += time.monotonic() - since
            self._cells[self._others + _BUSY_SINCE] = 0

    def loop_works(self) -> None:
        """Tell that it has again."""
        self._cells[self._others + _BUSY_SINCE] = time.monotonic()

    def ask_loop(self) -> bool:
        """Tell that the event loop is asked for an answer; returns False if it still is."""
        if self._cells[self._others + _ASKED]:
            return False
        self._cells[self._others + _ASKED] = time.monotonic()
        return True

    def loop_answers(self) -> None:
        """Tell that it has answered."""
        self._cells[self._others + _LAG] = time.monotonic() - self._cells[self._others + _ASKED]
        self._cells[self._others + _ASKED] = 0

    # From outside

    def read(self) -> list[SlotState]:
        """All slots that were ever in use."""
        cells = self._rows()
        return [
            SlotState(
                int(cells[row]),
                bool(cells[row + 1]),
                bool(cells[row + 1]) and cells[row] == cells[row + 7],
                cells[row + 2],
                int(cells[row + 3]),
                int(cells[row + 6]),
                RetryLater(cells[row + 4], int(cells[row + 5])) if cells[row + 5] >= 0 else None,
                cells[row + 8],
                AtStop(int(cells[row + 9])),
                cells[row + 10],
            )
            for row in range(0, len(cells), _FIELDS)
        ]

    def busy(self) -> Mapping[Work, int]:
        """How many slots run a job of each task in each thread, but for those that are lent."""
        rows = self._rows()
        running: Iterable[object] = rows[1::_FIELDS]
        if any(rows[7::_FIELDS]):
            running = [state.running and not state.waits for state in self.read()]
        # Counted before they are made whole numbers: thousands of coroutines come to a few.
        work = Counter(compress(zip(rows[6::_FIELDS], rows[3::_FIELDS], strict=True), running))
        return {(int(thread), int(task)): slots for (thread, task), slots in work.items()}

    def has_one_thread(self) -> bool:
        """Whether one thread runs all jobs, and those alone, but while a slot is lent."""
        return self.most - self.lend == 1 and not self.loop() and self.used() == 1

    # Of thousands of slots these are read in no time, and `read` takes milliseconds.

    def running(self) -> int:
        """How many slots run a job."""
        return int(sum(self._column(1)))

    def all_taken(self) -> set[int]:
        """The numbers of the jobs that slots took last."""
        return set(map(int, self._column(0)))

    def began_first(self) -> float:
        """time.monotonic() since when a job has run, of those that run; infinity if none does."""
        return min(compress(self._column(2), self._column(1)), default=float("inf"))

    def has_grants(self) -> bool:
        """Whether any slot was told something by `grant`."""
        granted = self._cells[self._others + _GRANTED]
        return bool(granted) and (any(self._column(8)) or any(self._column(9)))

    def taken_in(self, threads: Collection[int]) -> list[tuple[int, int]]:
        """Each slot's thread, of these, with the number of the job that it took last."""
        rows = self._rows()
        seats = zip(rows[6::_FIELDS], rows[0::_FIELDS], strict=True)
        return [(int(thread), int(taken)) for thread, taken in seats if thread in threads]

    def threads(self) -> list[int]:
        """The threads that run jobs, as the kernel numbers them."""
        end = self.used() * _FIELDS
        return list({int(thread) for thread in self._cells[6:end:_FIELDS] if thread})

    def _column(self, field: int) -> "array[float]":
        """One field of all slots that were ever in use."""
        return self._rows()[field::_FIELDS]

    def _rows(self) -> "array[float]":
        """All fields of them as they are now; one by one from there they would take far longer."""
        rows = array("d")
        rows.frombytes(self._cells[: self.used() * _FIELDS].cast("B"))
        return rows

    def used(self) -> int:
        """How many slots were ever in use, the first ones."""
        return int(self._cells[self._others + _USED])

    def detach(self) -> None:
        """Keep what it says now, and let go of the shared memory, which has a file open."""
        self._cells = memoryview(bytearray(self._cells)).cast("d")

    def is_lent(self, slot: int) -> bool:
        """Whether the job that a slot runs waits for other jobs."""
        row = slot * _FIELDS
        return bool(self._cells[row + 1]) and self._cells[row] == self._cells[row + 7]

    def taken(self, slot: int) -> int:
        """The number of the job that a slot took last, 0 if none."""
        return int(self._cells[slot * _FIELDS])

    def thread(self, slot: int) -> int:
        """The thread that runs a slot's jobs."""
        return int(self._cells[slot * _FIELDS + 6])

    def gil_enabled(self) -> bool:
        """What `tell_gil` has told."""
        return bool(self._cells[self._others + _GIL])

    def silence(self, now: float) -> float:
        """Seconds for which the thread that receives has not had the GIL; 0 before its first."""
        alive = self._cells[self._others + _ALIVE]
        return now - alive if alive else 0.0

    def loop(self) -> int:
        """What `tell_loop` has told; 0 if it has no event loop."""
        return int(self._cells[self._others + _LOOP])

    def loop_silence(self, now: float) -> float:
        """Seconds for which its event loop owes an answer."""
        asked = self._cells[self._others + _ASKED]
        return now - asked if asked else 0.0

    def at(self) -> int:
        """What `step` has told."""
        return int(self._cells[self._others + _AT])

    def at_work(self) -> Work | None:
        """What that slot runs, if there is one."""
        slot = self.at()
        return None if slot < 0 else (self.thread(slot), int(self._cells[slot * _FIELDS + 3]))

    def loop_busy(self) -> float:
        """Seconds for which the event loop has been busy, about; 0 if there is none."""
        busy, since = self._cells[self._others + _BUSY : self._others + _BUSY_SINCE + 1]
        return float(busy) + (time.monotonic() - since if since else 0.0)

    def loop_lag(self) -> float:
        """Seconds that the event loop took for its latest answer, or for one it owes."""
        asked, lag = self._cells[self._others + _ASKED : self._others + _LAG + 1]
        return max(float(lag), time.monotonic() - asked if asked else 0.0)

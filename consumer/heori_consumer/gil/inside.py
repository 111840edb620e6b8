"""What only a process itself can do: find its GIL, and look at its threads where no other may.

Both read what the kernel tells while they hold the GIL, through ctypes.PyDLL. A plain ``os.pread``
lets go of it and would find every thread on its way back to it.
"""

import ctypes
import functools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from heori_common.platform import thread_file
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.gil.states import (
    GIL_WAIT,
    LOOKS_PER_S,
    READS_PER_S,
    RUNNING,
    GilFutex,
    Tally,
    pause,
    state_of,
)

# For finding the GIL. It takes about 15 ms, and longer where no core is free.
FIND_WITHIN_S = 1.0
# A wait on an address this close to the thread's own stack pointer, in bytes, is musl's: its
# conditions are no part of what they protect, so that one cannot be told from another.
STACK_BYTES = 1 << 16
# For a thread that was just made to let go of the GIL to come to its wait for it, microseconds.
SETTLE_US = 100
# How often what was seen is told.
TELL_EVERY_S = 1.0

LINE_BYTES = 256  # bytes, at most
FLAGS = os.O_RDONLY | os.O_CLOEXEC


def gil_enabled() -> bool:
    """Whether this interpreter has a GIL, and it is on: some extensions switch it on again."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


@functools.cache
def find_gil() -> GilFutex | None:
    """Find where threads of this process wait for the GIL; None where that cannot be seen.

    The same in all that are forked from this process. One thread computes and wants the GIL;
    another holds it, and sees what the first waits for.
    """
    if not gil_enabled():
        return None
    computing = True

    def compute() -> None:
        while computing:
            pass

    thread = threading.Thread(target=compute, name="wants-the-gil", daemon=True)
    thread.start()
    try:
        return _where_it_waits(thread.native_id or 0)
    except (OSError, ValueError, AttributeError):  # there is no such file here, or no such library
        return None
    finally:
        computing = False
        thread.join()


def _where_it_waits(thread: int) -> GilFutex | None:
    lines = Lines()
    give_up = time.monotonic() + FIND_WITHIN_S
    latest: GilFutex | None = None
    while time.monotonic() < give_up:
        [line] = lines.read([thread]).values()
        call, *rest = line.split()
        if not rest or int(call) < 0:
            continue
        found = GilFutex(int(call), int(rest[0], 16))
        if abs(found.address - int(rest[-2], 16)) < STACK_BYTES:
            return None
        if latest is not None and state_of(line, latest) == GIL_WAIT:
            return found  # twice, and so no accident
        latest = found
    return None


def look_around(
    table: SlotTable,
    gil: GilFutex | None,
    tell: Callable[[dict[str, float], dict[int, dict[str, float]]], None],
) -> None:
    """Sample this process's own threads for ever, and tell the seconds by state and by task.

    Raises:
        PermissionError: the system does not let a process look at itself.
    """
    lines = Lines()
    tally = Tally()
    told = looked = time.monotonic()

    def states_of(threads: Sequence[int]) -> dict[int, str]:
        states = {thread: state_of(line, gil) for thread, line in lines.read(threads).items()}
        if waiting := [thread for thread, state in states.items() if state == GIL_WAIT]:
            # Only now it waits: this thread has taken its place.
            states[random.choice(waiting)] = RUNNING
        return states

    while True:
        time.sleep(pause())
        now = time.monotonic()
        if busy := table.busy():
            share = min(1.0, READS_PER_S / LOOKS_PER_S / len(busy))
            seconds = min(now - looked, 1.0)
            tally.look(busy, table.at_work(), states_of, share=share, seconds=seconds)
        looked = now
        if now - told > TELL_EVERY_S:
            # Copies: they are sent by another thread.
            tell(dict(tally.threads), {task: dict(of) for task, of in tally.tasks.items()})
            told = now


class Lines:
    """Reads the lines of threads of this process, all at one time, with the GIL held."""

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None)
        self._pread = self._libc.pread
        self._pread.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)
        self._pread.restype = ctypes.c_ssize_t
        self._buffer = ctypes.create_string_buffer(LINE_BYTES)

    def read(self, threads: Iterable[int]) -> dict[int, bytes]:
        """The lines of those threads that have not ended.

        Raises:
            PermissionError: they are not for us to read.
        """
        files: dict[int, int] = {}
        try:
            for thread in threads:
                try:
                    files[thread] = os.open(thread_file("self", thread, "syscall"), FLAGS)
                except PermissionError:
                    raise
                except OSError:  # it has ended; or tasks have left no file to look with
                    continue
            self._libc.usleep(SETTLE_US)
            return {
                thread: self._buffer.raw[:length]
                for thread, file in files.items()
                if (length := self._pread(file, self._buffer, LINE_BYTES, 0)) > 0
            }
        finally:
            for file in files.values():
                os.close(file)

"""Where a program that must never wait writes: to a thread that does the waiting for it.

    logs, prints, workers' output ─▶ Outlet ─▶ its thread ─▶ standard output or standard error

Whoever reads the other end may be slow, or gone, and a disk may be full. So what is written is kept
for a while, within a bound. What does not fit, or cannot be written, is dropped and counted, and
the next line that gets through says how much that was. Each write is tried anew: a collector of
logs may come back.
"""

import atexit
import contextlib
import io
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

from heori_common import logs
from heori_common.descriptors import write_some

if TYPE_CHECKING:
    from typing_extensions import Buffer

log = logs.get_logger(__name__)

# What waits to be written, in bytes: a burst of many thousand lines. Each piece counts for a little
# more than it has, so that many short ones are bounded, too.
MOST_BYTES = 4 << 20
PIECE_BYTES = 64
# Bytes given to the system at a time, so that there is room again before all is written.
WRITE_BYTES = 64 << 10
# Between two lines that tell what was dropped.
TELL_EVERY_S = 1.0
# At the end of a program, for what still waits.
END_S = 1.0


class _Sink:
    """Where lines go in the end. One at a time writes there, so that each line stays whole."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._turn = threading.Lock()
        self._torn = False  # the last line was written in part

    def write(self, data: bytes) -> bytes:
        """Write it, however long that takes; returns what could not be written."""
        with self._turn:
            if self._torn:
                data = b"\n" + data
            rest = memoryview(data)
            with contextlib.suppress(OSError):
                while rest:
                    rest = rest[write_some(self._file, rest) :]
            if written := data[: len(data) - len(rest)]:
                # A piece that is written as a whole may be part of a line, as print() writes them.
                self._torn = bool(rest) and not written.endswith(b"\n")
            return bytes(rest)


class Outlet:
    """One descriptor, for whole lines. Writing to it takes microseconds, and never fails.

    Args:
        name: of the stream, for people.
        file: the descriptor.

    Attributes:
        dropped: lines that were not written.
    """

    def __init__(self, name: str, file: int) -> None:
        self.name = name
        self.dropped = 0
        self._file = file
        self._sink = _Sink(file)
        self._pieces: deque[bytes] = deque()
        self._held = 0  # bytes that are not written yet, those that are being written included
        self._changed = threading.Condition()
        self._started = False
        self._direct = False
        self._told = 0  # of the dropped ones
        self._told_at = 0.0  # time.monotonic()

    def write(self, data: bytes) -> None:
        """Have it written; or drop it, when too much waits already."""
        if self._direct:
            self._sink.write(data)
            return
        size = len(data) + PIECE_BYTES
        with self._changed:
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name=self.name, daemon=True).start()
            if self._held and self._held + size > MOST_BYTES:
                self._drop(data)
                return
            self._held += size
            self._pieces.append(data)
            self._changed.notify_all()

    def flush(self, within: float) -> bool:
        """Wait until everything is written or dropped, for so many seconds at most; whether it is.

        Not for an event loop.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, within)

    def join(self, other: "Outlet") -> None:
        """Take turns with another that writes to the same place; before either writes."""
        self._sink = other._sink

    def forked(self) -> None:
        """Do without the thread from now on: a copy of a process has one thread only.

        What waits is the original's to write, and a lock may be held by a thread that is not here.
        """
        self._direct = True
        self._held = 0
        self._changed = threading.Condition()
        self._sink = _Sink(self._file)

    def end(self) -> None:
        """Write what waits, and tell what was dropped, as far as somebody reads it."""
        if self.flush(END_S):
            self._tell()
            STDERR.flush(END_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces)
                pieces, size = [self._pieces.popleft()], 0
                while self._pieces and size + len(self._pieces[0]) < WRITE_BYTES:
                    pieces.append(self._pieces.popleft())
                    size += len(pieces[-1])
            rest = self._sink.write(b"".join(pieces))
            with self._changed:
                self._held -= sum(len(piece) + PIECE_BYTES for piece in pieces)
                if rest:
                    self._drop(rest)
                self._changed.notify_all()
            if not rest and time.monotonic() - self._told_at > TELL_EVERY_S:
                self._tell()

    def _drop(self, data: bytes) -> None:
        self.dropped += data.count(b"\n") or 1

    def _tell(self) -> None:
        lines = self.dropped - self._told
        if lines:
            self._told += lines
            self._told_at = time.monotonic()
            log.warning(
                "lines were dropped, as they could not be written in time",
                stream=self.name,
                lines=lines,
            )


# A process has one of each, as it has one `sys.stdout` and one `sys.stderr`.
STDOUT = Outlet("stdout", 1)
STDERR = Outlet("stderr", 2)


def never_wait() -> None:
    """Have all that this process prints and logs go through the outlets, from now on; once.

    When it ends, what still waits is written, as far as that is possible within a few seconds.
    """
    stdout = _through(STDOUT, 1, sys.stdout, patient=os.isatty(1))
    stderr = _through(STDERR, 2, sys.stderr)
    sys.stdout, sys.stderr = stdout, stderr
    if os.path.samestat(os.fstat(1), os.fstat(2)):
        STDERR.join(STDOUT)

    def end() -> None:
        for stream in (stdout, stderr):
            with contextlib.suppress(ValueError):  # a task has closed it
                stream.flush()
        STDOUT.end()
        STDERR.end()

    atexit.register(end)  # after the last word, which may be a traceback
    for outlet in (STDOUT, STDERR):  # a task of the model `inline` may fork
        os.register_at_fork(after_in_child=outlet.forked)


class _Raw(io.RawIOBase):
    """An outlet as a file.

    Args:
        patient: whether a write waits for its end, for a while: on a terminal, what a task prints
            must be there before its debugger asks something.
    """

    def __init__(self, outlet: Outlet, file: int, *, patient: bool) -> None:
        super().__init__()
        self._outlet = outlet
        self._file = file
        self._patient = patient

    def write(self, data: "Buffer") -> int:
        piece = bytes(data)
        self._outlet.write(piece)
        if self._patient:
            self._outlet.flush(END_S)
        return len(piece)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._file)

    def fileno(self) -> int:
        return self._file


def _through(outlet: Outlet, file: int, before: TextIO, *, patient: bool = False) -> TextIO:
    buffer = io.BufferedWriter(_Raw(outlet, file, patient=patient))
    return io.TextIOWrapper(buffer, before.encoding, before.errors, line_buffering=True)

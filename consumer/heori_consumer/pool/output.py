"""What worker processes write to standard error: passed on, and its end kept as evidence."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

# How much is kept of each worker, in bytes, and how many lines of it are told at its death.
KEPT_BYTES = 4096
TOLD_LINES = 20

# One thread writes for all workers, so that a terminal or pipe that nobody reads stops those
# who write, and never the supervisor.
_writer = ThreadPoolExecutor(1, "output")


class Output(asyncio.Protocol):
    """The standard error of one worker.

    Attributes:
        closed: done when all of it has been read.
    """

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kept = b""
        self._line = b""  # that has no end yet
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._kept = (self._kept + data)[-KEPT_BYTES:]
        # Whole lines, as those of several workers go to one place; within reason.
        ended, newline, self._line = (self._line + data).rpartition(b"\n")
        if len(self._line) > KEPT_BYTES:
            ended, newline, self._line = ended + newline + self._line, b"", b""
        if ended or newline:
            self._transport.pause_reading()
            self._forward(ended + newline).add_done_callback(self._resume)

    def connection_lost(self, _: Exception | None) -> None:
        if self._line:
            self._forward(self._line + b"\n")
            self._line = b""
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def last_lines(self) -> str:
        """What came last."""
        lines = self._kept.decode("utf-8", "backslashreplace").splitlines()
        return "\n".join(lines[-TOLD_LINES:])

    def _forward(self, data: bytes) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().run_in_executor(_writer, _write, data)

    def _resume(self, _: "asyncio.Future[None]") -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


def _write(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()

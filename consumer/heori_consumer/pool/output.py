"""What worker processes write: always read, so that no slot waits; passed on, its end as evidence.

A worker has a channel of its own for its standard output, and another for its standard error. So
no task that prints or logs depends on what becomes of the consumer's own.
"""

import asyncio
import socket
from typing import NamedTuple

from heori_common.outlet import STDERR, STDOUT, Outlet

# How much is kept of each worker, in bytes, and how many lines of it are told at its death: a
# crash writes the stack of its thread, which below a task is Heori's own, fifteen lines long.
KEPT_BYTES = 8192
TOLD_LINES = 40
# A line that is longer than this, in bytes, may be mixed with others.
LINE_BYTES = 256 << 10


class Channels(NamedTuple):
    """The ends, on one side, of a process's standard output and of its standard error."""

    stdout: socket.socket
    stderr: socket.socket


def open_channels() -> tuple[Channels, Channels]:
    """Make both channels of a process; returns our ends, and its own."""
    (our_stdout, their_stdout), (our_stderr, their_stderr) = (
        socket.socketpair(),
        socket.socketpair(),
    )
    return Channels(our_stdout, our_stderr), Channels(their_stdout, their_stderr)


class Output:
    """The standard output and error of one worker.

    Args:
        ours: our ends of its channels.
    """

    def __init__(self, ours: Channels) -> None:
        self._tail = _Tail()
        self._channels = (
            _Channel(ours.stdout, STDOUT, self._tail),
            _Channel(ours.stderr, STDERR, self._tail),
        )

    async def connect(self) -> None:
        """Begin to read."""
        for channel in self._channels:
            await channel.connect()

    async def pass_on(self) -> None:
        """Read all there is until its end, or until cancelled."""
        try:
            await self.connect()
            await self.closed()
        finally:
            self.close()

    async def closed(self) -> None:
        """Wait until all of it has been read."""
        for channel in self._channels:
            await asyncio.shield(channel.closed)

    def close(self) -> None:
        """Read no more."""
        for channel in self._channels:
            channel.close()

    @property
    def last_lines(self) -> str:
        """What came last."""
        lines = self._tail.kept.decode("utf-8", "backslashreplace").splitlines()
        return "\n".join(lines[-TOLD_LINES:])


class _Tail:
    """The last bytes of what was written, on either channel."""

    def __init__(self) -> None:
        self.kept = b""

    def add(self, data: bytes) -> None:
        self.kept = (self.kept + data[-KEPT_BYTES:])[-KEPT_BYTES:]


class _Channel(asyncio.Protocol):
    """One of them.

    Attributes:
        closed: done when all of it has been read.
    """

    def __init__(self, ours: socket.socket, outlet: Outlet, tail: _Tail) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._socket = ours
        self._outlet = outlet
        self._tail = tail
        self._line = bytearray()  # that has no end yet
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        self._socket.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._tail.add(data)
        # Whole lines, as those of several workers go to one place.
        ended, newline, rest = data.rpartition(b"\n")
        if newline:
            self._line += ended + newline
            self._forward()
        self._line += rest
        if len(self._line) > LINE_BYTES:
            self._forward()

    def connection_lost(self, _: Exception | None) -> None:
        if self._line:
            self._line += b"\n"
            self._forward()
        if not self.closed.done():
            self.closed.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()

    def _forward(self) -> None:
        self._outlet.write(bytes(self._line))
        self._line.clear()

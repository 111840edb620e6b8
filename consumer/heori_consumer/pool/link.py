"""The supervisor's end of the socket to a worker: sends frames and reads them."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from heori_consumer.between.frames import pack, unpacker

# Bytes that wait for a worker to read them. Above it, it is sent no more jobs; below a quarter of
# it, it is again.
MOST_UNREAD_BYTES = 1_000_000
# Bytes read after which frames go into a new buffer: it grows with the largest, and never shrinks.
BUFFER_BYTES = 8_000_000


class Link(asyncio.Protocol):
    """Frames to and from one worker.

    Args:
        ours: one end of a socket pair; the worker has the other.
        on_frame: called with each frame from the worker.
        on_lost: called when the worker has closed its end.
        on_room: called when it is no longer clogged.

    Attributes:
        closed: done when all that the worker had sent has been read.
        clogged: whether so much waits for the worker to read it that no job should be sent.
        paused: whether nothing is read from the worker at the moment.
    """

    def __init__(
        self,
        ours: socket.socket,
        on_frame: Callable[[list[Any]], None],
        on_lost: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.clogged = False
        self.paused = False
        self._socket = ours
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_room = on_room
        self._frames = unpacker()
        self._fed = 0  # bytes
        self._transport: asyncio.Transport | None = None
        self._unwritten = b""

    async def connect(self) -> None:
        """Begin to listen."""
        self._socket.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    def send(self, *frame: Any) -> None:
        """Send a frame: its kind and what belongs to it."""
        packed = pack(frame)
        if self._transport is None:
            self._unwritten += packed  # it is not connected yet
        elif not self._transport.is_closing():
            self._transport.write(packed)

    def pause(self) -> None:
        """Read nothing for now: when its socket is full, the worker holds its results itself."""
        self.paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the socket: the worker takes it as its end."""
        with contextlib.suppress(OSError):  # the worker has ended
            # Inline, what a task has forked has this end, too, and would keep it open.
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(MOST_UNREAD_BYTES)
        transport.write(self._unwritten)
        if self.paused:
            transport.pause_reading()

    def pause_writing(self) -> None:
        self.clogged = True

    def resume_writing(self) -> None:
        self.clogged = False
        self._on_room()

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        for frame in self._frames:
            self._on_frame(frame)
        self._fed += len(data)
        if self._fed > BUFFER_BYTES and self._frames.tell() == self._fed:
            self._frames, self._fed = unpacker(), 0

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_lost()

"""The supervisor's end of the socket to a worker: sends frames and reads them."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from heori_consumer.between.frames import pack, unpacker


class Link(asyncio.Protocol):
    """Frames to and from one worker.

    Args:
        ours: one end of a socket pair; the worker has the other.
        on_frame: called with each frame from the worker.
        on_lost: called when the worker has closed its end.

    Attributes:
        closed: done when all that the worker had sent has been read.
    """

    def __init__(
        self,
        ours: socket.socket,
        on_frame: Callable[[list[Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._socket = ours
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._frames = unpacker()
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

    def close(self) -> None:
        """Close the socket: the worker takes it as its end."""
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._unwritten)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        for frame in self._frames:
            self._on_frame(frame)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_lost()

"""What is left of making a connection, whoever has made it."""

import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from heori_common.redis.address import Endpoint

if TYPE_CHECKING:
    import asyncio


class Dialed(NamedTuple):
    """A connection that was made, and is ready for commands in RESP3.

    Attributes:
        socket: of it; over TLS, what encrypts.
        hang_up: disconnects.
        endpoint: which server it is, where sentinels have named one.
    """

    socket: socket.socket
    hang_up: Callable[[], object]
    endpoint: Endpoint | None = None


class AsyncDialed(NamedTuple):
    """As `Dialed`, on an event loop."""

    transport: "asyncio.Transport"
    hang_up: Callable[[], Awaitable[object]]
    endpoint: Endpoint | None = None

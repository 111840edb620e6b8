"""All that Heori uses of redis-py that redis-py does not promise to keep; nobody else may.

redis-py makes each connection: address, TLS, login, database, RESP3. From then on Heori speaks on
it by itself, for which it takes the socket, or the transport, out of redis-py's hands. A new
version of redis-py may change these without saying so. So pyproject.toml bounds its version to what
was tried, and `tests/redis/test_private.py` names what has changed when a newer one breaks it.
"""

import asyncio
import socket
from typing import Any


def socket_of(connection: Any) -> socket.socket:
    """What a connection of redis-py's is connected by; over TLS, what encrypts."""
    taken: socket.socket = connection._sock
    return taken


def transport_of(connection: Any) -> asyncio.Transport:
    """What an asyncio connection of redis-py's is connected by.

    Its streams have read the answers to the handshake, and there is nothing else to read.
    """
    transport: asyncio.Transport = connection._writer.transport
    return transport

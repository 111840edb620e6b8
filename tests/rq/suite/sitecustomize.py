"""In each Python that rq's own tests start: Redis's usual port is that of a server of their own."""

import os
import socket
from typing import Any

USUAL_PORT = 6379
OWN_PORT = int(os.environ["RQ_SUITE_PORT"])

_connect = socket.socket.connect


def connect(self: socket.socket, address: Any) -> None:
    """Connect, elsewhere than was asked for, if that is where Redis usually is."""
    if isinstance(address, tuple) and address[1] == USUAL_PORT:
        address = (address[0], OWN_PORT, *address[2:])
    _connect(self, address)


socket.socket.connect = connect  # type: ignore[assignment, method-assign]

"""An HTTP server of the standard library with a thread for each connection, of which there are few.

class Metrics(FewThreads, WSGIServer): ...
class File(OneRequest): ...
"""

import contextlib
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from heori_common import logs
from heori_common.connections import ANSWER_S, HEAD_S, Connections, ListeningSocket

log = logs.get_logger(__name__)


class FewThreads(ThreadingMixIn, HTTPServer):
    """Drops connections that say nothing for too long, or are too many.

    Attributes:
        port_name: what its port is for, for the log.
        most: connections at a time.
    """

    port_name: str
    most: int
    daemon_threads = True
    request_queue_size = 128  # that are yet to be accepted: with 5, some wait for a second

    def server_activate(self) -> None:
        """Listen."""
        self.connections = Connections(self.port_name, self.most)
        self._of_request: dict[Any, _Peer] = {}
        listening = ListeningSocket(fileno=self.socket.detach())
        listening.connections = self.connections
        self.socket = listening
        super().server_activate()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one that was accepted."""
        peer = _Peer(request, client_address[0])
        if not self.connections.add(peer):
            return False
        self._of_request[request] = peer
        return True

    def answering(self, request: Any) -> None:
        """The head of its request is here."""
        self._of_request[request].until = time.monotonic() + ANSWER_S

    def shutdown_request(self, request: Any) -> None:
        """Close one."""
        super().shutdown_request(request)
        peer = self._of_request.pop(request, None)
        if peer is not None:
            self.connections.remove(peer)

    def service_actions(self) -> None:
        """Look after all of them."""
        self.connections.look()

    def handle_error(self, *_: Any) -> None:
        """Tell of a defect; not of those who have gone, or were dropped."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("a request has failed", port=self.port_name, exc_info=error)


class OneRequest(BaseHTTPRequestHandler):
    """Reads a request of a `FewThreads`; each connection has one only."""

    def parse_request(self) -> bool:
        """Read its head."""
        is_request = super().parse_request()
        assert isinstance(self.server, FewThreads)
        self.server.answering(self.request)
        return is_request

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - so it is called there
        """No request is news, nor is what is none."""


class _Peer:
    """One connection."""

    def __init__(self, request: socket.socket, address: str) -> None:
        self.address = address
        self.until: float | None = time.monotonic() + HEAD_S
        self._request = request

    def drop(self) -> None:
        """Have its thread read the end of the request, or fail to write the answer."""
        with contextlib.suppress(OSError):
            self._request.shutdown(socket.SHUT_RDWR)

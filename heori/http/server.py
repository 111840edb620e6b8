"""Runs the service until a signal ends it: SIGINT, SIGTERM or SIGHUP."""

import signal
import socket
from types import FrameType

import uvicorn

from heori.http.app import Service
from heori.http.protocol import HttpConnection, ServiceState
from heori_common.connections import Connections, ListeningSocket
from heori_common.platform import files_limit
from heori_common.settings import Settings

LOOK_EVERY_TICKS = 10  # of uvicorn, which has ten a second
# Connections at a time, where there are descriptors for so many: each takes 80 kB at most, until
# its token is known.
MOST_CONNECTIONS = 4096
# Descriptors for all else: the service's own, and Redis for each of the threads that answer.
RESERVED = 128
LEAST_CONNECTIONS = 16
# Seconds for answers that are under way when it is to end.
END_S = 10


def most_connections() -> int:
    """How many there may be, by the descriptors of this process.

    Raises:
        ValueError: there are too few.
    """
    limit = files_limit()
    if limit is None:
        return MOST_CONNECTIONS
    if limit < RESERVED + LEAST_CONNECTIONS:
        raise ValueError(
            f"the service needs {RESERVED + LEAST_CONNECTIONS} open files at least, and may have "
            f"{limit} (ulimit -n)"
        )
    return min(MOST_CONNECTIONS, limit - RESERVED)


def listen(host: str, port: int) -> ListeningSocket:
    """A socket that listens there, once it is served on.

    Raises:
        OSError: that is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Of a socket that does not say TCP, asyncio keeps each second packet back for 40 ms (Nagle).
    listening = ListeningSocket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening


def run(settings: Settings, listening: ListeningSocket, most: int) -> None:
    """Serve until a signal, and then what has begun.

    Args:
        most: connections at a time.
    """
    service = Service(settings)
    connections = listening.connections = Connections("api", most)
    config = uvicorn.Config(
        service.app(),
        # Whatever is installed beside: no other has the bounds of these.
        loop="asyncio",
        http=HttpConnection,
        ws="none",
        log_config=None,  # its lines go where all go
        log_level="error",  # it warns of each request that is none, as often as a stranger likes
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=END_S,
    )
    # uvicorn raises the signal that ended it once more, for the handler that was there before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server = _ServiceServer(config, service, connections)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run(sockets=[listening])


class _ServiceServer(uvicorn.Server):
    """Looks after its connections, and answers those who wait for results when it is to end."""

    def __init__(self, config: uvicorn.Config, service: Service, connections: Connections) -> None:
        super().__init__(config)
        self._service = service
        self._connections = connections
        self.server_state = ServiceState(connections)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.end()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if counter % LOOK_EVERY_TICKS == 0:
            self._connections.look()
        return await super().on_tick(counter)

"""Runs the service until a signal ends it: SIGINT, SIGTERM or SIGHUP."""

import signal
import socket
from types import FrameType

import uvicorn

from heori.http.app import Service
from heori_common.settings import Settings


def run(settings: Settings, listening: socket.socket) -> None:
    """Serve until a signal, and then what has begun."""
    service = Service(settings)
    config = uvicorn.Config(
        service.app(),
        log_config=None,  # its lines go where all go
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    # uvicorn raises the signal that ended it once more, for the handler that was there before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server = _ServiceServer(config, service)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run(sockets=[listening])


class _ServiceServer(uvicorn.Server):
    """Answers the requests that wait for results when it is to end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.end()
        super().handle_exit(sig, frame)

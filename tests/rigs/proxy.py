"""A TCP proxy in front of Redis that loses replies on demand."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator


class Proxy:
    """Forwards connections; a request that contains `lose` is answered by a closed connection."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lose: bytes | None = None
        self.lost = 0

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # closing the listener ends it
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(ConnectionError),  # one of them has broken it off
            client,
            socket.create_connection(self._target) as server,
        ):
            losing = False
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        losing = losing or (self.lose is not None and self.lose in data)
                        server.sendall(data)
                    elif losing:
                        self.lose = None
                        self.lost += 1
                        return
                    else:
                        client.sendall(data)


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine, for as long as the block lasts."""
    made = Proxy(port)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(5)

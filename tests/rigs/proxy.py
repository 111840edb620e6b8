"""A TCP proxy in front of Redis that loses replies, or keeps back what is said, on demand."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator


class _Held:
    """What is kept back, until it is let go or lost."""

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self.over = threading.Event()
        self.is_lost = False


class Proxy:
    """Forwards connections; a request that contains `lose` is answered by a closed connection."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lose: bytes | None = None
        self.lost = 0
        self._held: _Held | None = None

    def hold(self, *, everything: bool) -> None:
        """Keep back what is said from now on, until `let_go`.

        Args:
            everything: on all connections, and not only on those that subscribe.
        """
        self._held = _Held(everything=everything)

    def let_go(self, *, lose: bool = False) -> None:
        """Let through what was kept back, or close the connections in its place."""
        held, self._held = self._held, None
        if held:
            held.is_lost = lose
            held.over.set()

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
            losing = subscribes = False
            while True:
                readable, _, _ = select.select([client, server], [], [])
                held = self._held
                if held and (subscribes or held.everything):
                    held.over.wait()
                    if held.is_lost:
                        return
                for source in readable:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        subscribes = subscribes or b"SUBSCRIBE" in data
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

"""A TCP proxy in front of Redis that loses replies, keeps back what is said, or breaks off."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from enum import Enum


class Break(Enum):
    """How a connection is broken."""

    IDLE = "closed now"
    IN_COMMAND = "closed within the next command"
    IN_REPLY = "closed within the next reply"
    VANISHED = "open, and nothing goes through any more"


class _Held:
    """What is kept back, until it is let go or lost."""

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self.over = threading.Event()
        self.is_lost = False


class _Pair:
    """A client's connection and the server's."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.to_break: Break | None = None

    def forward(self, source: socket.socket, data: bytes) -> bool:
        """Send on what was read; returns False if it is to be broken off with it."""
        is_command = source is self.client
        target = self.server if is_command else self.client
        if self.to_break is (Break.IN_COMMAND if is_command else Break.IN_REPLY):
            target.sendall(data[: len(data) // 2])
            return False
        target.sendall(data)
        return True

    def close(self) -> None:
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                each.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Forwards connections; a request that contains `lose` is answered by a closed connection.

    Attributes:
        vanishes: whether all connections after that lead nowhere.
        hold_at: with a request that contains this, everything is kept back from then on.
        holds: set when it is.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lose: bytes | None = None
        self.lost = 0
        self.vanishes = False
        self.hold_at: bytes | None = None
        self.holds = threading.Event()
        self._held: _Held | None = None
        self._pairs: set[_Pair] = set()
        self._closed = threading.Event()

    def lead_to(self, port: int) -> None:
        """Forward new connections to another port from now on; those that are there stay."""
        self._target = ("127.0.0.1", port)

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

    def strike(self, how: Break) -> int:
        """Break each connection that there is now; returns how many. Later ones are not broken."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.to_break = how
            if how is Break.IDLE:
                pair.close()
        return len(pairs)

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # closing the listener ends it
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(ConnectionError),  # one of them has broken it off
            client,
            socket.create_connection(self._target) as server,
        ):
            pair = _Pair(client, server)
            self._pairs.add(pair)
            try:
                self._forward_all(pair)
            finally:
                self._pairs.discard(pair)

    def _note_loss(self) -> None:
        self.lose = None
        self.lost += 1
        if self.vanishes:
            self.lead_to(1)  # where there is nobody

    def _hold_back(self, data: bytes) -> None:
        """Keep this and all else back, if it is what is waited for."""
        if self.hold_at is None or self.hold_at not in data:
            return
        self.hold_at, self._held = None, (held := _Held(everything=True))
        self.holds.set()
        held.over.wait()
        if held.is_lost:
            raise ConnectionError("it was lost")

    def _forward_all(self, pair: _Pair) -> None:
        client, server = pair.client, pair.server
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
                if pair.to_break is Break.VANISHED:
                    self._closed.wait()
                    return
                if source is client:
                    subscribes = subscribes or b"SUBSCRIBE" in data
                    losing = losing or (self.lose is not None and self.lose in data)
                    self._hold_back(data)
                elif losing:
                    self._note_loss()
                    return
                if not pair.forward(source, data):
                    return


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

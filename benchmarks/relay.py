"""A network that takes its time: ``python -m benchmarks.relay PORT SECONDS``.

Stands before a server on this machine and passes on what comes, in each direction so many seconds
later, and at any rate. It says on which port it listens, and ends with its standard input.

This is what netem does in the kernel, where there is one that has it. A relay needs no root; it
takes some microseconds of CPU for each read, of the cores that the measured programs share.
"""

import contextlib
import ctypes
import select
import socket
import sys
import time
from collections import deque

PR_SET_TIMERSLACK = 29
PIECE = 1 << 18  # bytes of a read
HELD = 1 << 24  # bytes on their way in one direction; more are left where they are


class Direction:
    """What is on its way from one socket to another."""

    def __init__(self, source: socket.socket, sink: socket.socket, seconds: float) -> None:
        self.source, self.sink = source, sink
        self.ended = False  # no more comes
        self._seconds = seconds
        self._on_its_way: deque[tuple[float, bytes]] = deque()
        self._held = 0

    @property
    def has_room(self) -> bool:
        """Whether more is to be read."""
        return not self.ended and self._held < HELD

    @property
    def due(self) -> float | None:
        """When the next is to arrive, by time.perf_counter()."""
        return self._on_its_way[0][0] if self._on_its_way else None

    def take(self) -> None:
        """Read what has come; nothing is its end."""
        try:
            data = self.source.recv(PIECE)
        except ConnectionError:
            data = b""
        self.ended = not data
        self._held += len(data)
        self._on_its_way.append((time.perf_counter() + self._seconds, data))

    def deliver(self) -> None:
        """Hand over what is due."""
        now = time.perf_counter()
        while self._on_its_way and self._on_its_way[0][0] <= now:
            _, data = self._on_its_way.popleft()
            self._held -= len(data)
            with contextlib.suppress(OSError):  # whoever was to have it is gone
                if data:
                    self.sink.sendall(data)
                else:
                    self.sink.shutdown(socket.SHUT_WR)


def main(port: int, seconds: float) -> None:
    """Relay until standard input ends."""
    # Else the kernel may end a wait 50 µs late, to save power.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    directions: list[Direction] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            dues = [each.due for each in directions if each.due is not None]
            wait = max(0.0, min(dues) - time.perf_counter()) if dues else None
            sources = {each.source: each for each in directions if each.has_room}
            ready, _, _ = select.select([sys.stdin, listening, *sources], [], [], wait)
            if sys.stdin in ready:
                return
            for each in sources.keys() & set(ready):
                sources[each].take()
            if listening in ready:
                inner, _ = listening.accept()
                outer = socket.create_connection(("127.0.0.1", port))
                for end in (inner, outer):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                directions.append(Direction(inner, outer, seconds))
                directions.append(Direction(outer, inner, seconds))
            for direction in directions:
                direction.deliver()
            directions = [each for each in directions if not each.ended or each.due is not None]


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

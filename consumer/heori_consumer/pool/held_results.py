"""The results that a supervisor holds until Redis has them, and when they are enough."""

import asyncio

# When they come to so many bytes, nothing more is read from workers, and nothing claimed; with
# half of that, all goes on.
MOST_BYTES = 64_000_000


class HeldResults:
    """Counts them.

    Attributes:
        bytes: how large they are.
        full: set while nothing more is to come.
        room: set while more may come.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.full = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self._most = most
        self.bytes = 0

    def add(self, size: int) -> None:
        """Hold so many bytes more."""
        self.bytes += size
        if self.bytes >= self._most and not self.full.is_set():
            self.full.set()
            self.room.clear()

    def remove(self, size: int) -> None:
        """Hold so many bytes less."""
        self.bytes -= size
        if self.bytes <= self._most // 2 and self.full.is_set():
            self.full.clear()
            self.room.set()

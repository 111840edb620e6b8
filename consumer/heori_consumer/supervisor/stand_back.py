"""Lets other consumers go first when a job comes back that this one's code does not know.

Of several idle consumers it is always the same one that claims a job first, such as the one that is
nearest to Redis. Did that one not know its task, no other would ever get it.
"""

import asyncio
import heapq
import time
from collections.abc import Iterable

# What others get to claim such a job: a round trip, and what a busy machine adds to it.
HEAD_START_S = 0.2
# When such a job may come back, from this long before it is due until this long after.
EARLY_S, LATE_S = 0.05, 0.5


class StandBack:
    """Knows when such jobs are due."""

    def __init__(self) -> None:
        self._due: list[float] = []  # a heap of time.monotonic()

    def expect(self, pauses: Iterable[float]) -> None:
        """Know of jobs that are due in so many seconds."""
        now = time.monotonic()
        for pause in pauses:
            heapq.heappush(self._due, now + pause)

    async def give_way(self) -> None:
        """Wait for a moment if such a job may have just come back."""
        now = time.monotonic()
        while self._due and self._due[0] + LATE_S < now:
            heapq.heappop(self._due)
        if self._due and self._due[0] - EARLY_S < now:
            await asyncio.sleep(HEAD_START_S)

"""The limits of queues, and the line of the producers that wait for room."""

from collections.abc import Sequence
from typing import NamedTuple

from heori_common.protocol.commands.builder import Builders, Command

MOST_WAITING = 1_000_000_000  # the highest limit; enqueue.lua reads no larger number
MOST_DIGITS = 18  # of a counter, which Redis keeps in 64 bits


class Bound(NamedTuple):
    """The limit of a queue, and what was counted since it was given one first."""

    limit: int | None  # jobs that may wait
    sent: int
    blocked: int  # times that a producer had to wait for room
    rejected: int
    dropped: int

    @classmethod
    def read(cls, fields: Sequence[bytes | None]) -> "Bound":
        """From the fields of the hash; what is missing, or is no number, counts as none."""
        found = [_counted(value) for value in fields]
        limit, *counters = found + [0] * (len(cls._fields) - len(found))
        return cls(limit or None, *counters)


def _counted(value: bytes | None) -> int:
    return int(value) if value and value.isdigit() and len(value) <= MOST_DIGITS else 0


class BoundCommands(Builders):
    """The limits of queues, and who waits for room."""

    def leave(self, queue: str, ticket: str) -> list[Command[int]]:
        """Give up a place in the line of a queue; whoever comes next is woken."""
        return [
            Command(("ZREM", self.keys.waiting_producers(queue), ticket), int),
            Command(("DEL", self.keys.ticket(queue, ticket)), int),
        ]

    def depth(self, queue: str) -> Command[int]:
        """How many jobs wait in a queue."""
        return Command(("LLEN", self.keys.queue(queue)), int)

    def stands(self, queue: str, ticket: str) -> Command[bool]:
        """Whether somebody stands in that place of the line."""
        return Command(("EXISTS", self.keys.ticket(queue, ticket)), bool)

    def set_limit(self, queue: str, limit: int | None) -> list[Command[int]]:
        """Let so many jobs wait in a queue; None for as many as there are."""
        key = self.keys.bound(queue)
        if limit is None:
            return [Command(("HDEL", key, "limit"), int)]
        # Also listed before its first job, so that whoever looks sees the limit.
        return [
            Command(("HSET", key, "limit", limit), int),
            Command(("SADD", self.keys.queues(), self.keys.queue(queue)), int),
        ]

    def bound(self, queue: str) -> Command[Bound]:
        """The limit of a queue and the counters that go with it."""
        return Command(("HMGET", self.keys.bound(queue), *Bound._fields), Bound.read)

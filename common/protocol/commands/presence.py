"""Who consumes, and how much there is: RQ's records of workers and queues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.protocol.commands.builder import (
    Builders,
    Command,
    Word,
)


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs of one queue are where."""

    waiting: int
    scheduled: int
    running: int
    finished: int
    failed: int


class Presence(Builders):
    """Who consumes, and how much waits."""

    def announce(
        self, name: str, queues: Sequence[str], record: Mapping[str, Word]
    ) -> list[Command[Any]]:
        """Register a consumer where RQ's tools look for workers."""
        key = self.keys.worker(name)
        return [
            Command(("HSET", key, *(word for pair in record.items() for word in pair)), int),
            Command(("SADD", self.keys.workers(), key), int),
            *(Command(("SADD", self.keys.workers_of(queue), key), int) for queue in queues),
        ]

    def heartbeat(self, name: str, now: str, state: str, ttl: int) -> list[Command[Any]]:
        """Tell that a consumer lives; without another its record ends after `ttl` seconds."""
        key = self.keys.worker(name)
        return [
            Command(("HSET", key, "last_heartbeat", now, "state", state), int),
            Command(("EXPIRE", key, ttl), int),
        ]

    def retire(self, name: str, queues: Sequence[str], now: str) -> list[Command[Any]]:
        """Take a consumer out; its record stays for a minute, as RQ's do."""
        key = self.keys.worker(name)
        return [
            Command(("SREM", self.keys.workers(), key), int),
            *(Command(("SREM", self.keys.workers_of(queue), key), int) for queue in queues),
            Command(("HSET", key, "death", now), int),
            Command(("EXPIRE", key, 60), int),
        ]

    def queues(self) -> Command[list[str]]:
        """The names of all queues that ever had a job."""
        return Command(
            ("SMEMBERS", self.keys.queues()),
            lambda reply: sorted(self.keys.queue_name(key.decode()) for key in reply),
        )

    def counts(self, queue: str) -> list[Command[int]]:
        """Five commands whose replies make a `QueueCounts`."""
        return [
            Command(("LLEN", self.keys.queue(queue)), int),
            Command(("ZCARD", self.keys.scheduled(queue)), int),
            Command(("ZCARD", self.keys.wip(queue)), int),
            Command(("ZCARD", self.keys.finished(queue)), int),
            Command(("ZCARD", self.keys.failed(queue)), int),
        ]

    def consumers(self) -> Command[list[str]]:
        """The names of all registered consumers and stock workers."""
        stem = self.keys.worker("")
        return Command(
            ("SMEMBERS", self.keys.workers()),
            lambda reply: sorted(key.decode().removeprefix(stem) for key in reply),
        )

    def consumer(self, name: str) -> Command[dict[str, str]]:
        """The record of one consumer; empty when it has expired."""
        return Command(
            ("HGETALL", self.keys.worker(name)),
            lambda reply: {key.decode(): value.decode() for key, value in reply.items()},
        )

"""Who consumes, and how much there is: RQ's records of workers and queues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from heori_common.protocol.commands.bounds import Bound
from heori_common.protocol.commands.builder import Builders, Command, Word, text, unpack
from heori_common.protocol.job import MalformedJob, parse_time
from heori_common.protocol.keys import whole_queue


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs of one queue are where, how many may wait, and how many producers do."""

    waiting: int
    scheduled: int
    running: int
    finished: int
    failed: int
    limit: int | None
    blocked: int


REGISTRIES = ("started", "scheduled", "deferred", "finished", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class QueueCensus:
    """How many jobs of one queue are where, and how long the next has waited."""

    waiting: int
    oldest: float  # seconds; 0 when none waits
    registries: dict[str, int]  # by their names, REGISTRIES
    bound: Bound
    blocked: int  # producers that wait for room
    tenants: int  # that were counted with it: those of whom anything is left


class RegistryCommands(Builders):
    """Who consumes, and how much waits."""

    def find_lost(
        self, job_id: str, queue: str, registries: Sequence[str]
    ) -> Command[bytes | None]:
        """The status of a job that stands nowhere, though it is to run or to stay; else None.

        Args:
            registries: keys of all registries of its queue, that of running jobs first.
        """
        job = self.keys.job(job_id).encode("utf-8", "surrogateescape")
        keys: list[str | bytes] = [job, self.keys.queue(queue), *registries]
        return self._call("find_lost", keys, lambda reply: reply, id=job_id, queue=queue)

    def announce(
        self, name: str, queues: Sequence[str], record: Mapping[str, Word]
    ) -> list[Command[Any]]:
        """Register a consumer where RQ's tools look for workers, and list its queues.

        They need not have had a job: from the list it is known which registers there are, when it
        is killed.
        """
        key = self.keys.worker(name)
        return [
            Command(("HSET", key, *(word for pair in record.items() for word in pair)), int),
            Command(("SADD", self.keys.workers(), key), int),
            *(Command(("SADD", self.keys.workers_of(queue), key), int) for queue in queues),
            Command(("SADD", self.keys.queues(), *map(self.keys.queue, queues)), int),
        ]

    def heartbeat(
        self, name: str, now: str, told: Mapping[str, Word], ttl: int
    ) -> list[Command[int]]:
        """Tell that a consumer lives; without another its record ends after `ttl` seconds.

        The first reads how many of the fields were not there, which says that the record was not.
        """
        key = self.keys.worker(name)
        fields = (word for pair in told.items() for word in pair)
        return [
            Command(("HSET", key, "last_heartbeat", now, *fields), int),
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
        """The names of all queues that are listed: those that have jobs, results or consumers."""
        return Command(
            ("SMEMBERS", self.keys.queues()),
            lambda reply: sorted(self.keys.queue_name(key.decode()) for key in reply),
        )

    def counts(self, queue: str) -> list[Command[Any]]:
        """Seven commands whose replies make a `QueueCounts`."""
        return [
            Command(("LLEN", self.keys.queue(queue)), int),
            Command(("ZCARD", self.keys.scheduled(queue)), int),
            Command(("ZCARD", self.keys.wip(queue)), int),
            Command(("ZCARD", self.keys.finished(queue)), int),
            Command(("ZCARD", self.keys.failed(queue)), int),
            Command(
                ("HMGET", self.keys.bound(whole_queue(queue)), "limit"),
                lambda reply: Bound.read(reply).limit,
            ),
            Command(("ZCARD", self.keys.waiting_producers(queue)), int),
        ]

    def count_queues(
        self, queues: Sequence[str], *, service: str, lease: float
    ) -> Command[dict[str, QueueCensus]]:
        """Count the jobs of those queues of which this service tells, or thereby gets to.

        Args:
            lease: seconds after which another may, unless this is called again.
        """
        of_queues = (
            key
            for queue in queues
            for key in (
                self.keys.counter(queue),
                self.keys.queue(queue),
                self.keys.wip(queue),
                self.keys.scheduled(queue),
                self.keys.deferred(queue),
                self.keys.finished(queue),
                self.keys.failed(queue),
                self.keys.canceled(queue),
                self.keys.waiting_producers(queue),
                self.keys.bound(queue),
            )
        )

        def parse(reply: bytes) -> dict[str, QueueCensus]:
            now, counted = unpack(reply)
            return {
                queues[number]: QueueCensus(
                    waiting,
                    _seconds_since(enqueued, now) if enqueued else 0.0,
                    dict(zip(REGISTRIES, sizes, strict=True)),
                    Bound.read(bound),
                    blocked,
                    tenants,
                )
                for number, waiting, enqueued, *sizes, blocked, bound, tenants in counted
            }

        return self._call(
            "count_queues",
            [self.keys.queues(), *of_queues],
            parse,
            service=service,
            lease_ms=round(lease * 1000),
            bound_fields=Bound._fields,
        )

    def next_job(self, queue: str) -> Command[str | None]:
        """The id that is first in a queue; None when it is empty."""
        return Command(
            ("LINDEX", self.keys.queue(queue), 0),
            lambda reply: None if reply is None else text(reply),
        )

    def enqueued_at(self, job_id: str) -> Command[datetime | None]:
        """When a job was enqueued; None when nobody can tell."""

        def parse(reply: bytes | None) -> datetime | None:
            try:
                return parse_time("enqueued_at", reply)
            except MalformedJob:
                return None

        return Command(("HGET", self.keys.job(job_id), "enqueued_at"), parse)

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


def _seconds_since(moment: bytes, now: float) -> float:
    try:
        parsed = parse_time("enqueued_at", moment)
    except MalformedJob:  # anybody may have written it
        return 0.0
    return max(0.0, now - parsed.timestamp()) if parsed else 0.0

"""Who consumes, and how much there is: RQ's records of workers and queues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, cast

from heori_common.protocol.commands.bounds import Bound
from heori_common.protocol.commands.builder import Builders, Command, Word, text, unpack
from heori_common.protocol.job import MalformedJob, parse_time
from heori_common.protocol.keys import whole_queue


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs of one queue are where, how many may wait, and how many producers do.

    None, but for the limit, where the key holds something else.
    """

    waiting: int | None
    scheduled: int | None
    running: int | None
    finished: int | None
    failed: int | None
    limit: int | None  # None where there is none, too
    blocked: int | None


# Seconds for which a consumer's record stays without a heartbeat; rq's own is 480.
HEARTBEAT_TTL_S = 60
MOST_WORDS = 1_000  # of a command in a script: Lua passes some thousands of values and no more
LOOK = b"look"  # the kind of what is told to a consumer: its record has been written
DRAIN_FIELD = "heori_drain"  # of a consumer's record: it is there while it is to claim nothing
Drained = Literal["done", "already", "gone", "stock"]  # what came of asking, see drain.lua
LONGEST_SHOWN = 4096  # bytes of one field of a consumer's record
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
    waiting_for_rate: int
    paused: bool
    tenants_paused: int
    tasks_paused: int  # whatever the queue


class Registered(NamedTuple):
    """What came of writing a consumer's record.

    Attributes:
        replies: to each write; None when its key holds something else.
        written: the keys that could be written.
        broken: the keys that hold something else.
    """

    replies: Sequence[int | None]
    written: frozenset[str]
    broken: frozenset[str]


class RegistryCommands(Builders):
    """Who consumes, and how much waits."""

    def _register(self, *writes: tuple[Word, ...]) -> Command[Registered]:
        """Write in a script, which passes when memory is full: a plain HSET would be refused.

        Args:
            writes: a command, its key, and what else belongs to it.
        """
        key_of = [str(key) for _, key, *_ in writes]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(key_of))}
        keys = list(numbers)

        def parse(reply: bytes) -> Registered:
            replies = [None if each is False else each for each in unpack(reply)]
            broken = {key for key, each in zip(key_of, replies, strict=True) if each is None}
            return Registered(replies, frozenset(keys) - broken, frozenset(broken))

        numbered = [[command, numbers[str(key)], *words] for command, key, *words in writes]
        return self._call("register", keys, parse, writes=numbered)

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
        self, name: str, queues: Sequence[str], record: Mapping[str, Word], *, is_new: bool = False
    ) -> Command[Registered]:
        """Register a consumer where RQ's tools look for workers, and list its queues.

        They need not have had a job: from the list it is known which registers there are, when it
        is killed.

        Args:
            is_new: it begins. What another one of its name was asked for is not its concern.
        """
        key = self.keys.worker(name)
        listed = [self.keys.queue(queue) for queue in queues]
        return self._register(
            *((("HDEL", key, DRAIN_FIELD),) if is_new else ()),
            ("HSET", key, *(word for pair in record.items() for word in pair)),
            ("SADD", self.keys.workers(), key),
            *(("SADD", self.keys.workers_of(queue), key) for queue in queues),
            *(
                ("SADD", self.keys.queues(), *listed[first : first + MOST_WORDS])
                for first in range(0, len(listed), MOST_WORDS)
            ),
        )

    def heartbeat(self, name: str, now: str, told: Mapping[str, Word]) -> Command[Registered]:
        """Tell that a consumer lives; without another its record ends after HEARTBEAT_TTL_S.

        The first reply is how many of the fields were not there: if any, the record was not. The
        last is whether it is to claim nothing.
        """
        key = self.keys.worker(name)
        fields = (word for pair in told.items() for word in pair)
        return self._register(
            ("HSET", key, "last_heartbeat", now, *fields),
            ("EXPIRE", key, HEARTBEAT_TTL_S),
            ("HEXISTS", key, DRAIN_FIELD),
        )

    def drain(self, name: str, *, drains: bool) -> Command[Drained]:
        """Have a consumer claim nothing from now on, or claim again."""

        def parse(reply: bytes) -> Drained:
            return cast("Drained", text(reply))

        key = self.keys.worker(name)
        return self._call("drain", [key], parse, consumer=name, drains=drains, kind=LOOK)

    def retire(self, name: str, queues: Sequence[str], now: str) -> Command[Registered]:
        """Take a consumer out; its record stays for a minute, as RQ's do."""
        key = self.keys.worker(name)
        return self._register(
            ("SREM", self.keys.workers(), key),
            *(("SREM", self.keys.workers_of(queue), key) for queue in queues),
            ("HSET", key, "death", now),
            ("EXPIRE", key, 60),
        )

    def queues(self) -> Command[list[str]]:
        """The names of all queues that are listed: those that have jobs, results or consumers."""
        return Command(
            ("SMEMBERS", self.keys.queues()),
            lambda reply: sorted(self.keys.queue_name(text(key)) for key in reply),
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
            now, counted, tasks_paused = unpack(reply)
            return {
                queues[number]: QueueCensus(
                    waiting,
                    _seconds_since(enqueued, now) if enqueued else 0.0,
                    dict(zip(REGISTRIES, sizes, strict=True)),
                    Bound.read(bound),
                    blocked,
                    tenants,
                    rated,
                    paused,
                    tenants_paused,
                    tasks_paused,
                )
                for (
                    number,
                    waiting,
                    enqueued,
                    *sizes,
                    blocked,
                    bound,
                    tenants,
                    rated,
                    paused,
                    tenants_paused,
                ) in counted
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
            lambda reply: sorted(text(key).removeprefix(stem) for key in reply),
        )

    def consumer(self, name: str) -> Command[dict[str, str]]:
        """The record of one consumer, as people may read it; empty when it has expired."""
        return Command(
            ("HGETALL", self.keys.worker(name)),
            lambda reply: {_shown(field): _shown(value) for field, value in reply.items()},
        )

    def life(self, name: str) -> Command[int]:
        """In how many seconds the record of a consumer ends, unless it shows that it lives.

        The server counts them, so that nobody's clock matters. -1: never; -2: it has ended.
        """
        return Command(("TTL", self.keys.worker(name)), int)


def _shown(raw: bytes) -> str:
    """What anybody may have written, for people."""
    short = raw if len(raw) <= LONGEST_SHOWN else raw[:LONGEST_SHOWN] + b"..."
    return short.decode("utf-8", "backslashreplace")


def _seconds_since(moment: bytes, now: float) -> float:
    try:
        parsed = parse_time("enqueued_at", moment)
    except MalformedJob:  # anybody may have written it
        return 0.0
    return max(0.0, now - parsed.timestamp()) if parsed else 0.0

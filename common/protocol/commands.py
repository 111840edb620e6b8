"""One builder per command: what to send, and how to read the reply. No I/O here.

`common.broker` executes them, blocking or not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgpack

from common.protocol.job import (
    CLAIM_FIELDS,
    UNSUPPORTED_FIELDS,
    Claim,
    Job,
    MalformedJob,
    NewJob,
)
from common.protocol.keys import Keys
from common.protocol.payload import encode_failure
from common.protocol.scripts import script

T = TypeVar("T")
Word = str | bytes | int | float
WhenFull = Literal["block", "reject", "drop_oldest"]

RESULT_TTL = 500  # seconds; rq.defaults.DEFAULT_RESULT_TTL
FAILURE_TTL = 365 * 24 * 3600  # seconds; rq.defaults.DEFAULT_FAILURE_TTL
# How far a score in wip lies behind the end of its lease, in seconds. rq fails whatever it
# finds there with a score in the past, and any `rq info` may look at any moment. So its turn
# comes only when no consumer of ours has been there for a day to deliver the job again.
LEASE_MARGIN = 24 * 3600
MOST_REPLY = 4_000_000  # bytes of jobs to read in one call, about
# Entries struck from a registry in one call at most: it takes Redis about 10 ms, and is more than
# ends in the second between two calls.
STRIKE = 30_000
# For how long a producer that waits for room keeps its place without looking, in seconds.
PLACE = 3.0
# So many dropped jobs of each queue are kept as dead letters: the latest.
KEPT_DROPPED = 1000
DROPPED = encode_failure(
    "dropped to make room: its queue was at its limit when newer jobs were sent with "
    "when_full=drop_oldest, and it had waited longest\n"
)
EXECUTION_MARK = "heori"  # how our executions' names begin; stock rq's are bare hexadecimal
# The failure of a job whose key was overwritten while it was claimed.
UNREADABLE = encode_failure("its key in Redis does not hold a hash any more; nothing can run it\n")


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One command for Redis and the way to read its reply."""

    words: tuple[Word, ...]
    parse: Callable[[Any], T]
    in_full: tuple[Word, ...] | None = None  # a script's, for a server that has lost it


class Enqueued(NamedTuple):
    """What became of jobs that were to be enqueued.

    Attributes:
        taken: how many of them, from the first on, are in Redis; the others were not let in.
        new: how many of those were not there before.
        same: the id of the job that was sent with the same idempotency key before, if one was.
        depth: how many jobs wait in the queue; like the rest, when not all were taken.
        limit: how many may; 0 for no limit.
        ahead: the ticket of the producer that is to be let in before this one, if there is one.
        rate: jobs a second that leave the queue; 0 when none do, or it is not known.
    """

    taken: int
    new: int
    same: str | None = None
    depth: int = 0
    limit: int = 0
    ahead: str | None = None
    rate: float = 0.0


class Bound(NamedTuple):
    """The limit of a queue, and what was counted since it was given one first."""

    limit: int | None  # jobs that may wait
    sent: int
    blocked: int  # times that a producer had to wait for room
    rejected: int
    dropped: int


class Ended(NamedTuple):
    """The end of one execution, ready to be acknowledged."""

    claim: Claim
    status: str  # finished, failed, stopped, or retry: failed and to run again
    body: bytes | None  # the result or traceback, encoded by `common.protocol.payload`
    run_time: float  # seconds
    retry: tuple[float, int] | None = None  # in how many seconds, and how often after that


class Record(NamedTuple):
    """A job as it stands in Redis, unchecked; a value that is too long is its length instead."""

    kind: str  # the type of its key, as Redis calls it; none when there is no job
    fields: dict[str, bytes | int]
    result: dict[str, bytes | int]  # the latest entry of its result stream


class GivenBack(NamedTuple):
    """A claimed job that this consumer will not finish."""

    claim: Claim
    counted: bool  # whether this delivery counts against max_deliveries
    # Should this have been the last delivery: an encoded failure, and fields for the job's hash.
    failure: bytes | None = None
    evidence: Mapping[str, str | int] | None = None


class Claimed(NamedTuple):
    """What a claim has brought.

    Attributes:
        empty: whether there was no id at all. Without claims and not empty, all were dropped.
        suspended: whether `rq suspend` holds all claims back.
        broken: keys of the wrong type; their queues were passed over.
    """

    claims: list[Claim]
    empty: bool = True
    suspended: bool = False
    broken: frozenset[str] = frozenset()


class Reclaimed(NamedTuple):
    """What became of the jobs whose lease had run out."""

    queued: int
    dead: int
    broken: frozenset[str]  # keys of the wrong type; their queues were passed over


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of a job's result stream."""

    id: str  # of the entry, for `wait_for_result`
    type: int  # rq.results.Result.Type
    return_value: bytes | None
    exc_string: bytes | None


class Moved(NamedTuple):
    """What came of one look at the scheduled jobs of some queues."""

    jobs: int  # put on their queues
    late: float  # seconds by which the latest of them was so
    held: int  # queues whose scheduler's lock this consumer holds
    pause: float | None  # seconds until there may be something to do; None: nothing is known of
    broken: list[str]  # keys that do not hold what they should


class Progress(NamedTuple):
    """How far a running job says that it is."""

    fraction: float  # from 0 to 1
    text: str


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs of one queue are where."""

    waiting: int
    scheduled: int
    running: int
    finished: int
    failed: int


@dataclass(frozen=True, slots=True)
class Commands:
    """The builders, bound to one key prefix."""

    keys: Keys = field(default_factory=Keys)

    # Producers

    def enqueue(
        self,
        queue: str,
        jobs: Sequence[NewJob],
        *,
        delay: float = 0.0,
        at: float | None = None,
        at_front: bool = False,
        key: tuple[str, int] | None = None,
        when_full: WhenFull = "block",
        ticket: str = "",
    ) -> Command[Enqueued]:
        """Put jobs on one queue, now or when they are due, as far as its limit lets them in.

        Args:
            delay: seconds from now, by the server's clock.
            at: epoch seconds, in place of a delay.
            key: of `Keys.idempotency`, and seconds that it holds; for one job only.
            when_full: to block takes a place in the line for what is not let in; to drop the
                oldest lets all in.
            ticket: of the place in the line; by default the id of the first job.
        """
        full: tuple[Any, ...] = ("block", ticket, _PLACE)
        keys = _enqueue_keys(self.keys, queue)
        if when_full == "reject":
            full = ("reject",)
        elif when_full == "drop_oldest":
            full = ("drop_oldest", _DROPS)
            keys = (*keys, self.keys.failed(queue), self.keys.dropped(queue))

        def parse(reply: int | bytes) -> Enqueued:
            if isinstance(reply, int):
                return Enqueued(len(jobs), reply)
            taken, same, depth, limit, ahead, rate = _unpack(reply)
            return Enqueued(
                taken,
                taken,
                same.decode() if same else None,
                depth,
                limit,
                ahead.decode() if ahead else None,
                float(rate),
            )

        return _call(
            "enqueue",
            keys,
            parse,
            jobs=[(job.id, job.fields()) for job in jobs],
            origin=queue,
            delay=delay,
            at=False if at is None else at,
            front=at_front,
            key=key or False,
            full=full,
            job_stem=self.keys.job(""),
            results_stem=self.keys.results(""),
            consumer="",
        )

    def leave(self, queue: str, ticket: str) -> list[Command[int]]:
        """Give up a place in the line of a queue; whoever comes next is woken."""
        return [
            Command(("ZREM", self.keys.line(queue), ticket), int),
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

        def parse(reply: Sequence[bytes | None]) -> Bound:
            limit, *counters = (int(value) if value and value.isdigit() else 0 for value in reply)
            return Bound(limit or None, *counters)

        return Command(("HMGET", self.keys.bound(queue), *Bound._fields), parse)

    def blocked(self, queue: str) -> Command[int]:
        """How many producers wait for room in a queue."""
        return Command(("ZCARD", self.keys.line(queue)), int)

    def cancel(self, queue: str, ids: Sequence[str]) -> Command[list[int]]:
        """Cancel those of the jobs that wait or are scheduled; reads the numbers of these."""
        keys = [self.keys.queue(queue), self.keys.scheduled(queue), self.keys.canceled(queue)]
        return _call("cancel", keys, _unpack, ids=ids, job_stem=self.keys.job(""))

    def job(self, job_id: str) -> Command[Job | None]:
        """Read a job; None when there is none of that id."""

        def parse(reply: Mapping[bytes, bytes]) -> Job | None:
            return Job.from_hash(job_id, reply) if reply else None

        return Command(("HGETALL", self.keys.job(job_id)), parse)

    def due(self, queue: str, job_id: str) -> Command[datetime | None]:
        """When a scheduled job is to run; None when it is not scheduled.

        Its reading raises MalformedJob for what is no time.
        """

        def parse(score: float | None) -> datetime | None:
            try:
                return None if score is None else datetime.fromtimestamp(score, UTC)
            except (ValueError, OverflowError, OSError) as error:
                raise MalformedJob(f"it is due at {score}, which is no time") from error

        return Command(("ZSCORE", self.keys.scheduled(queue), job_id), parse)

    def status(self, job_id: str) -> Command[str | None]:
        """Read a job's status; None when there is no such job."""
        return Command(
            ("HGET", self.keys.job(job_id), "status"),
            lambda reply: None if reply is None else str(reply, "utf-8", "backslashreplace"),
        )

    def progress_of(self, job_id: str) -> Command[Progress | None]:
        """Read how far a job is; None when it has not said."""

        def parse(reply: Sequence[bytes | None]) -> Progress | None:
            fraction, text = reply
            try:
                done = float(fraction or "")
            except ValueError:  # nobody but Heori writes it, but anybody could
                return None
            return Progress(done, (text or b"").decode("utf-8", "backslashreplace"))

        key = self.keys.job(job_id)
        return Command(("HMGET", key, "heori_progress", "heori_progress_text"), parse)

    def result(self, job_id: str) -> Command[Result | None]:
        """Read a job's latest result, if there is one."""

        def parse(reply: Sequence[Any]) -> Result | None:
            return _result(*reply[0]) if reply else None

        return Command(("XREVRANGE", self.keys.results(job_id), "+", "-", "COUNT", 1), parse)

    def wait_for_result(self, job_id: str, seconds: float, after: str = "0") -> Command[bool]:
        """Wait until a job has a result later than the one of that id; reads whether it has."""
        milliseconds = max(1, round(seconds * 1000))
        words = (
            "XREAD",
            "COUNT",
            1,
            "BLOCK",
            milliseconds,
            "STREAMS",
            self.keys.results(job_id),
            after,
        )
        return Command(words, bool)

    # Consumers

    def claim(
        self,
        queues: Sequence[str],
        count: int,
        *,
        lease: float,
        consumer: str,
        token: str,
        max_payload: int,
        shares: Sequence[int] = (),
    ) -> Command[Claimed]:
        """Pop and lease up to `count` jobs: first each queue's share, then in their order.

        Args:
            lease: seconds.
            token: new and unique for each call; names the executions.
            shares: for each queue, in their order; without any, the order alone decides.
        """
        pairs = (key for queue in queues for key in (self.keys.queue(queue), self.keys.wip(queue)))
        keys = [self.keys.suspended(), *pairs]

        def parse(reply: bytes | None) -> Claimed:
            if reply is None:
                return Claimed([])
            now, popped, suspended, broken, claims = _unpack(reply)
            return Claimed(
                [
                    Claim(
                        _text(job_id),
                        queues[queue],
                        execution.decode(),
                        deliveries,
                        now,
                        problem.decode("utf-8", "backslashreplace") if problem else None,
                        timeout or None,
                        result_ttl or None,
                        failure_ttl or None,
                        values,
                    )
                    for (
                        queue,
                        job_id,
                        execution,
                        deliveries,
                        problem,
                        timeout,
                        result_ttl,
                        failure_ttl,
                        values,
                    ) in claims
                ],
                not popped,
                suspended,
                frozenset(keys[number] for number in broken),
            )

        return _call(
            "claim",
            keys,
            parse,
            count=count,
            shares=shares,
            lease_end_offset=lease + LEASE_MARGIN,
            consumer=consumer,
            token=EXECUTION_MARK + token,
            max_payload=max_payload,
            job_stem=self.keys.job(""),
            fields=CLAIM_FIELDS + UNSUPPORTED_FIELDS,
        )

    def ack(
        self, ended: Sequence[Ended], *, consumer: str
    ) -> Command[tuple[list[int], list[int], list[bytes]]]:
        """Acknowledge.

        Reads the numbers of the refused, of those that others depend on, and keys that hold
        something else than they should.
        """
        queues = _queues(entry.claim for entry in ended)
        keys = [
            key
            for queue in queues
            for key in (
                self.keys.wip(queue),
                self.keys.finished(queue),
                self.keys.failed(queue),
                self.keys.queue(queue),
                self.keys.scheduled(queue),
            )
        ]
        return _call(
            "ack",
            [*keys, self.keys.worker(consumer)],
            lambda reply: tuple(_unpack(reply)),
            entries=[
                [
                    queues[entry.claim.queue],
                    entry.claim.job_id,
                    entry.claim.execution,
                    entry.status,
                    entry.claim.claimed_at,
                    entry.run_time,
                    (
                        entry.claim.result_ttl
                        if entry.status == "finished"
                        else entry.claim.failure_ttl
                    )
                    or False,
                    entry.body or False,
                    entry.retry or False,
                ]
                for entry in ended
            ],
            consumer=consumer,
            job_stem=self.keys.job(""),
            results_stem=self.keys.results(""),
            dependents_suffix=self.keys.dependents_suffix,
            result_ttl=RESULT_TTL,
            failure_ttl=FAILURE_TTL,
        )

    def progress(self, progress: Sequence[tuple[Claim, float, str]]) -> Command[int]:
        """Note how far jobs are; reads for how many of them the lease still stood."""
        return _call(
            "progress",
            [],
            int,
            entries=[
                [claim.job_id, claim.execution, repr(fraction), text]
                for claim, fraction, text in progress
            ],
            job_stem=self.keys.job(""),
        )

    def extend(self, claims: Sequence[Claim], *, lease: float) -> Command[list[int]]:
        """Extend leases, in seconds from now; reads the numbers of the lost ones."""
        queues = _queues(claims)
        return _call(
            "extend",
            [self.keys.wip(queue) for queue in queues],
            _unpack,
            leases=[[queues[claim.queue], f"{claim.job_id}:{claim.execution}"] for claim in claims],
            lease_end_offset=lease + LEASE_MARGIN,
        )

    def release(
        self, given_back: Sequence[GivenBack], *, consumer: str, max_deliveries: int
    ) -> Command[list[str]]:
        """Give jobs back to the front of their queues, in the order given.

        Reads the fate of each: queued, dead, gone (deleted), lost (the lease) or kept (under its
        lease, because a key of its queue has the wrong type).
        """
        queues = _queues(entry.claim for entry in given_back)
        return _call(
            "release",
            self._delivery_keys(queues),
            lambda reply: [fate.decode() for fate in reversed(_unpack(reply))],
            entries=[
                [
                    queues[entry.claim.queue],
                    entry.claim.job_id,
                    entry.claim.execution,
                    entry.counted,
                    entry.failure or False,
                    [word for pair in (entry.evidence or {}).items() for word in pair],
                ]
                for entry in reversed(given_back)
            ],
            **self._settling(consumer, max_deliveries),
        )

    def reclaim(
        self,
        queues: Sequence[str],
        *,
        interval: float,
        consumer: str,
        max_deliveries: int,
        evidence: bytes,
    ) -> Command[Reclaimed | None]:
        """Give back jobs whose lease has run out; None when it was not yet time to look again.

        Also strikes from the registries the jobs whose results have expired.

        Args:
            interval: seconds within which no other consumer looks again.
        """
        keys = [
            self.keys.reaper(),
            *self._delivery_keys(queues),
            *(self.keys.finished(queue) for queue in queues),
        ]

        def parse(reply: bytes | None) -> Reclaimed | None:
            if reply is None:
                return None
            queued, dead, broken = _unpack(reply)
            return Reclaimed(queued, dead, frozenset(keys[number] for number in broken))

        return _call(
            "reclaim",
            keys,
            parse,
            interval=round(interval * 1000),
            margin=LEASE_MARGIN,
            mark=EXECUTION_MARK,
            evidence=evidence,
            strike=STRIKE,
            **self._settling(consumer, max_deliveries),
        )

    def undo(
        self, queues: Sequence[str], *, token: str, consumer: str, max_deliveries: int
    ) -> Command[int]:
        """Give back what the claim of that token took, if it took anything; reads how many."""
        return _call(
            "undo",
            self._delivery_keys(queues),
            int,
            token=EXECUTION_MARK + token,
            **self._settling(consumer, max_deliveries),
        )

    def schedule(
        self, queues: Sequence[str], *, consumer: str, lock_ttl: float, batch: int
    ) -> Command[Moved]:
        """Put due jobs on their queues, for those queues for which this consumer is elected.

        Args:
            lock_ttl: seconds after which another may be elected, unless this is called again.
            batch: how many jobs to look at, at most.
        """

        def parse(reply: bytes) -> Moved:
            jobs, late, held, pause, broken = _unpack(reply)
            pause = None if pause is False else float(pause)
            return Moved(jobs, float(late), held, pause, [key.decode() for key in broken])

        keys = [
            key
            for queue in queues
            for key in (
                self.keys.scheduler_lock(queue),
                self.keys.scheduled(queue),
                self.keys.queue(queue),
            )
        ]
        return _call(
            "schedule",
            [self.keys.queues(), *keys],
            parse,
            consumer=consumer,
            lock_ttl=round(lock_ttl * 1000),
            batch=batch,
            job_stem=self.keys.job(""),
        )

    def resign(self, queues: Sequence[str], *, consumer: str) -> Command[int]:
        """Let others be elected at once; reads for how many queues this consumer was."""
        locks = [self.keys.scheduler_lock(queue) for queue in queues]
        return _call("resign", locks, int, consumer=consumer)

    def canceled(self, ids: Sequence[str]) -> Command[list[int]]:
        """Look which jobs were cancelled or deleted since; reads their numbers."""
        return _call(
            "canceled",
            [],
            _unpack,
            ids=ids,
            job_stem=self.keys.job(""),
        )

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

    # Whoever looks

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

    # Dead letters

    def time(self) -> Command[float]:
        """The server's time, in epoch seconds."""
        return Command(("TIME",), lambda reply: float(reply[0]) + float(reply[1]) / 1e6)

    def expire_dead(self, queue: str, now: float) -> Command[int]:
        """Drop the ids of dead letters that have expired; RQ does so before it looks, too."""
        return Command(("ZREMRANGEBYSCORE", self.keys.failed(queue), 0, now), int)

    def count_dead(self, queue: str) -> Command[int]:
        """How many dead letters one queue has."""
        return Command(("ZCARD", self.keys.failed(queue)), int)

    def dead(self, queue: str, first: int, count: int) -> Command[list[tuple[str, float]]]:
        """Ids from that rank on, oldest first, with the epoch seconds at which they expire."""
        return Command(
            ("ZRANGE", self.keys.failed(queue), first, first + count - 1, "WITHSCORES"),
            lambda reply: [(_text(job_id), float(score)) for job_id, score in reply],
        )

    def find_dead(self, queue: str, ids: Sequence[str]) -> Command[list[float | None]]:
        """When the dead letters of these ids expire; None for what is none of this queue's."""
        raw = [job_id.encode("utf-8", "surrogateescape") for job_id in ids]
        return Command(("ZMSCORE", self.keys.failed(queue), *raw), list)

    def look(
        self, ids: Sequence[str], fields: Sequence[str] = (), *, most_value: int
    ) -> Command[list[Record]]:
        """Read jobs, whatever their keys hold; fewer than asked for when they are large.

        Args:
            fields: what to read; nothing means all fields, and the latest result.
            most_value: bytes of one value.
        """

        def parse(reply: bytes) -> list[Record]:
            return [
                Record(
                    kind.decode(),
                    {
                        name: value
                        for name, value in zip(fields, values, strict=False)
                        if value is not False
                    }
                    if fields
                    else _pairs(values),
                    _pairs(result),
                )
                for kind, values, result in _unpack(reply)
            ]

        return _call(
            "look",
            [],
            parse,
            ids=ids,
            fields=fields,
            most_value=most_value,
            most_reply=MOST_REPLY,
            job_stem=self.keys.job(""),
            results_stem=self.keys.results(""),
        )

    def replay(
        self, queue: str, ids: Sequence[str], *, forget: Sequence[str], dry_run: bool
    ) -> Command[list[str]]:
        """Put dead letters back at the end of their queue; reads the fate of each.

        Args:
            forget: the fields that tell of former deliveries.
        """
        return _call(
            "replay",
            [self.keys.queues(), self.keys.queue(queue), self.keys.failed(queue)],
            _fates,
            ids=ids,
            queue=queue,
            forget=forget,
            dry_run=dry_run,
            job_stem=self.keys.job(""),
        )

    def purge(self, queue: str, ids: Sequence[str], *, dry_run: bool) -> Command[list[str]]:
        """Delete dead letters and all that belongs to them; reads the fate of each."""
        return _call(
            "purge",
            [self.keys.failed(queue), self.keys.wip(queue)],
            _fates,
            jobs=[
                [
                    job_id,
                    [
                        self.keys.results(job_id),
                        self.keys.job(job_id) + self.keys.dependents_suffix,
                        self.keys.dependencies(job_id),
                    ],
                ]
                for job_id in ids
            ],
            dry_run=dry_run,
            job_stem=self.keys.job(""),
            executions_stem=self.keys.executions(""),
            execution_stem=self.keys.execution(""),
            group_stem=self.keys.group(""),
        )

    def _delivery_keys(self, queues: Iterable[str]) -> list[str]:
        return [
            key
            for queue in queues
            for key in (self.keys.queue(queue), self.keys.wip(queue), self.keys.failed(queue))
        ]

    def _settling(self, consumer: str, max_deliveries: int) -> dict[str, Any]:
        return {
            "consumer": consumer,
            "job_stem": self.keys.job(""),
            "results_stem": self.keys.results(""),
            "max_deliveries": max_deliveries,
            "failure_ttl": FAILURE_TTL,
            "unreadable": UNREADABLE,
        }


_PLACE = round(PLACE * 1000)
_DROPS = {"failure_ttl": FAILURE_TTL, "kept": KEPT_DROPPED, "body": DROPPED}


@lru_cache(maxsize=1024)
def _enqueue_keys(keys: Keys, queue: str) -> tuple[str, ...]:
    return (
        keys.queues(),
        keys.queue(queue),
        keys.scheduled(queue),
        keys.bound(queue),
        keys.line(queue),
    )


def _call(
    name: str, keys: Sequence[str], parse: Callable[[Any], T], **arguments: Any
) -> Command[T]:
    called = script(name)
    rest: tuple[Word, ...] = (len(keys), *keys, called.pack(arguments))
    return Command(("EVALSHA", called.digest, *rest), parse, ("EVAL", called.source, *rest))


def _unpack(reply: bytes) -> Any:
    return msgpack.unpackb(reply, raw=True)


def _fates(reply: bytes) -> list[str]:
    return [fate.decode() for fate in _unpack(reply)]


def _pairs(flat: Sequence[Any]) -> dict[str, bytes | int]:
    """Field and value in turns; even a field's name may be anything."""
    names = (
        name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
        for name in flat[::2]
    )
    return dict(zip(names, flat[1::2], strict=True))


def _text(job_id: bytes) -> str:
    """Anyone may push any bytes as an id; surrogates bring them back unchanged."""
    return job_id.decode("utf-8", "surrogateescape")


def _queues(claims: Iterable[Claim]) -> dict[str, int]:
    """The queues of these claims, numbered in the order of their first appearance."""
    return {queue: number for number, queue in enumerate(dict.fromkeys(c.queue for c in claims))}


def _result(entry_id: bytes, entry: Mapping[bytes, bytes] | Sequence[bytes]) -> Result:
    fields = (
        entry if isinstance(entry, Mapping) else dict(zip(entry[::2], entry[1::2], strict=True))
    )
    return Result(
        entry_id.decode(),
        int(fields[b"type"]),
        fields.get(b"return_value"),
        fields.get(b"exc_string"),
    )

"""Is everything where it should be: registries, consumers, leases, jobs, results."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis

from heori import formats
from heori.inspect.checks.finding import MOST_NAMED, Finding, command, for_each, quoted
from heori_common.protocol.commands import (
    EXECUTION_MARK,
    LEASE_MARGIN_S,
    Bound,
    Command,
    Commands,
)
from heori_common.protocol.job import MalformedJob, parse_time
from heori_common.protocol.keys import Keys, whole_queue
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused

T = TypeVar("T")
Progress = Callable[[str, int], None]

# A consumer that lives shows it more often than this, seconds: rq.defaults.DEFAULT_WORKER_TTL,
# and what rq adds to it.
SILENT_SECONDS = 480.0
# Seconds after the end of a lease by which a consumer should have given the job back.
OVERDUE_SECONDS = 60.0
PAGE = 500  # keys in one round trip
LISTED_AT_ONCE = 5000  # ids in one round trip
LISTED_TOGETHER = 100  # queues and registries from which those are
EXAMPLES = 3  # names in one finding
BETWEEN_S = 0.5  # a stock worker that lives has taken a job within this time
# Takes one that is between a queue and a worker to the front of the queue, if it is still there.
MOVE = (
    "return redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 and redis.call('LPUSH', KEYS[2], ARGV[1])"
)


class JobChecks:
    """Looks at all jobs under one prefix.

    Args:
        client: of the server, undecoded.
        bulk: of the same, for what is asked of many keys.
        progress: called with what is being read, and how many of it so far.
    """

    def __init__(
        self, client: redis.Redis, bulk: RedisClient, keys: Keys, progress: Progress
    ) -> None:
        self._client: Any = client
        self._bulk = bulk
        self._keys = keys
        self._commands = Commands(keys)
        self._progress = progress
        seconds, micros = self._client.time()
        self._now = seconds + micros / 1e6
        self._queues: list[str] = []
        self._kinds: dict[str, bytes] = {}  # of the keys of all queues, those that there are
        self._listed: set[bytes] = set()  # the ids in any queue or registry

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks; the first of those that read the queues finds them."""
        return (
            self._suspended,
            self._types,
            self._consumers,
            self._standstills,
            self._limits,
            self._leases,
            self._intermediate,
            self._jobs,
            self._results,
        )

    def _suspended(self) -> Iterator[Finding]:
        if self._client.exists(self._keys.suspended()):
            yield Finding(
                "suspended",
                "warning",
                "`rq suspend` is in force",
                "no consumer claims jobs",
                command("DEL", self._keys.suspended()),
            )

    def _types(self) -> Iterator[Finding]:
        keys = self._keys
        queues = self._commands.queues()
        self._queues = queues.parse(self._client.execute_command(*queues.words))
        wanted = [(keys.queue(queue), b"list") for queue in self._queues]
        wanted += [(key, b"zset") for queue in self._queues for key in self._registries(queue)]
        ids = len(wanted)  # what follows holds no ids of jobs
        wanted += [(keys.bound(queue), b"hash") for queue in self._queues]
        wanted += [(keys.waiting_producers(queue), b"zset") for queue in self._queues]
        between = [keys.intermediate(queue) for queue in self._queues]
        names = [*(key for key, _ in wanted), *between]
        kinds = self._many((("TYPE", key) for key in names), "registries")
        self._kinds = {key: kind for key, kind in zip(names, kinds, strict=True) if kind != b"none"}
        for key, expected in dict(wanted).items():
            if self._kinds.get(key, expected) != expected:
                yield Finding(
                    "types",
                    "problem",
                    f"{key} holds a {self._kinds[key].decode()}",
                    "its queue cannot be worked on",
                    command("RENAME", key, f"{key}:broken"),
                )
        lists = [*wanted[:ids], *((key, b"list") for key in between)]
        self._list([(key, kind) for key, kind in lists if self._kinds.get(key) == kind])

    def _list(self, places: Sequence[tuple[str, bytes]]) -> None:
        """Note all ids in lists and registries: of several in a round trip, as long as these are
        short.
        """
        reading = {b"list": b"LRANGE", b"zset": b"ZRANGE"}
        for some in _pages(places, LISTED_TOGETHER):
            rest, first = some, 0
            while rest:
                size = LISTED_AT_ONCE // len(rest)
                ids = [
                    _members(reply)
                    for reply in self._many(
                        ((reading[kind], key, first, first + size - 1) for key, kind in rest),
                        "queues",
                    )
                ]
                for page in ids:
                    # In the registry of running jobs, each id is followed by an execution's.
                    self._listed.update(member.partition(b":")[0] for member in page)
                self._progress("ids in queues and registries", len(self._listed))
                first += size
                rest = tuple(
                    place for place, page in zip(rest, ids, strict=True) if len(page) == size
                )

    def _standstills(self) -> Iterator[Finding]:
        keys = self._keys
        names = sorted(self._client.smembers(keys.workers()))
        waits = self._many((("HGET", name, "heori_waits_for") for name in names), "consumers")
        for name, waits_for in zip(names, waits, strict=True):
            if isinstance(waits_for, bytes) and waits_for:
                queues = waits_for.decode(errors="replace")
                consumer = name.decode(errors="replace").removeprefix(keys.worker(""))
                words = [f"--queue {quoted(whole_queue(each))}" for each in queues.split(",")]
                yield Finding(
                    "consumers",
                    "problem",
                    f"all slots of {consumer} wait for jobs of {queues}",
                    "those wait for a slot, so that nothing goes on until timeouts end the waits",
                    " ".join(["heori consume", *words]),
                )

    def _consumers(self) -> Iterator[Finding]:
        keys = self._keys
        names = sorted(self._client.smembers(keys.workers()))
        beats = self._many((("HGET", name, "last_heartbeat") for name in names), "consumers")
        silent = {
            name
            for name, beat in zip(names, beats, strict=True)
            if isinstance(beat, RedisRefused) or not self._is_recent(beat)
        }
        silent = self._still_silent(sorted(silent))
        if silent:
            dead = [name.decode(errors="replace") for name in sorted(silent)]
            yield Finding(
                "consumers",
                "warning",
                f"registered, and silent for {SILENT_SECONDS:.0f} s: {len(silent)} of {len(names)} "
                f"({_some(dead)})",
                "they are dead and still listed; any consumer strikes them in a minute or two, and "
                "their jobs come back when leases end",
                command("SREM", keys.workers(), *dead[:MOST_NAMED]),
            )
        else:
            yield Finding("consumers", "fine", f"{len(names)} registered, all alive")
        queues = [queue for queue in self._queues if self._is(keys.queue(queue), b"list")]
        depths = self._many((("LLEN", keys.queue(queue)) for queue in queues), "queues")
        listening = self._many(
            (
                ("SUNION", keys.workers_of(queue), keys.workers_of(whole_queue(queue)))
                for queue in queues
            ),
            "consumers",
        )
        for queue, waiting, workers in zip(queues, depths, listening, strict=True):
            if isinstance(waiting, int) and waiting and silent.issuperset(_members(workers)):
                yield Finding(
                    "consumers",
                    "problem",
                    f"waiting in {queue}, which no consumer serves: {formats.count(waiting)}",
                    "they wait until a consumer comes",
                    f"heori consume --queue {quoted(whole_queue(queue))}",
                )

    def _still_silent(self, names: Sequence[bytes]) -> set[bytes]:
        """Those of them that are still registered, and still silent: one may have ended well."""
        words = [
            word
            for name in names
            for word in (
                ("SISMEMBER", self._keys.workers(), name),
                ("HGET", name, "last_heartbeat"),
            )
        ]
        again = _pages(self._many(words, "consumers"), 2)
        return {
            name
            for name, (is_there, beat) in zip(names, again, strict=True)
            if is_there and (isinstance(beat, RedisRefused) or not self._is_recent(beat))
        }

    def _limits(self) -> Iterator[Finding]:
        keys = self._keys
        queues = [
            queue
            for queue in self._queues
            if self._is(keys.bound(whole_queue(queue)), b"hash")
            and self._is(keys.queue(queue), b"list")
        ]
        replies = self._many(
            (
                words
                for queue in queues
                for words in (
                    ("HMGET", keys.bound(whole_queue(queue)), "limit"),
                    ("LLEN", keys.queue(queue)),
                    ("ZCARD", keys.waiting_producers(queue)),
                )
            ),
            "limits",
        )
        for queue, found in zip(queues, _pages(replies, 3), strict=True):
            limits, waiting, blocked = (
                None if isinstance(of, RedisRefused) else of for of in found
            )
            limit = Bound.read(limits or [None]).limit
            waiting, blocked = waiting or 0, blocked or 0
            if limit is None or waiting < limit:
                continue
            whole = whole_queue(queue)
            yield Finding(
                "limits",
                "warning",
                f"{queue} is full: {formats.count(waiting)} of {formats.count(limit)} jobs wait, "
                f"and {formats.counted(blocked, 'producer')} for room",
                "producers wait, are refused, or drop the oldest jobs, as HEORI_WHEN_FULL says",
                f"heori limit {quoted(whole)} {max(waiting, 2 * limit)}  # or more consumers",
            )

    def _leases(self) -> Iterator[Finding]:
        queues = [queue for queue in self._queues if self._is(self._keys.wip(queue), b"zset")]
        latest = self._now + LEASE_MARGIN_S
        words = ("BYSCORE", "WITHSCORES")
        found = self._many(
            (("ZRANGE", self._keys.wip(queue), 0, latest, *words) for queue in queues), "leases"
        )
        for queue, entries in zip(queues, found, strict=True):
            overdue = [
                member.decode(errors="replace")
                for member, score in _members(entries)
                if self._now - _lease_end(member, score) > OVERDUE_SECONDS
            ]
            if overdue:
                yield Finding(
                    "leases",
                    "problem",
                    f"leases in {queue} that have been over for {OVERDUE_SECONDS:.0f} s: "
                    f"{formats.count(len(overdue))} ({_some(overdue)})",
                    "the consumer that ran these jobs is dead, and no other gives them back",
                    f"heori consume --queue {quoted(whole_queue(queue))}",
                )

    def _intermediate(self) -> Iterator[Finding]:
        for queue in self._queues:
            key = self._keys.intermediate(queue)
            if not self._is(key, b"list") or not (before := self._client.lrange(key, 0, -1)):
                continue
            time.sleep(BETWEEN_S)  # a stock worker passes through here with each of its jobs
            still = set(self._client.lrange(key, 0, -1))
            stranded = [_shown(job_id) for job_id in before if job_id in still]
            if stranded:
                target = self._keys.queue(queue)
                yield Finding(
                    "intermediate",
                    "warning",
                    f"between {queue} and a stock worker: {len(stranded)} ({_some(stranded)})",
                    "where they stay, a worker died at the wrong moment; rq fails them in a while",
                    for_each(stranded, "EVAL", MOVE, "2", key, target, "NAME"),
                )

    def _jobs(self) -> Iterator[Finding]:
        stem = self._keys.job("").encode()
        nowhere: list[bytes] = []
        seen = 0
        for page in self._scan(self._keys.job("*"), "hash", "jobs"):
            ids = [key.removeprefix(stem) for key in page]
            nowhere += [job_id for job_id in ids if job_id not in self._listed]
            seen += len(ids)
        # Jobs move meanwhile. One that stands nowhere at one moment is lost.
        groups: dict[tuple[str, str], list[str]] = {}
        for job_id, status, queue in self._lost(nowhere):
            groups.setdefault((status, queue), []).append(job_id)
        if not groups:
            yield Finding("jobs", "fine", f"{formats.count(seen)} jobs, each in its place")
        for (status, queue), names in sorted(groups.items(), key=lambda item: -len(item[1])):
            ended = status in ("finished", "failed", "stopped", "canceled")
            yield Finding(
                "jobs",
                "warning" if ended else "problem",
                f"of {queue}, in no queue and no registry, status {status or 'none'}: "
                f"{formats.count(len(names))} ({_some(names)})",
                "nothing will ever expire them" if ended else "nothing will ever run them",
                for_each([self._keys.job(name) for name in names], "EXPIRE", "NAME", "86400")
                if ended
                else for_each(names, "RPUSH", self._keys.queue(queue), "NAME"),
            )

    def _lost(self, ids: Sequence[bytes]) -> Iterator[tuple[str, str, str]]:
        """Those of these ids that stand nowhere, each with status and queue."""
        for page in _pages(ids, PAGE):
            jobs = [self._keys.job("").encode() + job_id for job_id in page]
            origins = self._many((("HGET", job, "origin") for job in jobs), "jobs")
            queues = [
                origin.decode(errors="replace") if isinstance(origin, bytes) else "default"
                for origin in origins
            ]
            looks = [
                self._commands.find_lost(_shown(job_id), queue, self._registries(queue))
                for job_id, queue in zip(page, queues, strict=True)
            ]
            for job_id, queue, status in zip(page, queues, self._bulk.ask_many(looks), strict=True):
                if isinstance(status, RedisRefused) and status.code == "NOPERM":
                    raise status
                if isinstance(status, bytes):
                    yield _shown(job_id), status.decode(errors="replace"), queue

    def _results(self) -> Iterator[Finding]:
        stem, jobs = self._keys.results("").encode(), self._keys.job("").encode()
        endless: list[str] = []
        for page in self._scan(self._keys.results("*"), "stream", "results"):
            lives = self._many((("TTL", key) for key in page), "results")
            owners = self._many((("TTL", jobs + key.removeprefix(stem)) for key in page), "results")
            endless += [
                key.decode(errors="replace")
                for key, life, owner in zip(page, lives, owners, strict=True)
                if life == -1 and owner != -1  # a job that is to stay may keep its results
            ]
        if endless:
            yield Finding(
                "results",
                "warning",
                "results that never expire, though their jobs do or have: "
                f"{formats.count(len(endless))} ({_some(endless)})",
                "rq 3.0.0 leaves one behind for each failed job; Redis fills up",
                for_each(endless, "EXPIRE", "NAME", "31536000", "NX"),
            )

    # Reading

    def _registries(self, queue: str) -> list[str]:
        keys = self._keys
        theirs = [keys.deferred(queue), keys.ready(queue)]
        ended = [keys.finished(queue), keys.failed(queue), keys.canceled(queue)]
        scheduled = dict.fromkeys((keys.scheduled(queue), keys.scheduled(whole_queue(queue))))
        return [keys.wip(queue), *scheduled, keys.parked(queue), *ended, *theirs]

    def _is(self, key: str, kind: bytes) -> bool:
        """Whether a queue's key held something, and what it should, when the types were read."""
        return self._kinds.get(key) == kind

    def _is_recent(self, heartbeat: bytes | None) -> bool:
        try:
            beat = parse_time("last_heartbeat", heartbeat)
        except MalformedJob:
            return False
        return beat is not None and self._now - beat.timestamp() < SILENT_SECONDS

    def _scan(self, pattern: str, kind: str, what: str) -> Iterator[list[bytes]]:
        """All keys of that pattern and type, by pages."""
        cursor, seen = 0, 0
        while True:
            cursor, page = self._client.scan(cursor, match=pattern, count=PAGE, _type=kind)
            seen += len(page)
            self._progress(what, seen)
            yield page
            if cursor == 0:
                return

    def _many(self, commands: Iterable[tuple[Any, ...]], what: str) -> list[Any]:
        """The replies to many commands, some hundred in a round trip; refusals among them.

        Raises:
            RedisRefused: the server's user may not ask that.
        """
        replies: list[Any] = []
        for page in _pages(commands, PAGE):
            for reply in self._bulk.ask_many([Command(words, lambda _: None) for words in page]):
                if isinstance(reply, RedisRefused) and reply.code == "NOPERM":
                    raise reply
                replies.append(reply)
            self._progress(what, len(replies))
        return replies


def _shown(job_id: bytes) -> str:
    """An id as text, which leads back to it."""
    return job_id.decode("utf-8", "surrogateescape")


def _members(reply: Any) -> list[Any]:
    """What a list or set had; nothing, if it is something else by now."""
    return [] if isinstance(reply, RedisRefused) else list(reply)


def _lease_end(member: bytes, score: float) -> float:
    """When a lease is over: ours stand a day later than they are, for rq to leave them alone."""
    _, _, execution = member.partition(b":")
    ours = execution.startswith(EXECUTION_MARK.encode())
    return score - LEASE_MARGIN_S if ours else score


def _pages(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while page := tuple(islice(rest, size)):
        yield page


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", …" if len(names) > EXAMPLES else "")

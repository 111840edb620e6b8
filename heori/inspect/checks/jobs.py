"""Is everything where it should be: registries, consumers, leases, jobs, results."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis

from heori import formats
from heori.inspect.checks.finding import Finding
from heori_common.protocol.commands import EXECUTION_MARK, LEASE_MARGIN_S, Bound, Commands
from heori_common.protocol.job import MalformedJob, parse_time
from heori_common.protocol.keys import Keys, whole_queue

T = TypeVar("T")
Progress = Callable[[str, int], None]

# A consumer that lives shows it more often than this, seconds: rq.defaults.DEFAULT_WORKER_TTL,
# and what rq adds to it.
SILENT_SECONDS = 480.0
# Seconds after the end of a lease by which a consumer should have given the job back.
OVERDUE_SECONDS = 60.0
PAGE = 500  # keys in one round trip
EXAMPLES = 3  # names in one finding


class JobChecks:
    """Looks at all jobs under one prefix.

    Args:
        client: of the server, undecoded.
        progress: called with what is being read, and how many of it so far.
    """

    def __init__(self, client: redis.Redis, keys: Keys, progress: Progress) -> None:
        self._client: Any = client
        self._keys = keys
        self._progress = progress
        seconds, micros = self._client.time()
        self._now = seconds + micros / 1e6
        self._queues: list[str] = []
        self._listed: set[bytes] = set()  # the ids in any queue or registry

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks; the first of those that read the queues finds them."""
        return (
            self._suspended,
            self._types,
            self._consumers,
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
                "rq resume",
            )

    def _types(self) -> Iterator[Finding]:
        keys = self._keys
        queues = Commands(keys).queues()
        self._queues = queues.parse(self._client.execute_command(*queues.words))
        wanted = [(keys.queue(queue), b"list") for queue in self._queues]
        wanted += [(key, b"zset") for queue in self._queues for key in self._registries(queue)]
        bounds = [(keys.bound(queue), b"hash") for queue in self._queues]
        bounds += [(keys.waiting_producers(queue), b"zset") for queue in self._queues]
        kinds = self._many((("TYPE", key) for key, _ in wanted + bounds), "registries")
        broken = [
            (key, kind.decode())
            for (key, expected), kind in zip(wanted + bounds, kinds, strict=True)
            if kind not in (expected, b"none")
        ]
        for key, kind in broken:
            yield Finding(
                "types",
                "problem",
                f"{key} holds a {kind}",
                "its queue cannot be worked on",
                f"redis-cli RENAME {shlex.quote(key)} {shlex.quote(key + ':broken')}",
            )
        bad = {key for key, _ in broken}
        for key, kind in wanted:
            if key not in bad:
                self._list(key, kind)
        for queue in self._queues:
            if self._is(queue, "list", self._intermediate_key(queue)):
                self._list(self._intermediate_key(queue), b"list")

    def _list(self, key: str, kind: bytes) -> None:
        """Note all ids in a list or registry."""
        words = (b"LRANGE", key) if kind == b"list" else (b"ZRANGE", key)
        first = 0
        while ids := self._client.execute_command(*words, first, first + 10 * PAGE - 1):
            # In the registry of running jobs, each id is followed by an execution's.
            self._listed.update(member.partition(b":")[0] for member in ids)
            first += 10 * PAGE
            self._progress("ids in queues and registries", len(self._listed))

    def _consumers(self) -> Iterator[Finding]:
        keys = self._keys
        names = sorted(self._client.smembers(keys.workers()))
        beats = self._many((("HGET", name, "last_heartbeat") for name in names), "consumers")
        silent = {
            name for name, beat in zip(names, beats, strict=True) if not self._is_recent(beat)
        }
        if silent:
            dead = [name.decode(errors="replace") for name in sorted(silent)]
            sets = " ".join(map(shlex.quote, dead))
            yield Finding(
                "consumers",
                "warning",
                f"registered, and silent for {SILENT_SECONDS:.0f} s: {len(silent)} of {len(names)} "
                f"({_some(dead)})",
                "they are dead and still listed; their jobs come back when leases end",
                f"redis-cli SREM {keys.workers()} {sets}",
            )
        else:
            yield Finding("consumers", "fine", f"{len(names)} registered, all alive")
        for queue in self._queues:
            waiting = self._client.llen(keys.queue(queue)) if self._is(queue, "list") else 0
            listening = self._client.sunion(
                keys.workers_of(queue), keys.workers_of(whole_queue(queue))
            )
            if waiting and not listening - silent:
                yield Finding(
                    "consumers",
                    "problem",
                    f"waiting in {queue}, which no consumer serves: {formats.count(waiting)}",
                    "they wait until a consumer comes",
                    f"heori consume --queue {shlex.quote(whole_queue(queue))}",
                )

    def _limits(self) -> Iterator[Finding]:
        for queue in self._queues:
            whole = whole_queue(queue)
            bound = self._keys.bound(whole)
            if not (self._is(queue, "hash", bound) and self._is(queue, "list")):
                continue
            limit = Bound.read(self._client.hmget(bound, "limit")).limit
            waiting = self._client.llen(self._keys.queue(queue))
            if limit is None or waiting < limit:
                continue
            line = self._keys.waiting_producers(queue)
            blocked = self._client.zcard(line) if self._is(queue, "zset", line) else 0
            yield Finding(
                "limits",
                "warning",
                f"{queue} is full: {formats.count(waiting)} of {formats.count(limit)} jobs wait, "
                f"and {formats.counted(blocked, 'producer')} for room",
                "producers wait, are refused, or drop the oldest jobs, as HEORI_WHEN_FULL says",
                f"heori limit {shlex.quote(whole)} {max(waiting, 2 * limit)}  # or more consumers",
            )

    def _leases(self) -> Iterator[Finding]:
        for queue in self._queues:
            key = self._keys.wip(queue)
            if not self._is(queue, "zset", key):
                continue
            entries = self._client.zrange(
                key, 0, self._now + LEASE_MARGIN_S, byscore=True, withscores=True
            )
            overdue = [
                member.decode(errors="replace")
                for member, score in entries
                if self._now - _lease_end(member, score) > OVERDUE_SECONDS
            ]
            if overdue:
                yield Finding(
                    "leases",
                    "problem",
                    f"leases in {queue} that have been over for {OVERDUE_SECONDS:.0f} s: "
                    f"{formats.count(len(overdue))} ({_some(overdue)})",
                    "the consumer that ran these jobs is dead, and no other gives them back",
                    f"heori consume --queue {shlex.quote(whole_queue(queue))}",
                )

    def _intermediate(self) -> Iterator[Finding]:
        for queue in self._queues:
            key = self._intermediate_key(queue)
            if self._is(queue, "list", key) and (stranded := self._client.llen(key)):
                yield Finding(
                    "intermediate",
                    "warning",
                    f"between {queue} and a stock worker: {stranded}",
                    "where they stay, a worker died at the wrong moment; rq fails them in a while",
                    f"redis-cli LMOVE {shlex.quote(key)} {shlex.quote(self._keys.queue(queue))} "
                    "RIGHT LEFT  # for each",
                )

    def _jobs(self) -> Iterator[Finding]:
        stem = self._keys.job("").encode()
        nowhere: list[bytes] = []
        seen = 0
        for page in self._scan(self._keys.job("*"), "hash", "jobs"):
            ids = [key.removeprefix(stem) for key in page]
            nowhere += [job_id for job_id in ids if job_id not in self._listed]
            seen += len(ids)
        # Jobs move meanwhile. One that is nowhere the second time either is lost.
        states = dict(self._lost(nowhere))
        by_status = Counter(status for status, _ in states.values())
        if not states:
            yield Finding("jobs", "fine", f"{formats.count(seen)} jobs, each in its place")
        for status, count in by_status.most_common():
            names = [name for name, (of, _) in states.items() if of == status]
            one, queue = names[0], states[names[0]][1]
            ended = status in ("finished", "failed", "stopped", "canceled")
            yield Finding(
                "jobs",
                "warning" if ended else "problem",
                f"in no queue and no registry, status {status or 'none'}: {formats.count(count)} "
                f"({_some(names)})",
                "nothing will ever expire them" if ended else "nothing will ever run them",
                f"redis-cli EXPIRE {shlex.quote(self._keys.job(one))} 86400  # for each"
                if ended
                else f"redis-cli RPUSH {shlex.quote(self._keys.queue(queue))} {shlex.quote(one)}"
                "  # for each",
            )

    def _lost(self, ids: Sequence[bytes]) -> Iterator[tuple[str, tuple[str, str]]]:
        """Those of these ids that stand nowhere, with status and queue."""
        keys = self._keys
        for page in _pages(ids):
            jobs = [keys.job("").encode() + job_id for job_id in page]
            fields = self._many((("HMGET", job, "status", "origin") for job in jobs), "jobs")
            lives = self._many((("TTL", job) for job in jobs), "jobs")
            for job_id, (status, origin), life in zip(page, fields, lives, strict=True):
                queue = (origin or b"default").decode(errors="replace")
                # What expires is no loss, nor is what has done so meanwhile.
                if (status is None and origin is None) or life != -1:
                    continue
                places = [("LPOS", keys.queue(queue), job_id)]
                places += [("ZSCORE", registry, job_id) for registry in self._registries(queue)]
                found = self._many(places, "jobs")
                nowhere = all(isinstance(place, Exception | None) for place in found)
                if nowhere and not self._runs(job_id, queue):
                    text = (status or b"").decode(errors="replace")
                    yield job_id.decode(errors="replace"), (text, queue)

    def _runs(self, job_id: bytes, queue: str) -> bool:
        matching = self._client.zscan_iter(self._keys.wip(queue), match=job_id + b":*")
        return next(matching, None) is not None

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
            pattern = shlex.quote(self._keys.results("*"))
            yield Finding(
                "results",
                "warning",
                "results that never expire, though their jobs do or have: "
                f"{formats.count(len(endless))} ({_some(endless)})",
                "rq 3.0.0 leaves one behind for each failed job; Redis fills up",
                f"redis-cli --scan --pattern {pattern} | xargs -I% redis-cli EXPIRE % 31536000 NX",
            )

    # Reading

    def _registries(self, queue: str) -> list[str]:
        keys = self._keys
        theirs = [f"{keys.prefix}:{kind}:{queue}" for kind in ("deferred", "ready")]
        ended = [keys.finished(queue), keys.failed(queue), keys.canceled(queue)]
        scheduled = dict.fromkeys((keys.scheduled(queue), keys.scheduled(whole_queue(queue))))
        return [keys.wip(queue), *scheduled, keys.parked(queue), *ended, *theirs]

    def _intermediate_key(self, queue: str) -> str:
        """rq.queue.Queue.intermediate_queue_key"""
        return f"{self._keys.queue(queue)}:intermediate"

    def _is(self, queue: str, kind: str, key: str | None = None) -> bool:
        return bool(self._client.type(key or self._keys.queue(queue)) == kind.encode())

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
        """The replies to many commands, some hundred in a round trip; refusals among them."""
        replies: list[Any] = []
        for page in _pages(commands):
            pipeline = self._client.pipeline(transaction=False)
            for words in page:
                pipeline.execute_command(*words)
            replies += pipeline.execute(raise_on_error=False)
            self._progress(what, len(replies))
        return replies


def _lease_end(member: bytes, score: float) -> float:
    """When a lease is over: ours stand a day later than they are, for rq to leave them alone."""
    _, _, execution = member.partition(b":")
    ours = execution.startswith(EXECUTION_MARK.encode())
    return score - LEASE_MARGIN_S if ours else score


def _pages(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    rest = iter(items)
    while page := tuple(islice(rest, PAGE)):
        yield page


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", …" if len(names) > EXAMPLES else "")

"""Is every job where it should be: registries, leases, jobs, results."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from heori import formats
from heori.inspect.checks.finding import Finding, for_each
from heori.inspect.checks.look import PAGE, Look, named, pages, some
from heori.inspect.shell import consume, first
from heori_common.protocol.commands import EXECUTION_MARK, LEASE_MARGIN_S, Bound
from heori_common.protocol.keys import whole_queue

# Seconds after the end of a lease by which a consumer should have given the job back.
OVERDUE_SECONDS = 60.0
LISTED_AT_ONCE = 5000  # ids in one round trip
LISTED_TOGETHER = 100  # queues and registries from which those are
BETWEEN_S = 0.5  # a stock worker that lives has taken a job within this time
# Takes one that is between a queue and a worker to the front of the queue, if it is still there.
MOVE = (
    "return redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 and redis.call('LPUSH', KEYS[2], ARGV[1])"
)


class JobChecks:
    """Looks at all jobs under one prefix."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._keys = look.keys
        self._listed: set[bytes] = set()  # the ids in any queue or registry

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks."""
        return (self._limits, self._leases, self._intermediate, self._jobs, self._results)

    def _limits(self) -> Iterator[Finding]:
        keys = self._keys
        queues = [
            queue
            for queue in self._look.queues
            if self._look.holds(keys.bound(whole_queue(queue)), b"hash")
            and self._look.holds(keys.queue(queue), b"list")
        ]
        replies = self._look.many(
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
        for queue, found in zip(queues, pages(replies, 3), strict=True):
            limits, waiting, blocked = found
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
                f"heori limit {first(whole)} {max(waiting, 2 * limit)}  # or more consumers",
            )

    def _leases(self) -> Iterator[Finding]:
        look, keys = self._look, self._keys
        queues = [queue for queue in look.queues if look.holds(keys.wip(queue), b"zset")]
        latest = look.now + LEASE_MARGIN_S
        words = ("BYSCORE", "WITHSCORES")
        found = look.many(
            (("ZRANGE", keys.wip(queue), 0, latest, *words) for queue in queues), "leases"
        )
        for queue, entries in zip(queues, found, strict=True):
            overdue = [
                member.decode(errors="replace")
                for member, score in entries or ()
                if look.now - _lease_end(member, score) > OVERDUE_SECONDS
            ]
            if overdue:
                yield Finding(
                    "leases",
                    "problem",
                    f"leases in {queue} that have been over for {OVERDUE_SECONDS:.0f} s: "
                    f"{formats.count(len(overdue))} ({some(overdue)})",
                    "the consumer that ran these jobs is dead, and no other gives them back",
                    consume([whole_queue(queue)]),
                )

    def _intermediate(self) -> Iterator[Finding]:
        for queue in self._look.queues:
            key = self._keys.intermediate(queue)
            if not self._look.holds(key, b"list"):
                continue
            before = self._look.one("LRANGE", key, 0, -1)
            if not before:
                continue
            time.sleep(BETWEEN_S)  # a stock worker passes through here with each of its jobs
            still = set(self._look.one("LRANGE", key, 0, -1) or ())
            stranded = [named(job_id) for job_id in before if job_id in still]
            if stranded:
                target = self._keys.queue(queue)
                yield Finding(
                    "intermediate",
                    "warning",
                    f"between {queue} and a stock worker: {len(stranded)} ({some(stranded)})",
                    "where they stay, a worker died at the wrong moment; rq fails them in a while",
                    for_each(stranded, "EVAL", MOVE, "2", key, target, "NAME"),
                )

    def _jobs(self) -> Iterator[Finding]:
        self._list()
        stem = self._keys.job("").encode()
        nowhere: list[bytes] = []
        seen = 0
        for page in self._look.scan(self._keys.job("*"), "hash", "jobs"):
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
                f"{formats.count(len(names))} ({some(names)})",
                "nothing will ever expire them" if ended else "nothing will ever run them",
                for_each([self._keys.job(name) for name in names], "EXPIRE", "NAME", "86400")
                if ended
                else for_each(names, "RPUSH", self._keys.queue(queue), "NAME"),
            )

    def _lost(self, ids: Sequence[bytes]) -> Iterator[tuple[str, str, str]]:
        """Those of these ids that stand nowhere, each with status and queue."""
        for page in pages(ids, PAGE):
            jobs = [self._keys.job("").encode() + job_id for job_id in page]
            origins = self._look.many((("HGET", job, "origin") for job in jobs), "jobs")
            queues = [
                named(origin) if isinstance(origin, bytes) else "default" for origin in origins
            ]
            looks = [
                self._look.commands.find_lost(named(job_id), queue, self._registries(queue))
                for job_id, queue in zip(page, queues, strict=True)
            ]
            for job_id, queue, status in zip(page, queues, self._look.ask(looks), strict=True):
                if isinstance(status, bytes):
                    yield named(job_id), status.decode(errors="replace"), queue

    def _results(self) -> Iterator[Finding]:
        stem, jobs = self._keys.results("").encode(), self._keys.job("").encode()
        endless: list[str] = []
        for page in self._look.scan(self._keys.results("*"), "stream", "results"):
            lives = self._look.many((("TTL", key) for key in page), "results")
            owners = self._look.many(
                (("TTL", jobs + key.removeprefix(stem)) for key in page), "results"
            )
            endless += [
                named(key)
                for key, life, owner in zip(page, lives, owners, strict=True)
                if life == -1 and owner != -1  # a job that is to stay may keep its results
            ]
        if endless:
            yield Finding(
                "results",
                "warning",
                "results that never expire, though their jobs do or have: "
                f"{formats.count(len(endless))} ({some(endless)})",
                "rq 3.0.0 leaves one behind for each failed job; Redis fills up",
                for_each(endless, "EXPIRE", "NAME", "31536000", "NX"),
            )

    # Reading

    def _list(self) -> None:
        """Note all ids in lists and registries: of several in a round trip, as long as these are
        short.
        """
        keys, kinds = self._keys, self._look.kinds
        reading = {b"list": b"LRANGE", b"zset": b"ZRANGE"}
        expected: dict[str, bytes] = {}
        for queue in self._look.queues:
            expected |= dict.fromkeys((keys.queue(queue), keys.intermediate(queue)), b"list")
            expected |= dict.fromkeys(self._registries(queue), b"zset")
        places = [(key, kind) for key, kind in expected.items() if kinds.get(key) == kind]
        for together in pages(places, LISTED_TOGETHER):
            rest, first = together, 0
            while rest:
                size = LISTED_AT_ONCE // len(rest)
                ids = [
                    reply or []
                    for reply in self._look.many(
                        ((reading[kind], key, first, first + size - 1) for key, kind in rest),
                        "queues",
                    )
                ]
                for page in ids:
                    # In the registry of running jobs, each id is followed by an execution's.
                    self._listed.update(member.partition(b":")[0] for member in page)
                self._look.progress("ids in queues and registries", len(self._listed))
                first += size
                rest = tuple(
                    place for place, page in zip(rest, ids, strict=True) if len(page) == size
                )

    def _registries(self, queue: str) -> list[str]:
        keys = self._keys
        theirs = [keys.deferred(queue), keys.ready(queue)]
        ended = [keys.finished(queue), keys.failed(queue), keys.canceled(queue)]
        scheduled = dict.fromkeys((keys.scheduled(queue), keys.scheduled(whole_queue(queue))))
        return [keys.wip(queue), *scheduled, keys.parked(queue), *ended, *theirs]


def _lease_end(member: bytes, score: float) -> float:
    """When a lease is over: ours stand a day later than they are, for rq to leave them alone."""
    _, _, execution = member.partition(b":")
    ours = execution.startswith(EXECUTION_MARK.encode())
    return score - LEASE_MARGIN_S if ours else score

"""What rq and mixed fleets leave broken when somebody dies at the wrong moment."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from heori import formats
from heori.inspect.checks.finding import Finding, command
from heori.inspect.checks.look import Look, named, some
from heori_common.protocol.commands.maintenance import READY_S

MEND = "heori doctor --mend"
BETWEEN_S = 0.5  # what is about to be put on its queue is there after this time
HOLDING = (b"queued", b"started")  # what a job is that may hold a slot of a rate limit
OURS = b"heori-"  # how the names of consumers begin; others are stock workers


class RqLeftovers:
    """Looks at jobs that wait for what has come about, and at what nobody holds."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._keys = look.keys

    def all(self) -> tuple[Callable[[], Iterable[Finding]], ...]:
        """The checks."""
        return (self._waiting, self._ready, self._cleaning, self._slots)

    def _waiting(self) -> Iterator[Finding]:
        for queue in self._having(self._keys.deferred):
            found = self._need_not_wait(queue)
            if found:
                time.sleep(BETWEEN_S)
                still = self._need_not_wait(queue)
                found = {job_id: gone for job_id, gone in still.items() if job_id in found}
            # Both end in the same way, and for different reasons.
            stuck = [job_id for job_id, gone in found.items() if not gone]
            orphans = [job_id for job_id, gone in found.items() if gone]
            if stuck:
                yield Finding(
                    "waiting",
                    "problem",
                    f"of {queue}, deferred though all that they wait for has ended: "
                    f"{formats.count(len(stuck))} ({some(stuck)})",
                    "whoever was to queue them has died, and nobody else will",
                    MEND,
                )
            if orphans:
                yield Finding(
                    "waiting",
                    "problem",
                    f"of {queue}, deferred though of what they wait for something was deleted or "
                    f"has expired, and the rest has ended: "
                    f"{formats.count(len(orphans))} ({some(orphans)})",
                    "rq leaves them so for ever, also where what they wait for had failed; this "
                    "runs them, but cancels steps of a flow; else delete them",
                    MEND,
                )

    def _need_not_wait(self, queue: str) -> dict[str, bool]:
        """The deferred jobs of a queue that wait neither for a job nor for a lock.

        Returns:
            For each, whether something is gone for which it waited.
        """
        keys, look = self._keys, self._look
        ids = list(map(named, look.one("ZRANGE", keys.deferred(queue), 0, -1) or ()))
        asked = ("status", "allow_dependency_failures")
        jobs = look.many((("HMGET", keys.job(job_id), *asked) for job_id in ids), "jobs")
        others = look.many((("SMEMBERS", keys.dependencies(job_id)) for job_id in ids), "jobs")
        parked = look.many((("ZSCORE", keys.parked(queue), job_id) for job_id in ids), "jobs")
        ended = self._statuses({named(other) for each in others for other in each or ()})
        return {
            job_id: None in {ended[named(parent)] for parent in parents or ()}
            for job_id, job, parents, for_lock in zip(ids, jobs, others, parked, strict=True)
            if job
            and job[0] == b"deferred"
            and for_lock is None
            # rq waits for none that is gone.
            and {ended[named(parent)] for parent in parents or ()}
            <= {None, b"", b"finished", b"failed" if job[1] == b"1" else None}
        }

    def _ready(self) -> Iterator[Finding]:
        for queue in self._having(self._keys.ready):
            until = self._look.now - READY_S
            words = ("ZRANGEBYSCORE", self._keys.ready(queue), "-inf", until)
            found = list(map(named, self._look.one(*words) or ()))
            if found:
                yield Finding(
                    "ready",
                    "warning",
                    f"of {queue}, waiting for nothing and on no list: "
                    f"{formats.count(len(found))} ({some(found)})",
                    "a stock worker died as it queued them; a consumer does so within a minute",
                    MEND,
                )

    def _cleaning(self) -> Iterator[Finding]:
        keys, look = self._keys, self._look
        locks = look.many((("EXISTS", keys.cleaning(queue)) for queue in look.queues), "queues")
        locked = [queue for queue, lock in zip(look.queues, locks, strict=True) if lock]
        for queue in locked:
            workers = look.one("SMEMBERS", keys.workers_of(queue)) or ()
            stock = [
                worker
                for worker in workers
                if not named(worker).removeprefix(keys.worker("")).startswith(OURS.decode())
            ]
            if not any(look.many((("EXISTS", worker) for worker in stock), "consumers")):
                yield Finding(
                    "cleaning",
                    "warning",
                    f"{queue} is locked for maintenance by a stock worker that is gone",
                    "for up to 15 minutes, nobody looks after what dead stock workers have left",
                    command("DEL", keys.cleaning(queue)),
                )

    def _slots(self) -> Iterator[Finding]:
        keys, look = self._keys, self._look
        for limit in map(named, sorted(look.one("SMEMBERS", keys.limits()) or ())):
            allowed = look.one("ZRANGE", keys.limit_allowed(limit), 0, -1) or ()
            ids = list(map(named, allowed))
            statuses = self._statuses(ids)
            runs = look.many((("EXISTS", keys.executions(job_id)) for job_id in ids), "limits")
            unheld = [
                job_id
                for job_id, runs_still in zip(ids, runs, strict=True)
                if statuses[job_id] not in HOLDING and not runs_still
            ]
            if unheld:
                yield Finding(
                    "slots",
                    "warning",
                    f"slots of the rate limit {limit} that no job holds: "
                    f"{formats.count(len(unheld))} ({some(unheld)})",
                    "jobs with that limit wait for them; a consumer frees them within a minute",
                    MEND,
                )

    def _having(self, key: Callable[[str], str]) -> Sequence[str]:
        """The queues that have such a registry."""
        return [queue for queue in self._look.queues if self._look.holds(key(queue), b"zset")]

    def _statuses(self, job_ids: Iterable[str]) -> dict[str, bytes | None]:
        ids = list(job_ids)
        found = self._look.many((("HGET", self._keys.job(each), "status") for each in ids), "jobs")
        return dict(zip(ids, found, strict=True))

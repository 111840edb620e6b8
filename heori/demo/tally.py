"""What came of the jobs: read from Redis itself, job by job, and as the consumer counts it.

The two must agree. Redis is the truth: a counter may be wrong, but a job that has a result there
was done, and one that is nowhere to be found was lost.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from heori.examples.tasks import ALL, QUEUE, UNITS
from heori.inspect.scraper import Samples
from heori_common import metrics, tasks
from heori_common.protocol.commands import RESULT_TTL_S, Command, Commands, Word
from heori_common.protocol.job import Job
from heori_common.protocol.payload import decode_call, decode_failure, decode_result
from heori_common.redis.client import RedisClient

PAGE = 500  # jobs in one round trip
MAX_PAYLOAD = 100_000  # bytes; our own calls are far smaller
KEEP_SECONDS = 20  # seconds that a finished job stays, so that one can look at it


@dataclass(slots=True)
class Count:
    """What came of the jobs of one task."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    unfinished: int = 0  # still waiting or running
    repeated: int = 0  # deliveries after a job's first
    amount: int = 0  # tokens or bytes, by UNITS, summed from the results

    @property
    def lost(self) -> int:
        """Jobs that were sent and are nowhere; below zero, there are more than were sent."""
        return self.sent - self.done - self.failed - self.unfinished

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.sent + other.sent,
            self.done + other.done,
            self.failed + other.failed,
            self.unfinished + other.unfinished,
            self.repeated + other.repeated,
            self.amount + other.amount,
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run."""

    counts: Mapping[str, Count]  # by task
    seconds: float  # from when all processes were there to the last job done
    agrees: bool  # whether the consumer's metrics say the same as Redis
    signal: int  # the number of the one that stopped it; 0 if none did
    failure: str  # why one of the failed jobs failed

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped it, perhaps with jobs left."""
        return self.signal != 0

    @property
    def total(self) -> Count:
        """All tasks together; the sum of the amounts means nothing, as their units differ."""
        return sum(self.counts.values(), Count())

    @property
    def well(self) -> bool:
        """Whether every job was done, and once, by either account."""
        total = self.total
        return self.agrees and total.sent == total.done and not total.failed + total.repeated


@dataclass(frozen=True, slots=True)
class ConsumerCounts:
    """What a consumer's /metrics say: jobs by the names in `ALL`, the rest by worker."""

    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    cpu: dict[str, float] = field(default_factory=dict)  # seconds, of a worker's place
    memory: dict[str, float] = field(default_factory=dict)  # bytes, resident
    running: int = 0  # slots that run a job, of so many
    slots: int = 0

    @classmethod
    def read(cls, samples: Samples) -> Self:
        """Read them from its metrics."""
        names = {name: tasks.find(function).name for name, function in ALL.items()}
        jobs = {
            name: (
                int(samples.get(metrics.JOBS, task=task)),
                int(samples.get(metrics.JOBS, task=task, outcome="succeeded")),
            )
            for name, task in names.items()
        }
        workers = samples.values(metrics.WORKER_MEMORY, "worker")
        return cls(
            Counter({name: done for name, (_, done) in jobs.items()}),
            Counter({name: ended - done for name, (ended, done) in jobs.items()}),
            {worker: samples.get(metrics.WORKER_CPU, worker=worker) for worker in workers},
            {
                worker: samples.get(metrics.WORKER_MEMORY, worker=worker, kind="rss")
                for worker in workers
            },
            int(samples.get(metrics.SLOTS_RUNNING)),
            int(samples.get(metrics.SLOTS)),
        )


class JobTally:
    """Reads every job, and each once.

    Attributes:
        counts: by task.
        failure: a failed job's last line, to show one reason.
    """

    def __init__(self, client: RedisClient) -> None:
        self.counts = {name: Count() for name in ALL}
        self.failure = ""
        self._redis = client
        self._commands = Commands()

    def claimed(self) -> Counter[str]:
        """How many jobs of each task a consumer has: they run, or wait in it for a slot."""
        jobs = self._jobs(self._leased())
        return Counter(_task(job) for job in jobs if job is not None)

    def count_and_forget(self, older: int = KEEP_SECONDS) -> None:
        """Count the jobs that finished more than so many seconds ago, and delete them.

        To be called every second or so in a long run: results expire after RESULT_TTL_S, and at
        some 2 kB a job, those of eight minutes could fill a gigabyte.
        """
        key = self._commands.keys.finished(QUEUE)
        # A finished job's score is the second in which it ended and RESULT_TTL_S.
        # Redis counts so, too, and is on this machine.
        until = int(time.time()) + RESULT_TTL_S - older  # noqa: TID251 - no wait
        while ids := self._ids("ZRANGE", key, "-inf", until, "BYSCORE", "LIMIT", 0, PAGE):
            self._count(ids)
            jobs = map(self._commands.keys.job, ids)
            results = map(self._commands.keys.results, ids)
            self._redis.execute_many(
                [Command(("ZREM", key, *ids), int), Command(("UNLINK", *jobs, *results), int)]
            )

    def finish(self, sent: Mapping[str, int]) -> None:
        """Read all that is left; the consumer must have ended.

        Args:
            sent: how many jobs of each task the producer has sent.
        """
        keys = self._commands.keys
        for key in (keys.finished(QUEUE), keys.failed(QUEUE)):
            first = 0
            while ids := self._ids("ZRANGE", key, first, first + PAGE - 1):
                self._count(ids)
                first += len(ids)
        self._count(self._ids("LRANGE", keys.queue(QUEUE), 0, -1))
        self._count(self._leased())
        for name, count in self.counts.items():
            count.sent = sent[name]

    def agrees(self, told: ConsumerCounts, *, interrupted: bool) -> bool:
        """Whether the consumer has counted the same.

        One that was interrupted has done some more jobs after its metrics were last read.
        """
        return all(
            here >= there if interrupted else here == there
            for name, count in self.counts.items()
            for here, there in (
                (count.done, told.done[name]),
                (count.failed, told.failed[name]),
            )
        )

    def _count(self, ids: Sequence[str]) -> None:
        """Count jobs by what their own hash says, wherever their ids were found."""
        results = self._redis.execute_many([self._commands.result(id_) for id_ in ids])
        for job, result in zip(self._jobs(ids), results, strict=True):
            if job is None:
                continue  # its id is there, and the job is not: it will be missed as lost
            name = _task(job)
            count = self.counts[name]
            count.repeated += max(0, (job.deliveries or 1) - 1)
            if job.status == "finished" and result is not None and result.return_value:
                count.done += 1
                count.amount += json.loads(decode_result(result.return_value))[UNITS[name]]
            elif job.status == "failed":
                count.failed += 1
                if result is not None and result.exc_string:
                    traceback = decode_failure(result.exc_string)
                    self.failure = f"{job.description}: {traceback.strip().rpartition(chr(10))[2]}"
            elif job.status in ("queued", "started"):
                count.unfinished += 1

    def _jobs(self, ids: Sequence[str]) -> list[Job | None]:
        return self._redis.execute_many([self._commands.job(id_) for id_ in ids])

    def _leased(self) -> list[str]:
        """The ids of the jobs that a consumer works on; all consumers of a run hold few."""
        leases = self._ids("ZRANGE", self._commands.keys.wip(QUEUE), 0, -1)
        return [lease.rpartition(":")[0] for lease in leases]

    def _ids(self, *words: Word) -> list[str]:
        def parse(reply: Sequence[bytes]) -> list[str]:
            return [entry.decode() for entry in reply]

        return self._redis.execute(Command(words, parse))


def _task(job: Job) -> str:
    """The name that a job's function has in ALL."""
    return decode_call(job.data, ("json",), MAX_PAYLOAD).function.rpartition(".")[2]

"""What `heori top` shows: Redis and every consumer's own metrics, read twice, and the difference.

No Prometheus is needed: rates are what changed between two readings.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from heori.inspect.limits import Held, read_held
from heori.inspect.queues import ConsumerRecord, read_consumers, read_oldest, read_queues
from heori.inspect.reader import RedisReader
from heori.inspect.scraper import Answers, Samples, scrape_all
from heori_common import metrics
from heori_common.metrics import Metric
from heori_common.protocol.commands import DRAIN_FIELD, QueueCounts

# What consumers are asked for. All that they have would be ten times as much to read.
READ = (
    metrics.AUTO_COROUTINES,
    metrics.AUTO_PROCESSES,
    metrics.AUTO_SLOTS,
    metrics.CONSUMER_INFO,
    metrics.DRAINING,
    metrics.GIL_ENABLED,
    metrics.GIL_SOURCE,
    metrics.JOBS,
    metrics.JOBS_EXPIRED,
    metrics.JOBS_WAITING,
    metrics.JOB_CPU,
    metrics.JOB_QUEUE,
    metrics.JOB_RUN,
    metrics.LOCK_HOLD,
    metrics.LOCK_WAIT,
    metrics.LOCK_WAITERS,
    metrics.SLOTS,
    metrics.SLOTS_RUNNING,
    metrics.TASK_SPEEDUP,
    metrics.THREAD_STATE,
    metrics.USABLE_CORES,
    metrics.WANTED_CONSUMERS,
    metrics.WORKER_CPU,
    metrics.WORKER_MEMORY,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    at: float  # time.monotonic()
    queues: dict[str, QueueCounts]
    oldest: dict[str, float]  # seconds for which the next job of a queue has waited
    records: dict[str, ConsumerRecord]  # by name
    answers: Answers  # of the consumers
    held: Held = field(default_factory=Held)
    unreadable: dict[str, str] = field(default_factory=dict)  # by its key: why


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue now; None for what cannot be read."""

    queue: str
    waiting: int | None
    oldest: float  # seconds
    running: int | None
    scheduled: int | None
    failed: int | None
    limit: int | None  # jobs that may wait
    blocked: int | None  # producers that wait for room
    expired: int  # jobs that consumers of now have not run, as they came too late


@dataclass(frozen=True, slots=True)
class ConsumerRow:
    """A consumer, or a stock worker, of which there are no metrics."""

    consumer: str
    queues: str
    state: str
    model: str = ""
    slots: int = 0
    running: int = 0
    jobs_per_second: float = 0.0
    cores: float = 0.0  # used by its workers
    answers: bool = False
    waiting: int = 0  # jobs that wait for others; their slots are lent
    waits_for: str = ""  # queues for whose jobs all slots wait
    done: int = 0  # jobs that have ended in it so far, however that was
    # Of the model auto: processes, threads of each, and coroutines of each that it wants.
    size: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process and what its threads did since the reading before, in shares of one."""

    consumer: str
    worker: str
    cores: float
    memory: float  # bytes, resident
    states: dict[str, float] = field(default_factory=dict)  # of the threads that had a job
    gil_loss: float | None = None
    source: str = ""
    gil_enabled: bool | None = None  # whether it has a GIL that is on; None while it is unknown


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task over all consumers."""

    task: str
    done: int
    failed: int
    jobs_per_second: float
    run: float | None  # mean seconds, like the next two
    cpu: float | None
    queued: float | None
    speedup: float | None  # of processes over threads, estimated
    failed_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class LockRow:
    """A lock over all consumers."""

    lock: str
    kind: str
    waiters: int
    acquired_per_second: float
    wait: float | None  # mean seconds, like the next
    hold: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Two readings, compared.

    Attributes:
        seconds: between them.
        asked: consumers that were asked for their metrics, and could answer.
        answered: how many of them did.
        within: seconds that they had to.
        unreadable: by the key that cannot be read: why.
        wanted: consumers that there should be, see `metrics.WANTED_CONSUMERS`; None when none
            tells.
    """

    seconds: float
    asked: int
    answered: int
    within: float
    queues: list[QueueRow]
    consumers: list[ConsumerRow]
    workers: list[WorkerRow]
    tasks: list[TaskRow]
    locks: list[LockRow]
    held: Held
    unreadable: dict[str, str]
    wanted: int | None


def take_reading(reader: RedisReader, before: Reading | None = None) -> Reading:
    """Read Redis, and ask all consumers at once.

    Args:
        reader: a new one, as it notes what could not be read this time.
        before: those are asked first that answered then, as their rates will be known.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    queues = read_queues(reader)
    now = reader.client.execute(reader.commands.time())
    waiting = (name for name, of in queues.items() if of.waiting)
    oldest = read_oldest(reader, waiting, now)
    records = read_consumers(reader)
    at = time.monotonic()
    known = before.answers.samples if before else {}
    names = sorted(records, key=lambda name: name not in known)
    urls = {name: records[name].get("heori_metrics", "") for name in names}
    answers = scrape_all(urls, READ)
    held = read_held(reader, queues)
    return Reading(at, queues, oldest, records, answers, held, reader.unreadable)


def compare(before: Reading, now: Reading) -> Overview:
    """What there is now, and what happened since the reading before."""
    seconds = max(now.at - before.at, 1e-6)
    old, new = before.answers.samples, now.answers.samples
    pairs = [(name, old.get(name, samples), samples) for name, samples in new.items()]
    return Overview(
        seconds,
        now.answers.asked,
        len(new),
        now.answers.within,
        [
            QueueRow(
                name,
                of.waiting,
                now.oldest.get(name, 0.0),
                of.running,
                of.scheduled,
                of.failed,
                of.limit,
                of.blocked,
                int(sum(samples.get(metrics.JOBS_EXPIRED, queue=name) for samples in new.values())),
            )
            for name, of in now.queues.items()
        ],
        [
            _consumer(name, record, old.get(name), new.get(name))
            for name, record in now.records.items()
        ],
        [row for name, then, latest in pairs for row in _workers(name, then, latest)],
        sorted(_tasks(pairs), key=lambda row: -row.jobs_per_second),
        sorted(_locks(pairs), key=lambda row: (-row.waiters, -row.acquired_per_second)),
        now.held,
        now.unreadable,
        _wanted(new.values()),
    )


def _wanted(answers: Collection[Samples]) -> int | None:
    """Each service has one consumer that tells."""
    told = [it for it in answers if it.values(metrics.WANTED_CONSUMERS, "consumer")]
    return round(sum(it.get(metrics.WANTED_CONSUMERS) for it in told)) if told else None


def _consumer(
    name: str, record: ConsumerRecord, before: Samples | None, now: Samples | None
) -> ConsumerRow:
    queues, state = record.get("queues", ""), record.get("state", "?")
    waits_for = record.get("heori_waits_for", "")
    if now is None:
        return ConsumerRow(name, queues, state, waits_for=waits_for)
    before = before or now
    return ConsumerRow(
        name,
        queues,
        _drain_state(record, now) if now.get(metrics.DRAINING) else state,
        "".join(now.values(metrics.CONSUMER_INFO, "model")[:1]),
        int(now.get(metrics.SLOTS)),
        int(now.get(metrics.SLOTS_RUNNING)),
        now.rate(metrics.JOBS, before),
        now.rate(metrics.WORKER_CPU, before),
        answers=True,
        waiting=int(now.get(metrics.JOBS_WAITING)),
        waits_for=waits_for,
        done=round(now.get(metrics.JOBS)),
        size=_size(now),
    )


def _size(now: Samples) -> tuple[int, ...]:
    wanted = (metrics.AUTO_PROCESSES, metrics.AUTO_SLOTS, metrics.AUTO_COROUTINES)
    size = tuple(int(now.get(metric)) for metric in wanted)
    return size if all(size) else ()


def _drain_state(record: ConsumerRecord, now: Samples) -> str:
    """How a consumer is that claims nothing, as it says itself of `/slots`."""
    held = now.get(metrics.SLOTS_RUNNING) + now.get(metrics.JOBS_WAITING)
    return "draining" if held or DRAIN_FIELD not in record else "drained"


def _workers(consumer: str, before: Samples, now: Samples) -> Iterator[WorkerRow]:
    for worker in now.values(metrics.WORKER_MEMORY, "worker"):
        spent = {
            state: now.get(metrics.THREAD_STATE, worker=worker, state=state)
            - before.get(metrics.THREAD_STATE, worker=worker, state=state)
            for state in now.values(metrics.THREAD_STATE, "state")
        }
        busy = sum(spent.values())
        states = {state: part / busy for state, part in spent.items()} if busy > 0 else {}
        cores = now.rate(metrics.WORKER_CPU, before, worker=worker)
        usable = max(1.0, now.get(metrics.USABLE_CORES))
        sources = [
            source
            for source in now.values(metrics.GIL_SOURCE, "source")
            if now.get(metrics.GIL_SOURCE, worker=worker, source=source)
        ]
        yield WorkerRow(
            consumer,
            worker,
            cores,
            now.get(metrics.WORKER_MEMORY, worker=worker, kind="rss"),
            states,
            # As the consumer's own figure, and for the time between the two readings only.
            min(states.get("gil_wait", 0.0), max(0.0, 1 - cores / usable)) if states else None,
            "".join(sources[:1]),
            bool(now.get(metrics.GIL_ENABLED, worker=worker)) if sources else None,
        )


def _tasks(pairs: list[tuple[str, Samples, Samples]]) -> Iterator[TaskRow]:
    for task in sorted({task for _, _, now in pairs for task in now.values(metrics.JOBS, "task")}):
        means = {
            metric: _mean(metric, pairs, task=task)
            for metric in (metrics.JOB_RUN, metrics.JOB_CPU, metrics.JOB_QUEUE)
        }
        speedups = [
            now.get(metrics.TASK_SPEEDUP, task=task)
            for _, _, now in pairs
            if task in now.values(metrics.TASK_SPEEDUP, "task")
        ]
        yield TaskRow(
            task,
            round(sum(now.get(metrics.JOBS, task=task, outcome="succeeded") for *_, now in pairs)),
            round(sum(now.get(metrics.JOBS, task=task, outcome="failed") for *_, now in pairs)),
            sum(now.rate(metrics.JOBS, old, task=task) for _, old, now in pairs),
            means[metrics.JOB_RUN],
            means[metrics.JOB_CPU],
            means[metrics.JOB_QUEUE],
            sum(speedups) / len(speedups) if speedups else None,
            sum(now.rate(metrics.JOBS, old, task=task, outcome="failed") for _, old, now in pairs),
        )


def _locks(pairs: list[tuple[str, Samples, Samples]]) -> Iterator[LockRow]:
    found = {
        (kind, lock)
        for _, _, now in pairs
        for kind in now.values(metrics.LOCK_HOLD, "kind")
        for lock in now.values(metrics.LOCK_HOLD, "lock")
        if now.counted(metrics.LOCK_HOLD, kind=kind, lock=lock)
    } | {
        (kind, lock)
        for _, _, now in pairs
        for kind in now.values(metrics.LOCK_WAITERS, "kind")
        for lock in now.values(metrics.LOCK_WAITERS, "lock")
        if now.get(metrics.LOCK_WAITERS, kind=kind, lock=lock)
    }
    for kind, lock in sorted(found):
        named = {"kind": kind, "lock": lock}
        acquired = sum(now.counted_rate(metrics.LOCK_WAIT, old, **named) for _, old, now in pairs)
        yield LockRow(
            lock,
            kind,
            round(sum(now.get(metrics.LOCK_WAITERS, **named) for *_, now in pairs)),
            acquired,
            _mean(metrics.LOCK_WAIT, pairs, **named),
            _mean(metrics.LOCK_HOLD, pairs, **named),
        )


def _mean(metric: Metric, pairs: list[tuple[str, Samples, Samples]], **labels: str) -> float | None:
    """Of what happened between the readings; of all when nothing did."""
    for recent in (True, False):
        found = [
            (mean, now.counted(metric, **labels))
            for _, old, now in pairs
            if (mean := now.mean(metric, old if recent else None, **labels)) is not None
        ]
        if weight := sum(count for _, count in found):
            return sum(mean * count for mean, count in found) / weight
    return None

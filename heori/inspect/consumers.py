"""The consumers of a Redis: how each is, what its workers are, and what every slot runs.

What Redis has of a consumer is its record. All else a consumer tells itself, and it may hang: then
it is shown by its record, with the reason.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from heori.inspect.auto import AutoView, read_auto
from heori.inspect.overview import ConsumerRow
from heori.inspect.queues import ConsumerRecord, read_consumers, read_lives
from heori.inspect.reader import NONSENSE, RedisReader
from heori.inspect.scraper import NoMetrics, ask_slots
from heori_common.errors import cut
from heori_common.printable import printable
from heori_common.protocol.commands import DRAIN_FIELD, HEARTBEAT_TTL_S

# Seconds for all to answer: who looks at a list does not wait for one that hangs. One alone, which
# somebody asks for by its name, has more.
LIST_S = 0.2
ONE_S = 2.0
MOST_COUNT = 2**53  # what JSON's numbers are exact to
MOST_JOBS = 500  # of one consumer; it names no more


@dataclass(frozen=True, slots=True)
class JobInSlot:
    """What a slot runs.

    Attributes:
        seconds: for which it runs.
        cpu: seconds that it has used; None for a coroutine, which shares its thread with others.
        gil: seconds for which its thread was seen to wait for the GIL; None likewise, and where
            nothing can be seen.
        thread: what that does now: running, gil_wait or io_wait; empty where nothing tells.
        lent: whether it waits for other jobs, so that another runs in its place.
        locks: kind, name and fence of those that its task declares, and that it holds.
        in_line: kind and name of those for which it waits in its slot, and seconds since it does.
    """

    slot: int
    job: str
    task: str
    queue: str
    delivery: int
    seconds: float
    cpu: float | None
    gil: float | None
    thread: str
    lent: bool
    locks: tuple[tuple[str, str, int], ...] = ()
    in_line: tuple[tuple[str, str, float], ...] = ()

    def record(self) -> dict[str, Any]:
        """For scripts."""
        locks = [{"kind": kind, "name": name, "fence": fence} for kind, name, fence in self.locks]
        in_line = [
            {"kind": kind, "name": name, "seconds": seconds} for kind, name, seconds in self.in_line
        ]
        return {**asdict(self), "locks": locks, "in_line": in_line}


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker.

    Attributes:
        worker: the number of its place; "alone" for one that runs a single suspect job.
        state: starting, ready, ending or alone.
        seconds: for which its process runs; None while it starts.
        slots: that it has; those that it has more, as jobs wait for others, are `lent`.
        gil_loss: the share of its throughput that the GIL costs; None where nothing can be said.
        gil_enabled: whether it has a GIL that is on; None where it does not tell.
        states: of the time of its threads that had a job: the share of each state.
        jobs: by slot.
    """

    worker: str
    pid: int | None
    seconds: float | None
    state: str
    slots: int
    lent: int
    finished: int
    gil_loss: float | None
    gil_source: str
    gil_enabled: bool | None
    states: dict[str, float]
    jobs: tuple[JobInSlot, ...]

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return {**asdict(self), "jobs": [job.record() for job in self.jobs]}


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """A consumer, or a stock rq worker, of which its record is all there is.

    Attributes:
        kind: heori or rq.
        state: as it says itself: idle, busy, suspended, draining, drained; else as its record has
            it.
        drains: whether it was asked to claim nothing.
        since: when it began, by its own clock, in ISO 8601.
        heartbeat: seconds since it last said that it lives; None for a stock worker.
        reason: why it does not answer; empty when it does.
        slots, running, waiting, executed: None when it does not answer. Jobs that wait for others
            are `waiting`; those that it has run so far are `executed`.
        auto: of the model auto, its size and its moves; None when that is not told.
        workers: None when only the consumer was asked for.
        left_out: jobs that run, and are not among those of the workers.
    """

    name: str
    kind: str
    host: str
    pid: str
    queues: tuple[str, ...]
    state: str
    since: str
    heartbeat: int | None
    reason: str
    version: str = ""
    model: str = ""
    processes: int | None = None
    slots: int | None = None
    running: int | None = None
    waiting: int | None = None
    executed: int | None = None
    drains: bool = False
    waits_for: str = ""
    refuses: str = ""
    auto: AutoView | None = None
    workers: tuple[WorkerView, ...] | None = field(default=None)
    left_out: int = 0

    @property
    def answers(self) -> bool:
        """Whether it has said how it is."""
        return not self.reason

    def record(self) -> dict[str, Any]:
        """For scripts."""
        record = asdict(self)
        if self.workers is None:
            del record["workers"], record["left_out"]
        else:
            record["workers"] = [worker.record() for worker in self.workers]
        return {**record, "answers": self.answers}


def list_consumers(
    reader: RedisReader, within: float = LIST_S, seen: Mapping[str, ConsumerRow] | None = None
) -> list[ConsumerView]:
    """All that are registered, by name, without their workers.

    Args:
        within: seconds that they have to answer, all of them together.
        seen: what was read of them a moment ago, by name: those are not asked.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    records = read_consumers(reader)
    lives = read_lives(reader, records)
    seen = seen or {}
    answers = _ask({name: of for name, of in records.items() if name not in seen}, 0, within)
    return [
        _seen(record, lives[name], seen[name])
        if name in seen
        else _view(name, record, lives[name], answers.get(name))
        for name, record in sorted(records.items())
    ]


def read_consumer(reader: RedisReader, name: str, within: float = ONE_S) -> ConsumerView | None:
    """One, with its workers and what their slots run; None when there is no such.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    record = reader.read(reader.commands.consumer(name))
    if not record or "death" in record:
        return None
    lives = read_lives(reader, [name])
    answers = _ask({name: record}, MOST_JOBS, within)
    return _view(name, record, lives[name], answers.get(name))


def read_slot(
    reader: RedisReader, name: str, job_id: str, within: float
) -> tuple[WorkerView, JobInSlot] | None:
    """Where a consumer runs a job; None when it has no such job in a slot, or does not answer.

    Args:
        within: seconds that it has to answer.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    record = reader.read(reader.commands.consumer(name))
    if not record or "death" in record:
        return None
    [answer] = _ask({name: record}, 1, within, job_id).values() or [None]
    for worker in _view(name, record, None, answer).workers or ():
        for job in worker.jobs:
            if job.job == printable(job_id):
                return worker, job
    return None


def ask_workers(
    records: Mapping[str, ConsumerRecord], within: float = LIST_S
) -> dict[str, tuple[WorkerView, ...]]:
    """The workers of those consumers that answer in time, with what their slots run.

    Args:
        within: as for `list_consumers`.
    """
    answers = _ask(records, MOST_JOBS, within)
    views = [_view(name, records[name], None, said) for name, said in answers.items()]
    return {view.name: view.workers for view in views if view.workers is not None}


def ask_auto(name: str, record: ConsumerRecord, within: float = LIST_S) -> AutoView | None:
    """The size of one consumer, and its moves; None when it has another model or does not answer.

    Args:
        within: as for `list_consumers`.
    """
    return next(
        (_view(name, record, None, said).auto for said in _ask({name: record}, 0, within).values()),
        None,
    )


class NotDrained(Exception):
    """A consumer cannot be asked to drain, or to go on; the message says why, and what to do."""


class NoConsumer(NotDrained):
    """There is no such consumer."""


def drain(reader: RedisReader, name: str, *, drains: bool) -> bool:
    """Have a consumer claim nothing more, and give back what no slot has begun; or go on.

    What it runs goes on to its end. It keeps its roles, such as leading.

    Returns:
        Whether that is new.

    Raises:
        NotDrained, NoConsumer: see there.
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    done = reader.client.execute(reader.commands.drain(name, drains=drains))
    if done == "gone":
        raise NoConsumer(f"there is no consumer {cut(name)}")
    if done == "stock":
        raise NotDrained(
            f"{cut(name)} is a worker of rq's own, which cannot drain; `rq suspend` holds all "
            "workers of a Redis"
        )
    return done == "done"


def _ask(
    records: Mapping[str, ConsumerRecord], most: int, within: float, job_id: str = ""
) -> dict[str, dict[str, Any] | NoMetrics]:
    urls = {name: record.get("heori_metrics", "") for name, record in records.items()}
    return ask_slots(urls, most, within, job_id)


def _view(
    name: str, record: ConsumerRecord, life: int | None, said: dict[str, Any] | NoMetrics | None
) -> ConsumerView:
    if said is None:
        reason = "it is a worker of rq's own, which tells nothing"
    elif isinstance(said, NoMetrics):
        reason = str(said)
    else:
        try:
            return _known(name, record, life, said)
        except NONSENSE:  # anybody may have written its address into the record
            reason = "what it says makes no sense"
    return ConsumerView(**_recorded(name, record, life), reason=reason)


def _seen(record: ConsumerRecord, life: int | None, row: ConsumerRow) -> ConsumerView:
    told = _recorded(row.consumer, record, life)
    if not row.answers:
        return ConsumerView(**told, reason="it did not answer when it was asked last")
    if told["drains"]:
        told["state"] = "draining" if row.running else "drained"
    elif row.state == "draining":
        told["state"] = row.state
    return ConsumerView(
        **told,
        reason="",
        model=row.model,
        slots=row.slots,
        running=row.running,
        waiting=row.waiting,
        executed=row.done,
    )


def _recorded(name: str, record: ConsumerRecord, life: int | None) -> dict[str, Any]:
    """What its record says."""
    is_ours = "heori_metrics" in record

    def told(field_name: str, unknown: str = "") -> str:
        return printable(record.get(field_name, unknown))

    return {
        "name": name,
        "kind": "heori" if is_ours else "rq",
        "host": told("hostname"),
        "pid": told("pid"),
        "queues": tuple(filter(None, told("queues").split(","))),
        "state": told("state", "?"),
        "since": told("birth"),
        "heartbeat": max(0, HEARTBEAT_TTL_S - life) if is_ours and life is not None else None,
        "drains": DRAIN_FIELD in record,
        "waits_for": told("heori_waits_for"),
        "refuses": told("heori_refuses"),
    }


def _known(
    name: str, record: ConsumerRecord, life: int | None, said: Mapping[str, Any]
) -> ConsumerView:
    """With what it has said itself."""
    if said["consumer"] != cut(name, 300) and said["consumer"] != name:
        raise ValueError("it is another one, which has its address now")
    workers = said.get("workers")
    return ConsumerView(
        **_recorded(name, record, life) | {"state": cut(said["state"])},
        reason="",
        version=cut(said["version"]),
        model=cut(said["model"]),
        processes=_count(said["processes"]),
        slots=_count(said["slots"]),
        running=_count(said["running"]),
        waiting=_count(said["waiting"]),
        executed=_count(said["executed"]),
        auto=read_auto(said.get("auto")),
        workers=None if workers is None else tuple(map(_worker, workers)),
        left_out=_count(said.get("left_out", 0)),
    )


def _worker(said: Mapping[str, Any]) -> WorkerView:
    spent = {cut(state): _number(of) for state, of in said["thread_seconds"].items()}
    busy = sum(spent.values())
    return WorkerView(
        cut(said["worker"]),
        _or_none(_count, said["pid"]),
        _or_none(_number, said["seconds"]),
        cut(said["state"]),
        _count(said["slots"]),
        _count(said["lent"]),
        _count(said["finished"]),
        _or_none(_number, said["gil_loss"]),
        cut(said["gil_source"] or ""),
        _or_none(bool, said.get("gil_enabled")),  # which those of older versions do not tell
        {state: of / busy for state, of in sorted(spent.items())} if busy > 0 else {},
        tuple(map(_job, said["jobs"])),
    )


def _job(said: Mapping[str, Any]) -> JobInSlot:
    return JobInSlot(
        _count(said["slot"]),
        printable(said["job"]),
        printable(said["task"]),
        printable(said["queue"]),
        _count(said["delivery"]),
        _number(said["seconds"]),
        _or_none(_number, said["cpu_seconds"]),
        _or_none(_number, said["gil_seconds"]),
        cut(said["thread_state"] or ""),
        bool(said["lent"]),
        tuple(
            (cut(lock["kind"]), printable(lock["name"]), _count(lock["fence"]))
            for lock in said["locks"]
        ),
        tuple(
            (cut(lock["kind"]), printable(lock["name"]), _number(lock["seconds"]))
            for lock in said["in_line"]
        ),
    )


def _count(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= MOST_COUNT:
        raise ValueError("that is no count")
    return number


def _number(value: Any) -> float:
    """Of seconds, or a share."""
    number = float(value)
    if not 0 <= number <= MOST_COUNT:
        raise ValueError("that is no length")
    return number


def _or_none(kind: Any, value: Any) -> Any:
    return None if value is None else kind(value)

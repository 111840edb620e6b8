"""A job as lists show it, in one row."""

import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from heori.inspect.calls import LONGEST_LINE, CallReader, last_line
from heori.inspect.reader import NONSENSE
from heori_common.errors import cut
from heori_common.protocol.dead_letter import DeadLetter
from heori_common.protocol.job import Job, MalformedJob, parse_options
from heori_common.protocol.keys import TENANT

_WAITING = ("queued", "deferred", "rate_limited")


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as lists show it. Times are ISO 8601 by the server's clock; empty for never.

    Attributes:
        status: in RQ's words; "gone" when only its id is left.
        call, error: in one line each.
        waited: seconds in the queue, until it began or now.
        ran: seconds, until it ended or now.
        waits_for: what keeps it, where that is not its turn in the queue.
        deliveries: of all its tries.
    """

    id: str
    queue: str
    tenant: str
    task: str
    status: str
    call: str
    created_at: str = ""
    enqueued_at: str = ""
    started_at: str = ""
    ended_at: str = ""
    due_at: str = ""
    waited: float | None = None
    ran: float | None = None
    deliveries: int | None = None
    consumer: str = ""
    progress: float | None = None
    progress_text: str = ""
    waits_for: str = ""
    error: str = ""

    def record(self) -> dict[str, Any]:
        """For scripts: what is not known is null."""
        return {name: None if value == "" else value for name, value in asdict(self).items()}


def row_of(
    job: DeadLetter, calls: CallReader, now: float, *, due: float | None, parked: bool
) -> JobRow:
    """What is shown of a job.

    Args:
        now: the server's time, in epoch seconds, as is when it is due.
        parked: whether it is deferred, and waits for no other job.
    """
    read = read_hash(job)
    failed = read.status in ("failed", "stopped")
    return JobRow(
        *of_queue(job.id, read.queue),
        calls.task(job),
        read.status,
        cut(read.description, LONGEST_LINE),
        created_at=iso(read.created_at),
        enqueued_at=iso(read.enqueued_at),
        started_at=iso(read.started_at),
        ended_at=iso(read.ended_at),
        due_at="" if due is None or read.status != "scheduled" else _due(due),
        waited=waited(read, now),
        ran=ran(read, now),
        deliveries=read.deliveries,
        consumer=read.consumer,
        progress=_number(job.text("heori_progress")),
        progress_text=cut(job.text("heori_progress_text"), LONGEST_LINE),
        waits_for=waits_for(job, read, parked=parked),
        error=last_line(job.traceback or "") if failed else read.reason,
    )


def read_hash(job: DeadLetter) -> Job:
    """The fields of a job's hash, but for those that are too long."""
    record = job.record.fields.items()
    return Job.from_hash(job.id, {n.encode(): v for n, v in record if isinstance(v, bytes)})


def waits_for(job: DeadLetter, read: Job, *, parked: bool) -> str:
    """What keeps a job, in words; empty where that is nothing but its turn.

    Args:
        parked: whether it is deferred, and waits for no other job.
    """
    if read.unknown and read.status in ("scheduled", "queued"):
        return f"a consumer whose code knows its task: {cut(read.unknown, LONGEST_LINE)}"
    if read.status == "rate_limited":
        return f"a slot of the limit {job.text('rate_limit_key')}"
    if read.status != "deferred":
        return ""
    if not parked:
        return "other jobs"
    if task := job.text("heori_paused"):
        return f"its task {task} to be resumed"
    with suppress(MalformedJob):
        options = job.record.fields.get("heori_options")
        if isinstance(options, bytes) and "rate" in parse_options(options):
            return "a lock or its rate" if job.text("heori_locks") else "its rate"
    return "a lock"


def waited(job: Job, now: float) -> float | None:
    """Seconds that a job has waited in its queue, until it began or now; None if it has not."""
    if job.enqueued_at is None:
        return None
    if job.status in _WAITING:
        return round(max(0.0, now - job.enqueued_at.timestamp()), 6)
    if job.started_at is None or job.started_at < job.enqueued_at:
        return None  # it was cancelled before, say
    return round((job.started_at - job.enqueued_at).total_seconds(), 6)


def ran(job: Job, now: float) -> float | None:
    """Seconds that a job has run, until it ended or now; None if it has not begun."""
    if job.started_at is None:
        return None
    if job.status == "started":
        return round(max(0.0, now - job.started_at.timestamp()), 6)
    if job.ended_at is None or job.ended_at < job.started_at:
        return None
    return round((job.ended_at - job.started_at).total_seconds(), 6)


def of_queue(job_id: str, queue: str) -> tuple[str, str, str]:
    """The first fields of a row."""
    return job_id, queue, queue.partition(TENANT)[2]


def iso(moment: datetime | None) -> str:
    """A time in ISO 8601; empty for never."""
    return moment.isoformat() if moment else ""


def _due(score: float) -> str:
    with suppress(*NONSENSE, OSError):
        return datetime.fromtimestamp(score, UTC).isoformat()
    return ""


def _number(text: str) -> float | None:
    with suppress(ValueError):
        number = float(text)
        return number if math.isfinite(number) else None
    return None

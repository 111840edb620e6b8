"""What Redis has of a job, as Django's Tasks framework tells of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from pydantic_core import from_json

from heori.django.framework import Task, TaskError, TaskResult, TaskResultStatus
from heori_common.protocol.commands import Commands
from heori_common.protocol.commands.sending import Result
from heori_common.protocol.job import Job
from heori_common.protocol.payload import (
    BadPayload,
    Call,
    decode_call,
    decode_failure,
    decode_result,
)
from heori_common.raised import Raised
from heori_common.redis.client import RedisClient
from heori_common.settings import MOST

_STATUSES = {
    "started": TaskResultStatus.RUNNING,
    "finished": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "stopped": TaskResultStatus.FAILED,
    "canceled": TaskResultStatus.FAILED,
}  # all others wait


@dataclass(frozen=True, slots=True)
class ReadJob:
    """A job, what it calls, and what came of it so far."""

    job: Job
    call: Call
    result: Result | None


def read(client: RedisClient, commands: Commands, job_id: str) -> ReadJob | None:
    """Read a job; None when there is none, or nobody can tell what it calls.

    Raises:
        RedisUnavailable: Redis cannot be reached.
    """
    # The job first: once it says that it has ended, its result is there.
    job = client.execute(commands.job(job_id))
    if job is None:
        return None
    result = client.execute(commands.result(job_id)) if job.ended_at else None
    try:
        return ReadJob(job, decode_call(job.data, ("json",), MOST), result)
    except BadPayload:
        return None


def told(found: ReadJob, task: Task, alias: str) -> TaskResult:
    """The same, as Django has it."""
    job = found.job
    status = _STATUSES.get(job.status, TaskResultStatus.READY)
    has_ended = status in (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)
    started = _moment(job.started_at)
    made = TaskResult(
        task=task.using(queue_name=job.queue),
        id=job.id,
        status=status,
        enqueued_at=_moment(job.enqueued_at or job.created_at),
        started_at=started,
        finished_at=_moment(job.ended_at) if has_ended else None,
        last_attempted_at=started,
        args=list(found.call.args),
        kwargs=dict(found.call.kwargs),
        backend=alias,
        errors=[_error(found)] if status == TaskResultStatus.FAILED else [],
        # Redis keeps who has begun it last, and how often it was begun.
        worker_ids=[job.consumer] * (job.deliveries or 0),
    )
    if status == TaskResultStatus.SUCCESSFUL:
        object.__setattr__(made, "_return_value", _value(found.result))
    return made


def _value(result: Result | None) -> Any:
    if result is None or result.return_value is None:
        return None
    return from_json(decode_result(result.return_value))


def _error(found: ReadJob) -> TaskError:
    result = found.result
    text = found.job.reason
    if result is not None and result.exc_string is not None:
        text = decode_failure(result.exc_string)
    raised = Raised.decode(result.error) if result is not None and result.error else None
    if raised is not None:
        path = f"{raised.module}.{raised.name}"
    else:  # nothing was raised: it was cancelled, or its worker has died
        path = "heori.JobCanceled" if found.job.status == "canceled" else "heori.JobFailed"
    return TaskError(exception_class_path=path, traceback=text)


def _moment(moment: datetime | None) -> datetime | None:
    """As Django's own clock has it: naive where USE_TZ is off."""
    if moment is None or settings.USE_TZ:
        return moment
    naive: datetime = timezone.make_naive(moment)
    return naive

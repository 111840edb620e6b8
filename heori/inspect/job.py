"""One job as people and scripts are shown it."""

import json
from typing import Any

from heori_common.protocol.commands import Commands
from heori_common.protocol.job import Job
from heori_common.protocol.payload import BadPayload, decode_failure, decode_result
from heori_common.redis.client import RedisClient


def read(client: RedisClient, commands: Commands, job_id: str) -> dict[str, Any] | None:
    """What there is to know of a job, with its result or error; None when there is no such job.

    Raises:
        MalformedJob: a field of it makes no sense.
        RedisRefused: its key holds no job.
        RedisUnavailable: Redis cannot be reached.
    """
    job = client.execute(commands.job(job_id))
    if job is None:
        return None
    due = client.execute(commands.due(job.queue, job.id)) if job.status == "scheduled" else None
    shown = _describe(job)
    if due is not None:
        shown["due_at"] = due.isoformat()
    if job.unknown and job.status in ("scheduled", "queued"):
        shown["waits_for"] = f"a consumer whose code knows its task: {job.unknown}"
        shown["waits_since"] = job.unknown_since.isoformat() if job.unknown_since else None
    result = client.execute(commands.result(job_id))
    if result is not None and result.exc_string is not None:
        shown["error"] = decode_failure(result.exc_string)
    elif result is not None and result.return_value is not None:
        try:
            shown["result"] = json.loads(decode_result(result.return_value))
        except BadPayload as error:
            shown["error"] = str(error)
    return shown


def _describe(job: Job) -> dict[str, Any]:
    moments = {
        "created_at": job.created_at,
        "enqueued_at": job.enqueued_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }
    return {
        "id": job.id,
        "status": job.status,
        "queue": job.queue,
        "call": job.description,
        "timeout": job.timeout,
        **{name: moment.isoformat() for name, moment in moments.items() if moment},
        "consumer": job.consumer,
        "deliveries": job.deliveries,
        "restarts": job.restarts,
    }

"""One job as people and scripts are shown it."""

import contextlib
import json
import math
from base64 import b64decode
from typing import Any

from heori.inspect.reader import RedisReader
from heori_common.errors import short
from heori_common.protocol.job import Job
from heori_common.protocol.meta import shown_meta
from heori_common.protocol.payload import BadPayload, decode_failure, decode_result
from heori_common.protocol.unpickling import Pickles

_VALUES_ONLY = Pickles(())  # of plain values; to read one runs nothing


def read(reader: RedisReader, job_id: str) -> dict[str, Any] | None:
    """What there is to know of a job, with its result or error.

    None when there is no such job; or when its key holds something else, which the reader notes.

    Raises:
        RedisUnavailable, RedisRefused: as `RedisReader`.
    """
    commands = reader.commands
    job = reader.read(commands.job(job_id))
    if job is None:
        return None
    if job.problems:
        reader.note(commands.keys.job(job_id), "; ".join(job.problems))
    due = reader.read(commands.due(job.queue, job.id)) if job.status == "scheduled" else None
    shown = _describe(job)
    if due is not None:
        shown["due_at"] = due.isoformat()
    if job.unknown and job.status in ("scheduled", "queued"):
        shown["waits_for"] = f"a consumer whose code knows its task: {job.unknown}"
        shown["waits_since"] = job.unknown_since.isoformat() if job.unknown_since else None
    if job.reason:
        shown["reason"] = job.reason
    if meta := shown_meta(job.meta):
        shown["meta"] = meta
    result = reader.read(commands.result(job_id))
    if result is not None and result.exc_string is not None:
        shown["error"] = decode_failure(result.exc_string)
    elif result is not None and result.return_value is not None:
        try:
            shown["result"] = _result(result.return_value)
        except BadPayload as error:
            shown["error"] = str(error)
    return shown


def _result(field: bytes) -> Any:
    """The value of a result, if JSON has it, too; it may be the pickle of such a value.

    Raises:
        BadPayload: it is something else.
    """
    try:
        return _loads(decode_result(field))
    except BadPayload as error:
        try:
            value = _VALUES_ONLY.loads(b64decode(field, validate=True))
        except Exception:  # no pickle, or of more than values
            raise error from None
        with contextlib.suppress(TypeError, ValueError):
            same = _loads(json.dumps(value).encode())
            if same == value:  # a tuple becomes a list
                return same
        raise BadPayload(
            f"the result is {short(value)}, which JSON has not; read it with rq"
        ) from None


def _loads(text: bytes) -> Any:
    """A JSON value that can be written as JSON again: without NaN and infinity."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


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

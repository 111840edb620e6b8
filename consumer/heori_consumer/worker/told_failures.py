"""Has middleware hear of each try of a job that has failed, whoever has noticed it."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from heori_common.errors import short, summary
from heori_common.middleware import JobFailure
from heori_common.protocol.job import Claim, MalformedJob, parse_retries
from heori_common.protocol.payload import BadPayload, decode_call
from heori_common.protocol.records import JobFields
from heori_consumer.worker.middleware import Chain
from heori_consumer.worker.running_job import UNKNOWN, RunningJob

LONGEST_CHARS = 1000  # of all arguments
MOST_BYTES = 1_000_000  # of a call that is read


def tell_failed(
    chain: Chain, job: RunningJob, consumer: str, outcome: str, error: BaseException
) -> None:
    """A job of this worker has failed."""
    if chain.hears_errors:
        chain.on_error(
            JobFailure(
                job=job.id,
                task=job.task,
                queue=job.queue,
                consumer=consumer,
                attempt=job.attempt,
                delivery=job.delivery,
                arguments=shown(*job.arguments),
                outcome=outcome,
                reason=summary(error),
                error=error,
            )
        )


def tell_died(
    chain: Chain, claim: Claim, task: str, consumer: str, outcome: str, reason: str
) -> None:
    """A job of another worker has failed with it, or was not ended by it in time."""
    if chain.hears_errors:
        called, attempt = _read(claim)
        chain.on_error(
            JobFailure(
                job=claim.job_id,
                task=task or called or UNKNOWN,
                queue=claim.queue,
                consumer=consumer,
                attempt=attempt,
                delivery=claim.deliveries,
                arguments="",
                outcome=outcome,
                reason=reason,
            )
        )


def shown(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Arguments as Python writes them, each cut where it is long."""
    values = [short(each) for each in args]
    values += [f"{name}={short(each)}" for name, each in kwargs.items()]
    text = ", ".join(values)
    return text if len(text) <= LONGEST_CHARS else f"{text[:LONGEST_CHARS]}..."


def _read(claim: Claim) -> tuple[str, int]:
    """The task that it calls, if JSON says it, and which try it was: as far as data tells.

    No code of others is run for it: it may be what kills.
    """
    if not claim.fields:  # of a large one, nothing is kept
        return "", 1
    fields = JobFields(*msgpack.unpackb(claim.fields, raw=True))
    task, attempt = "", 1
    with contextlib.suppress(BadPayload):
        task = decode_call(fields.data or b"", ("json",), MOST_BYTES).function
    with contextlib.suppress(MalformedJob):
        if retries := parse_retries(fields.retries_left or None, fields.retry_intervals or None):
            attempt = max(1, len(retries.intervals) - retries.left + 1)
    return task, attempt

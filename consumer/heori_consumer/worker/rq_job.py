"""rq's Job of a job that runs in this worker, for its function and its callbacks."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgpack

from heori_common.current_job import CurrentJob
from heori_common.protocol.job import Claim
from heori_common.protocol.records import JobFields
from heori_consumer.between.options import Policy
from heori_consumer.worker.running_job import RunningJob


def rq_job_of(policy: Policy, job: RunningJob) -> Any:
    """The one rq Job of a running job, which its function has perhaps asked for."""
    if job.rq_job is None:
        job.rq_job = make_job(policy, job)
    return job.rq_job


def make_job(policy: Policy, job: CurrentJob) -> Any:
    """What `rq.get_current_job()` gives to the function of a running job; imports rq."""
    from heori_common.rq.lazy_job import make_job  # noqa: PLC0415 - whoever asks has imported rq
    from heori_common.rq.serializers import serializer_of  # noqa: PLC0415 - as above

    assert isinstance(job, RunningJob)
    serializer = serializer_of(job.serializer, policy.pickles, policy.own_serializer)
    return make_job(job.id, policy.redis_url, serializer, partial(_read, job.claim))


def _read(claim: Claim, connection: Any, key: str) -> Mapping[bytes, bytes]:
    """The fields of its hash: as it was claimed with them, else as they are now."""
    if not claim.fields:  # nothing of them was read, as one makes no sense
        return dict(connection.hgetall(key))
    fields = JobFields(*msgpack.unpackb(claim.fields, raw=True))
    if claim.rest:
        packed = iter(msgpack.unpackb(claim.rest, raw=True))
        rest = dict(zip(packed, packed, strict=True))
        if b"" not in rest:  # it is all that there was
            return rest | {b"data": fields.data or b""}
    if found := connection.hgetall(key):
        return dict(found)
    # It was deleted meanwhile; in rq its function does not see that either.
    known = fields._asdict().items()
    return {name.encode(): value for name, value in known if isinstance(value, bytes)}

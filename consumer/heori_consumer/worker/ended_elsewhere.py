"""What is still to be run for a job that has ended elsewhere: its callback for that."""

from typing import NamedTuple

from heori_common import logs
from heori_common.errors import summary
from heori_common.protocol.job import FAILED, STOPPED, abandoned_words
from heori_common.rq.calling import STOPPED_WORDS
from heori_consumer.worker.callbacks import Callbacks, Within
from heori_consumer.worker.running_job import RunningJob

log = logs.get_logger(__name__)


class EndedElsewhere(NamedTuple):
    """How a job has ended: its status, unless it has retries left, and in rq's words."""

    status: str
    words: str
    error: BaseException | None = None  # after which it may be tried again


def tell(job: RunningJob, callbacks: Callbacks, within: Within) -> EndedElsewhere:
    """Run its callback, and nothing else of it."""
    if job.claim.phase == STOPPED:
        callbacks.on_stopped(job, within)
        return EndedElsewhere(STOPPED, STOPPED_WORDS)
    from rq.exceptions import AbandonedJobError  # noqa: PLC0415 - few need rq

    error = AbandonedJobError()
    raised = callbacks.on_failure(job, error, within)
    if raised is not error:  # no failure of the job's, as with rq
        log.error("a failure callback has failed", job=job.id, error=summary(raised))
    callbacks.handle_exception(job, error)
    return EndedElsewhere(FAILED, abandoned_words(), error)

"""What comes of jobs that are not to fail here, as another consumer may run them."""

from heori_common import logs
from heori_common.errors import PerhapsElsewhere
from heori_common.protocol.job import REFUSED, UNKNOWN_HERE
from heori_common.protocol.payload import encode_failure
from heori_consumer.between.options import Policy
from heori_consumer.worker.failures import bounded_text
from heori_consumer.worker.running_job import RunningJob

log = logs.get_logger(__name__)

# Why jobs are not known here: so many reasons are told, once each. Anybody who can write to Redis
# invents tasks.
MOST_UNKNOWN = 20


class Refusal:
    """Tells whether it is the code or a setting of this consumer that keeps a job from running."""

    def __init__(self, policy: Policy) -> None:
        self._wait = policy.unknown_wait
        self._unknown: set[str] = set()  # what was told to be unknown here

    def of(self, job: RunningJob, error: BaseException) -> tuple[str, bytes] | None:
        """The status and body of the job's outcome; None if what it has raised is its own doing."""
        if not issubclass(type(error), PerhapsElsewhere):  # its __class__ may be anything
            return None
        reason = bounded_text(str(error))
        if getattr(error, "mend", ""):
            return REFUSED, reason.encode()
        if not self._wait or not getattr(error, "elsewhere", False):
            return None
        if reason not in self._unknown:
            self._tell_unknown(job, reason)
        text = (
            f"{reason}; no consumer of {job.queue} that has had this job knows it "
            f"(HEORI_UNKNOWN_WAIT={self._wait:g})\n"
        )
        return UNKNOWN_HERE, encode_failure(text)

    def _tell_unknown(self, job: RunningJob, reason: str) -> None:
        if len(self._unknown) >= MOST_UNKNOWN:
            return
        self._unknown.add(reason)
        log.warning(
            "a job waits for a consumer whose code knows its task; this is told once",
            job=job.id,
            error=reason,
        )
        if len(self._unknown) == MOST_UNKNOWN:
            log.warning("of further tasks that nobody here knows nothing is told; see heori doctor")

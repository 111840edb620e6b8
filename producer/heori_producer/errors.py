"""What can go wrong for a producer, and the exception of a failed job, made anew."""

import heori_common.locks.errors  # noqa: F401 - jobs raise them: `original` must know them
from heori_common.errors import HeoriError
from heori_common.printable import LINES, printable
from heori_common.public import public
from heori_common.raised import Raised


@public
class JobFailed(HeoriError, RuntimeError):
    """The job failed; the message is its traceback, as a terminal may be shown it.

    Attributes:
        job_id: which job.
        traceback: the text that the consumer recorded: causes and notes of the error are in it.
        error_type: the class of what the job raised, such as ``json.decoder.JSONDecodeError``;
            None if that is not known, as of a job that crashed or that a stock rq worker ran.
        error_text: what `str` said of it; None likewise.
        error_notes: that were added to it.
    """

    def __init__(self, job_id: str, traceback: str, error: bytes | None = None) -> None:
        """Make one.

        Args:
            error: what the job raised, as its worker has written it.
        """
        super().__init__(f"job {printable(job_id)} {self._how(printable(traceback, kept=LINES))}")
        raised = None if error is None else Raised.decode(error)
        self.job_id = job_id
        self.traceback = traceback
        self.error_type = raised and raised.type
        self.error_text = raised and raised.text
        self.error_notes = raised.notes if raised else []
        self._error = error

    def _how(self, told: str) -> str:
        return f"failed:\n{told}"


@public
class JobCanceled(JobFailed):
    """The job was cancelled before it began.

    Attributes:
        reason: why, if anybody has said; else empty.
    """

    def __init__(self, job_id: str, reason: str = "") -> None:
        super().__init__(job_id, reason)
        self.reason = reason

    def _how(self, told: str) -> str:
        return f"was canceled: {told}" if told else "was canceled"


@public
class JobExpired(JobCanceled):
    """The job was not run, as its `expires` was over before a slot was free for it."""

    def _how(self, told: str) -> str:
        return told or "expired"


@public
class JobNotFound(HeoriError, LookupError):
    """There is no such job: it was never sent, was deleted, or its result has expired."""


def original(failed: JobFailed) -> Exception:
    """The exception that the job raised, made anew, with the failure as its cause.

    Only where its worker has seen that this is exact, and only of a class that is built in or that
    this program has imported: a name read from Redis makes nothing be imported.
    """
    raised = None if failed._error is None else Raised.decode(failed._error)
    error = None if raised is None else raised.made_anew()
    if error is None:
        return failed
    error.__cause__ = failed
    return error

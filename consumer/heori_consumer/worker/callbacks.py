"""What rq has run after a job: the callbacks that it carries, and the worker's exception handlers.

Called in the slot, in the order of ``rq.worker.BaseWorker.perform_job``, and with rq's own code
around them. Of a job that asks for none of it, rq is not even imported.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from heori_common import logs, resolution
from heori_common.rq.named import named
from heori_common.tasks import UnknownTask
from heori_consumer.between.options import Policy
from heori_consumer.worker.rq_job import rq_job_of
from heori_consumer.worker.running_job import RunningJob

log = logs.get_logger(__name__)

T = TypeVar("T")
Kind = Literal["success", "failure", "stopped"]


class Within(Protocol):
    """Calls a function in this thread, and ends it after so many seconds."""

    def __call__(self, seconds: float, function: Callable[[], T]) -> T:
        """Call it; 0 or less for no limit.

        Raises:
            JobTimeout, JobStopped: it was ended.
        """


class Callbacks:
    """Those of the jobs of one worker process.

    Args:
        policy: what may be called: a callback needs the permission that a job's function needs.
            Exception handlers need none, as the command line names them.

    Raises:
        NotThere: an exception handler is not.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._handlers = tuple(
            named("--exception-handler", name) for name in policy.exception_handlers
        )

    def on_success(self, job: RunningJob, value: object, within: Within) -> None:
        """Run the success callback, if there is one; what it raises is the job's failure."""
        if not job.claim.rest:
            return
        from heori_common.rq.versions import note_success  # noqa: PLC0415 - see above

        rq_job = self._ended(job)
        rq_job._result = value
        note_success(rq_job)
        self._run("success", rq_job, within, value)

    def on_failure(self, job: RunningJob, error: BaseException, within: Within) -> BaseException:
        """Run the failure callback, if there is one, at each attempt that has failed.

        Returns:
            What to tell of as the job's failure: the error, or what the callback has raised.
        """
        if not job.claim.rest:
            return error
        from heori_common.rq.versions import note_failure  # noqa: PLC0415 - see above

        try:
            rq_job = self._ended(job)
            note_failure(rq_job)
            self._run("failure", rq_job, within, type(error), error, error.__traceback__)
        except BaseException as other:  # a callback may raise anything
            return other
        return error

    def on_stopped(self, job: RunningJob, within: Within) -> None:
        """Run the stopped callback, if there is one; what it raises is logged."""
        if not job.claim.rest:
            return
        try:
            self._run("stopped", rq_job_of(self._policy, job), within)
        except BaseException:  # as above
            log.exception("a stopped callback has failed", job=job.id)

    def handle_exception(self, job: RunningJob, error: BaseException) -> None:
        """Call the exception handlers of this consumer, in their order, until one returns False.

        What one of them raises is logged; the job has failed by its own error.
        """
        if not self._handlers:
            return
        from heori_common.rq.versions import note_failure  # noqa: PLC0415 - see above

        try:
            rq_job = self._ended(job)
            note_failure(rq_job)
            for handler in self._handlers:
                goes_on = handler(rq_job, type(error), error, error.__traceback__)
                if goes_on is not None and not goes_on:
                    break
        except Exception:
            log.exception("an exception handler has failed", job=job.id)

    def _ended(self, job: RunningJob) -> Any:
        rq_job = rq_job_of(self._policy, job)
        rq_job.ended_at = datetime.now(UTC)
        return rq_job

    def _run(self, kind: Kind, rq_job: Any, within: Within, *told: Any) -> None:
        from heori_common.rq.versions import run_callback  # noqa: PLC0415 - see above

        name = getattr(rq_job, f"_{kind}_callback_name")
        if not name:
            return
        resolution.check_allowed(name, self._policy.allow)  # of a job that was not begun
        try:
            found = resolution.resolve(name, self._policy.allow)
        except UnknownTask as error:
            # In rq's words; and the function of the job has run, so that nobody else is to try it.
            raise ValueError(f"Invalid attribute name: {name.rpartition('.')[2]}") from error
        setattr(rq_job, f"_{kind}_callback", found.function)  # else rq would look for it anywhere
        seconds = getattr(rq_job, f"{kind}_callback_timeout")
        within(seconds, partial(run_callback, kind, rq_job, *told))

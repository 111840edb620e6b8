"""What runs around each job in its worker, and what Heori itself does through it."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from heori_common.current_job import CurrentJob
from heori_common.middleware import JobFailure, Middleware, implements, make
from heori_consumer.worker.failures import FailureNotes


class NoteFailures(Middleware):
    """Has each job that fails logged, as `FailureNotes` says; none that does not."""

    def __init__(self, notes: FailureNotes) -> None:
        self._notes = notes

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Note it."""
        self._notes.note("job failed", "task", job.task, job.id, error)


class Chain:
    """All middleware of one worker: before in their order, after and on_failure in reverse.

    It measures each job's run time, from which all metrics about it are counted: from the last that
    comes before the job to the first that comes after it. Until then `run_time` is the negative
    reading of the clock.
    """

    def __init__(self, names: Sequence[str], notes: FailureNotes) -> None:
        """Make them.

        Args:
            names: of the classes that the settings name.
            notes: where failures are noted, those of middleware included.

        Raises:
            InvalidSetting: a name leads nowhere.
        """
        chain: list[Middleware] = [NoteFailures(notes), *make(names)]
        self._notes = notes
        self._before = _implemented(chain, "before")
        self._after = _implemented(chain[::-1], "after")
        self._on_failure = _implemented(chain[::-1], "on_failure")
        self._on_error = _implemented(chain[::-1], "on_error")

    def before(self, job: CurrentJob) -> None:
        """Call all; what one raises is the job's failure."""
        for call in self._before:
            call(job)
        job.run_time = -time.perf_counter()

    def after(self, job: CurrentJob, result: object) -> None:
        """Call all, whatever one of them raises."""
        job.run_time += time.perf_counter()
        for call in self._after:
            self._guarded(call, job, result)

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Call all, whatever one of them raises."""
        if job.run_time < 0:  # else it was not even started
            job.run_time += time.perf_counter()
        for call in self._on_failure:
            self._guarded(call, job, error)

    @property
    def hears_errors(self) -> bool:
        """Whether any wants to hear of `on_error`."""
        return bool(self._on_error)

    def on_error(self, failure: JobFailure) -> None:
        """Call all, whatever one of them raises."""
        for call in self._on_error:
            try:
                call(failure)
            except Exception as error:  # as below
                self._note(call, failure.job, error)

    def _guarded(self, call: Callable[..., None], job: CurrentJob, about: object) -> None:
        try:
            call(job, about)
        except Exception as error:  # the job has ended; nothing of it may be lost for this
            self._note(call, job.id, error)

    def _note(self, call: Callable[..., None], job: str, error: Exception) -> None:
        name = call.__qualname__
        self._notes.note("middleware failed", "middleware", name, job, error, logging.ERROR)


def _implemented(chain: Sequence[Middleware], hook: str) -> list[Callable[..., Any]]:
    return [getattr(each, hook) for each in chain if implements(type(each), hook)]

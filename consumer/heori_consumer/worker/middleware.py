"""What runs around each job in its worker: a protocol, and what Heori itself does through it.

    class Tracing(Middleware):
        def before(self, job: CurrentJob) -> None:
            tracer.start(job.id, job.task)

        def after(self, job: CurrentJob, result: object) -> None:
            tracer.end(job.id)

``HEORI_MIDDLEWARE=myapp.middleware.Tracing`` names classes; each worker process makes one of
each, without arguments, and calls it from all its slots.
"""

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from heori_common.current_job import CurrentJob
from heori_common.public import public
from heori_consumer.worker.failures import FailureNotes


@public
class Middleware:
    """Called in the thread or event loop of each job; what a subclass leaves out does nothing."""

    def before(self, job: CurrentJob) -> None:
        """Called before the task. What it raises fails the job instead of running it."""

    def after(self, job: CurrentJob, result: object) -> None:
        """Called after the task has returned. What it raises is logged."""

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Called when the task has raised, or could not be run. What it raises is logged."""


class Timing(Middleware):
    """Measures each job's run time, from which all metrics about it are counted."""

    def before(self, job: CurrentJob) -> None:
        """Start the clock: until it is stopped, `run_time` is its negative reading."""
        job.run_time = -time.perf_counter()

    def after(self, job: CurrentJob, result: object) -> None:  # noqa: ARG002
        """Stop the clock."""
        job.run_time += time.perf_counter()

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:  # noqa: ARG002
        """Stop the clock, unless the job was not even started."""
        if job.run_time < 0:
            job.run_time += time.perf_counter()


class NoteFailures(Middleware):
    """Has each job that fails logged, as `FailureNotes` says; none that does not."""

    def __init__(self, notes: FailureNotes) -> None:
        self._notes = notes

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Note it."""
        self._notes.note("job failed", "task", job.task, job.id, error)


class Chain:
    """All middleware of one worker: before in their order, after and on_failure in reverse."""

    def __init__(self, names: Sequence[str], notes: FailureNotes) -> None:
        """Make them.

        Args:
            names: of the classes that the settings name.
            notes: where failures are noted, those of middleware included.

        Raises:
            ImportError: a name leads nowhere.
        """
        chain: list[Middleware] = [NoteFailures(notes), *(_make(name) for name in names), Timing()]
        self._notes = notes
        self._before = _implemented(chain, "before")
        self._after = _implemented(chain[::-1], "after")
        self._on_failure = _implemented(chain[::-1], "on_failure")

    def before(self, job: CurrentJob) -> None:
        """Call all; what one raises is the job's failure."""
        for call in self._before:
            call(job)

    def after(self, job: CurrentJob, result: object) -> None:
        """Call all, whatever one of them raises."""
        for call in self._after:
            self._guarded(call, job, result)

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Call all, whatever one of them raises."""
        for call in self._on_failure:
            self._guarded(call, job, error)

    def _guarded(self, call: Callable[..., None], job: CurrentJob, about: object) -> None:
        try:
            call(job, about)
        except Exception as error:  # the job has ended; nothing of it may be lost for this
            name = call.__qualname__
            self._notes.note("middleware failed", "middleware", name, job.id, error, logging.ERROR)


def _make(name: str) -> Middleware:
    module, _, attribute = name.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except (AttributeError, ValueError, TypeError) as error:
        raise ImportError(f"HEORI_MIDDLEWARE: {name} is no class to make: {error}") from error
    if isinstance(made, Middleware):
        return made
    raise ImportError(f"HEORI_MIDDLEWARE: {name} is not derived from heori.Middleware")


def _implemented(chain: Sequence[Middleware], hook: str) -> list[Callable[..., Any]]:
    """Those that do something: a call that does nothing costs each job a little."""
    nothing = getattr(Middleware, hook)
    return [getattr(each, hook) for each in chain if getattr(type(each), hook, None) is not nothing]

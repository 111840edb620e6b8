"""What fails in a worker: as its producer gets to know it, and noted for its supervisor's log."""

import logging
import threading
import traceback
from pathlib import Path
from types import TracebackType

from heori_common.current_job import JobStopped, JobTimeout
from heori_common.errors import summary
from heori_common.raised import Raised
from heori_common.rq import calling
from heori_consumer.between.failures import Failure

# Raised from outside, wherever the job is just then.
_ANYWHERE = (JobTimeout, JobStopped)
# What is kept of an error's text, in characters: its beginning and its end.
LONGEST_TEXT_CHARS = 100_000
# Whose frames stand above those of a task.
_OURS = (str(Path(__file__).parent), calling.__file__)


class FailureNotes:
    """What has failed since it was asked last.

    Two failures are of one kind if it is the same task that raises the same exception in the same
    line of code. What the exception says may differ: there may be a number in it.
    """

    def __init__(self) -> None:
        self._notes: dict[tuple[object, ...], Failure] = {}
        self._lock = threading.Lock()

    def note(
        self,
        event: str,
        what: str,
        name: str,
        job: str,
        error: BaseException,
        level: int = logging.WARNING,
    ) -> None:
        """Note a failure; see `Failure`."""
        raised = None if issubclass(type(error), _ANYWHERE) else _raised(error.__traceback__)
        kind = (event, name, id(type(error)), raised)
        known = self._notes.get(kind)
        if known is None:
            # It runs code of the exception's, which may run anything; so not under the lock.
            text = summary(error)
            place = f"{text.partition(':')[0]} {raised}"
            known = Failure(event, what, name, place, text, job, 0, level)
        with self._lock:
            times = self._notes[kind].times if kind in self._notes else 0
            self._notes[kind] = known._replace(job=job, times=times + 1)

    def take(self) -> list[Failure]:
        """All that was noted."""
        if not self._notes:
            return []
        with self._lock:
            notes, self._notes = self._notes, {}
        return list(notes.values())


def as_it_travels(error: BaseException) -> bytes | None:
    """An exception for whoever waits for the job, beside its traceback."""
    try:
        raised = Raised.of(error)
        # It says that this job was ended, and elsewhere it would say so of another.
        if issubclass(type(error), _ANYWHERE):
            raised = raised._replace(copy=None)
        return raised.encode()
    except BaseException:  # what a task has raised may run anything
        return None


def describe(error: BaseException) -> str:
    """A traceback as RQ keeps it, less our own frames at its top."""
    trace = theirs = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(_OURS):
            theirs = trace.tb_next
        trace = trace.tb_next
    theirs = theirs or error.__traceback__
    try:
        text = "".join(traceback.format_exception(type(error), error, theirs))
    except BaseException:  # printing what a task has raised may run anything
        text = "".join(traceback.format_tb(theirs)) + summary(error) + "\n"
    return bounded_text(text)


def bounded_text(text: str) -> str:
    """Both ends of a text that is too long to be kept."""
    if len(text) <= LONGEST_TEXT_CHARS:
        return text
    half = LONGEST_TEXT_CHARS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _raised(trace: TracebackType | None) -> tuple[str, int] | None:
    """The line of code that has raised something."""
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno

"""Where versions of rq differ, for what of its code is run in workers: 2.0 to 3.

Importing this imports rq.
"""

from importlib import import_module
from importlib.metadata import version
from types import TracebackType
from typing import Any, Literal

from rq.job import JobStatus

VERSION = tuple(map(int, version("rq").split(".")[:2]))

CallbackKind = Literal["success", "failure", "stopped"]


class NoLimit:
    """A death penalty of rq's that ends nothing, as Heori counts the time itself."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take what rq gives to one."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""


def run_callback(kind: CallbackKind, job: Any, *told: Any) -> None:
    """Call a callback of a job with rq's own code around it: what it refuses, and what it logs.

    Args:
        job: rq's Job.
        told: what the callback is given beside the job and its connection.

    Raises:
        BaseException: whatever the callback raises.
    """
    execute = f"execute_{kind}_callback"
    if VERSION >= (3, 0):
        getattr(import_module("rq.callbacks"), execute)(job, NoLimit, *told)
    else:
        getattr(job, execute)(NoLimit, *told)


def note_success(job: Any) -> None:
    """Have a job say that it has finished, though its record does not yet; since rq 2.7."""
    if VERSION >= (2, 7):
        job._status = JobStatus.FINISHED


def note_failure(job: Any) -> None:
    """Have a job say that it has failed, though its record does not yet."""
    job._status = JobStatus.FAILED

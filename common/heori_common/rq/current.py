"""`rq.get_current_job()` inside a job that Heori runs.

rq keeps the current job in a variable of its module `rq.job`. A stand-in takes that variable's
place: it asks rq's own variable first, and then Heori for the job that runs here. So a job costs
nothing until its function asks, and a worker whose tasks do not import rq never does.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from heori_common.current_job import CurrentJob, running_job
from heori_common.given_back import lock_given_back
from heori_common.importing import when_imported

Make = Callable[[CurrentJob], Any]

_making = lock_given_back()


def answer_for_rq(make: Make) -> None:
    """Have rq find the jobs of this process, now if it is imported, else as soon as it is.

    Args:
        make: makes rq's Job of a running job; called once for each that is asked for.
    """
    when_imported("rq.job", lambda module: _stand_in(module, make))


def current_rq_job(make: Make) -> Any:
    """rq's Job of the job that runs here, always the same one; None if none runs."""
    job = running_job()
    if job is None:
        return None
    with _making:  # its threads may ask, too
        if job.rq_job is None:
            job.rq_job = make(job)
    return job.rq_job


class _Variable:
    """In the place of the ContextVar of rq 3."""

    def __init__(self, own: Any, make: Make) -> None:
        self._own = own
        self._make = make

    def get(self) -> Any:
        own = self._own.get()
        return current_rq_job(self._make) if own is None else own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class _Stack:
    """In the place of the LocalStack of rq 2."""

    def __init__(self, own: Any, make: Make) -> None:
        self._own = own
        self._make = make

    @property
    def top(self) -> Any:
        own = self._own.top
        return current_rq_job(self._make) if own is None else own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def _stand_in(module: ModuleType, make: Make) -> None:
    for name, kind in (("_current_job", _Variable), ("_job_stack", _Stack)):
        own = getattr(module, name, None)
        if isinstance(own, kind):  # a process that was forked from one that has it
            own._make = make
        elif own is not None:
            setattr(module, name, kind(own, make))

"""Calls of strangers: functions that are no tasks, called where and as rq's work horse does.

rq gives each job a process of its own. A slot that is the main thread of its process is the nearest
to that: a late job is interrupted wherever it waits, what catches that has time to clean up, and to
stop a job is to kill the process.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from heori_common.rq import environ
from heori_common.rq.timeouts import job_timeout_as_rq
from heori_consumer.between.slot_table import AtStop, SlotTable
from heori_consumer.worker.interrupt import ThreadCalls
from heori_consumer.worker.running_job import RunningJob

T = TypeVar("T")

# What a late job has for its `except` and `finally` where it is alone in its process, in seconds:
# rq.worker.Worker.monitor_work_horse.
GRACE_S = 60.0


def call(job: RunningJob, thread: ThreadCalls, table: SlotTable) -> Any:
    """Call the function of a job in this thread.

    Raises:
        JobTimeout, JobStopped: it was ended.
        Whatever it raises.
    """
    mine = environ.inherited(job.id) if thread.is_main else contextlib.nullcontext()
    close_old_connections()
    try:
        with mine:
            at_stop = AtStop.IS_KILLED if thread.is_main else AtStop.ENDS
            return _call_until(job.deadline, job, thread, table, job.function, job.timeout, at_stop)
    finally:
        close_old_connections()


def before_callbacks(job: RunningJob, table: SlotTable, at_stop: AtStop) -> None:
    """Give callbacks time to begin, whatever the job has left: rq may be yet to be imported."""
    table.grant(job.slot, time.monotonic() + GRACE_S, at_stop)


def call_within(
    seconds: float,
    job: RunningJob,
    thread: ThreadCalls,
    table: SlotTable,
    function: Callable[[], T],
    at_stop: AtStop,
) -> T:
    """Call what belongs to a job, such as a callback, in this thread.

    Args:
        seconds: that it may take; 0 or less for any time.
        at_stop: what becomes of it when the job is to stop.

    Raises:
        As `call`.
    """
    deadline = time.monotonic() + seconds if seconds > 0 else float("inf")
    return _call_until(deadline, job, thread, table, function, seconds, at_stop)


def _call_until(
    deadline: float,
    job: RunningJob,
    thread: ThreadCalls,
    table: SlotTable,
    function: Callable[[], T],
    seconds: float,
    at_stop: AtStop,
) -> T:
    late = partial(job_timeout_as_rq, seconds)
    table.grant(job.slot, deadline + GRACE_S if thread.is_main else deadline, at_stop)
    return thread.call(job.number, deadline, function, late)


def close_old_connections() -> None:
    """As Django does around a request: a connection that a server has closed stays open else."""
    if (db := sys.modules.get("django.db")) is not None:
        with contextlib.suppress(Exception):  # Django is not configured, say
            db.close_old_connections()

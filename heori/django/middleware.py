"""Keeps a database connection that its server has closed from failing the next job.

Django does this at the beginning and end of each request, and jobs are in none.
"""

from asgiref.sync import SyncToAsync
from django.db import close_old_connections

from heori_common.current_job import CurrentJob
from heori_common.middleware import Middleware
from heori_common.tasks import registered


class CloseOldConnections(Middleware):
    """Closes connections that are broken, or older than CONN_MAX_AGE, around each job."""

    def before(self, job: CurrentJob) -> None:
        """Close them, so that the job opens what it needs."""
        _close(job)

    def after(self, job: CurrentJob, result: object) -> None:  # noqa: ARG002
        """Close them, so that none is kept longer than it should be."""
        _close(job)

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:  # noqa: ARG002
        """Close them, as the job may have failed by one."""
        _close(job)


def _close(job: CurrentJob) -> None:
    """Close those of the thread in which the job's code uses the database.

    A coroutine does so in the one thread to which asgiref sends all such code. That takes one call
    after the other, and this comes before the job's own.
    """
    task = registered().get(job.task)
    if task is not None and task.is_async:
        SyncToAsync.single_thread_executor.submit(close_old_connections)
    else:
        close_old_connections()

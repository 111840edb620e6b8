"""The environment variables that rq gives a job: RQ_WORKER_ID and RQ_JOB_ID.

rq runs one job in a process, where both are as constant as any. Here one process may run several
jobs at once, so `os.environ` looks up whose job asks. Programs that a job starts inherit RQ_JOB_ID
only in the main thread, which runs one job at a time.
"""

import contextlib
import os
from collections.abc import Iterator

from heori_common.current_job import running_job

WORKER_ID, JOB_ID = "RQ_WORKER_ID", "RQ_JOB_ID"


class _OfJobs(os._Environ[str]):
    """As `os.environ`, but that a running job finds its id."""

    def __getitem__(self, key: str) -> str:
        if key == JOB_ID and (job := running_job()) is not None:
            return job.id
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        known = list(super().__iter__())
        return iter(known if JOB_ID in known or running_job() is None else [*known, JOB_ID])

    def __len__(self) -> int:
        return len(list(iter(self)))


def tell_jobs(worker: str) -> None:
    """Have the jobs of this process find the name of their worker, and each its id."""
    os.environ[WORKER_ID] = worker
    os.environ.__class__ = _OfJobs


@contextlib.contextmanager
def inherited(job_id: str) -> Iterator[None]:
    """Have programs that this process starts meanwhile find this id."""
    os.environ[JOB_ID] = job_id
    try:
        yield
    finally:
        os.environ.pop(JOB_ID, None)

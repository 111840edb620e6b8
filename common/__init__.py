"""What producers and consumers share: settings, tasks, the protocol, the broker."""

from common.current import CurrentJob, JobStopped, JobTimeout, current_job
from common.retry import Retry
from common.tasks import InvalidArguments, Task, UnknownTask, task

__all__ = [
    "CurrentJob",
    "InvalidArguments",
    "JobStopped",
    "JobTimeout",
    "Retry",
    "Task",
    "UnknownTask",
    "current_job",
    "task",
]

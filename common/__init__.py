"""What producers and consumers share: settings, tasks, the protocol, the broker."""

from common.retry import Retry
from common.tasks import InvalidArguments, Task, UnknownTask, task

__all__ = ["InvalidArguments", "Retry", "Task", "UnknownTask", "task"]

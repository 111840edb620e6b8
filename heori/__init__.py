"""Heori: a distributed producer-consumer service over Redis, in RQ's job format.

    from heori import Producer, task

This is the only module that programs import. Its names are loaded when they are first used, so that
`import heori` alone loads neither redis nor anything that draws.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heori_common.current_job import CurrentJob, JobStopped, JobTimeout, current_job
    from heori_common.errors import HeoriError, InvalidSetting
    from heori_common.locks.errors import (
        DeadlockDetected,
        FencedOut,
        LockError,
        LockLost,
        NotHeld,
        Step,
    )
    from heori_common.locks.fence import Fence, require
    from heori_common.locks.lock import Lock, Mutex, Semaphore, acquire_all
    from heori_common.locks.lockable import Lockable
    from heori_common.locks.owner import LockOwner
    from heori_common.locks.status import Party, Status
    from heori_common.protocol.commands import Progress
    from heori_common.protocol.job import MalformedJob
    from heori_common.protocol.payload import BadPayload, PayloadTooLarge
    from heori_common.redis.errors import RedisRefused, RedisUnavailable
    from heori_common.redis.redis_py import connect
    from heori_common.retry import Retry
    from heori_common.settings import Settings
    from heori_common.tasks import InvalidArguments, InvalidResult, Task, UnknownTask, task
    from heori_common.worker_hooks import on_worker_end, on_worker_start
    from heori_consumer.worker.middleware import Middleware
    from heori_producer.backpressure import QueueFull
    from heori_producer.client import Producer
    from heori_producer.errors import JobCanceled, JobFailed, JobNotFound
    from heori_producer.executor import JobFuture, RedisExecutor
    from heori_producer.group import Group, GroupProgress, group
    from heori_producer.handle import Handle

__all__ = [
    "BadPayload",
    "CurrentJob",
    "DeadlockDetected",
    "Fence",
    "FencedOut",
    "Group",
    "GroupProgress",
    "Handle",
    "HeoriError",
    "InvalidArguments",
    "InvalidResult",
    "InvalidSetting",
    "JobCanceled",
    "JobFailed",
    "JobFuture",
    "JobNotFound",
    "JobStopped",
    "JobTimeout",
    "Lock",
    "LockError",
    "LockLost",
    "LockOwner",
    "Lockable",
    "MalformedJob",
    "Middleware",
    "Mutex",
    "NotHeld",
    "Party",
    "PayloadTooLarge",
    "Producer",
    "Progress",
    "QueueFull",
    "RedisExecutor",
    "RedisRefused",
    "RedisUnavailable",
    "Retry",
    "Semaphore",
    "Settings",
    "Status",
    "Step",
    "Task",
    "UnknownTask",
    "acquire_all",
    "connect",
    "current_job",
    "group",
    "on_worker_end",
    "on_worker_start",
    "require",
    "task",
]

# Which module defines what. What it defines is marked there with heori_common.public.
_HOMES = {
    "heori_common.current_job": ("CurrentJob", "JobStopped", "JobTimeout", "current_job"),
    "heori_common.errors": ("HeoriError", "InvalidSetting"),
    "heori_common.locks.errors": (
        "DeadlockDetected",
        "FencedOut",
        "LockError",
        "LockLost",
        "NotHeld",
        "Step",
    ),
    "heori_common.locks.fence": ("Fence", "require"),
    "heori_common.locks.lock": ("Lock", "Mutex", "Semaphore", "acquire_all"),
    "heori_common.locks.lockable": ("Lockable",),
    "heori_common.locks.owner": ("LockOwner",),
    "heori_common.locks.status": ("Party", "Status"),
    "heori_common.protocol.commands": ("Progress",),
    "heori_common.protocol.job": ("MalformedJob",),
    "heori_common.protocol.payload": ("BadPayload", "PayloadTooLarge"),
    "heori_common.redis.errors": ("RedisRefused", "RedisUnavailable"),
    "heori_common.redis.redis_py": ("connect",),
    "heori_common.retry": ("Retry",),
    "heori_common.settings": ("Settings",),
    "heori_common.tasks": ("InvalidArguments", "InvalidResult", "Task", "UnknownTask", "task"),
    "heori_common.worker_hooks": ("on_worker_end", "on_worker_start"),
    "heori_consumer.worker.middleware": ("Middleware",),
    "heori_producer.backpressure": ("QueueFull",),
    "heori_producer.client": ("Producer",),
    "heori_producer.errors": ("JobCanceled", "JobFailed", "JobNotFound"),
    "heori_producer.executor": ("JobFuture", "RedisExecutor"),
    "heori_producer.group": ("Group", "GroupProgress", "group"),
    "heori_producer.handle": ("Handle",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'heori' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

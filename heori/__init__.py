"""Heori: a distributed producer-consumer service over Redis, in RQ's job format.

    from heori import Producer, task

Programs import this module alone, and `heori.rq`, where the classes of workers for RQ are. Its
names are loaded when they are first used, so that `import heori` alone loads neither redis nor
anything that draws.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heori_common.calls import Flow, FlowFailure, FlowStep, TaskCall, TaskFunction
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
    from heori_common.middleware import JobFailure, Middleware, OutgoingJob
    from heori_common.protocol.commands import Progress
    from heori_common.protocol.job import MalformedJob
    from heori_common.protocol.payload import BadPayload, PayloadTooLarge
    from heori_common.redis.errors import RedisRefused, RedisUnavailable
    from heori_common.redis.redis_py import connect
    from heori_common.retry import Retry
    from heori_common.schedule import BadSchedule, Cron, Every
    from heori_common.settings import Settings
    from heori_common.tasks import InvalidArguments, InvalidResult, Task, UnknownTask, task
    from heori_common.worker_hooks import on_worker_end, on_worker_start
    from heori_producer.async_client import AsyncProducer
    from heori_producer.async_flow_handle import AsyncFlowHandle
    from heori_producer.async_handle import AsyncHandle
    from heori_producer.async_sender import AsyncSender
    from heori_producer.backpressure import QueueFull
    from heori_producer.client import Producer
    from heori_producer.errors import JobCanceled, JobExpired, JobFailed, JobNotFound
    from heori_producer.executor import JobFuture, RedisExecutor
    from heori_producer.flow import chain, group
    from heori_producer.flow_handle import FlowHandle
    from heori_producer.group import Group, GroupProgress
    from heori_producer.handle import Handle
    from heori_producer.options import Options
    from heori_producer.sender import Sender

__all__ = [
    "AsyncFlowHandle",
    "AsyncHandle",
    "AsyncProducer",
    "AsyncSender",
    "BadPayload",
    "BadSchedule",
    "Cron",
    "CurrentJob",
    "DeadlockDetected",
    "Every",
    "Fence",
    "FencedOut",
    "Flow",
    "FlowFailure",
    "FlowHandle",
    "FlowStep",
    "Group",
    "GroupProgress",
    "Handle",
    "HeoriError",
    "InvalidArguments",
    "InvalidResult",
    "InvalidSetting",
    "JobCanceled",
    "JobExpired",
    "JobFailed",
    "JobFailure",
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
    "Options",
    "OutgoingJob",
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
    "Sender",
    "Settings",
    "Status",
    "Step",
    "Task",
    "TaskCall",
    "TaskFunction",
    "UnknownTask",
    "acquire_all",
    "chain",
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
    "heori_common.calls": ("TaskCall", "Flow", "FlowFailure", "FlowStep", "TaskFunction"),
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
    "heori_common.middleware": ("JobFailure", "Middleware", "OutgoingJob"),
    "heori_common.schedule": ("BadSchedule", "Cron", "Every"),
    "heori_common.protocol.commands": ("Progress",),
    "heori_common.protocol.job": ("MalformedJob",),
    "heori_common.protocol.payload": ("BadPayload", "PayloadTooLarge"),
    "heori_common.redis.errors": ("RedisRefused", "RedisUnavailable"),
    "heori_common.redis.redis_py": ("connect",),
    "heori_common.retry": ("Retry",),
    "heori_common.settings": ("Settings",),
    "heori_common.tasks": ("InvalidArguments", "InvalidResult", "Task", "UnknownTask", "task"),
    "heori_common.worker_hooks": ("on_worker_end", "on_worker_start"),
    "heori_producer.async_client": ("AsyncProducer",),
    "heori_producer.async_flow_handle": ("AsyncFlowHandle",),
    "heori_producer.async_handle": ("AsyncHandle",),
    "heori_producer.async_sender": ("AsyncSender",),
    "heori_producer.backpressure": ("QueueFull",),
    "heori_producer.client": ("Producer",),
    "heori_producer.errors": ("JobCanceled", "JobExpired", "JobFailed", "JobNotFound"),
    "heori_producer.executor": ("JobFuture", "RedisExecutor"),
    "heori_producer.flow": ("chain", "group"),
    "heori_producer.flow_handle": ("FlowHandle",),
    "heori_producer.group": ("Group", "GroupProgress"),
    "heori_producer.handle": ("Handle",),
    "heori_producer.options": ("Options",),
    "heori_producer.sender": ("Sender",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'heori' has no attribute {name[:100]!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

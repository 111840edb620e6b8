"""The owner of a lock: an asyncio task or a thread, and the job that it runs for.

A lock must exclude whatever runs at the same time as its holder. So the owner is the task or the
thread itself: a contextvar is inherited by every task and `to_thread` call that is started from
a holder, and they run beside it.
"""

import asyncio
import os
import secrets
import socket
import threading
import weakref
from itertools import count
from typing import Any

import msgpack

from heori_common.current_job import CurrentJob, running_job
from heori_common.locks.commands import job_owner

Runner = asyncio.Task[Any] | threading.Thread


class Owner:
    """A task or a thread, while it runs one job, or none.

    Attributes:
        id: unique, for ever.
        about: host, pid, name and job, encoded, for people to read where they look into a lock.
        job: the one that it runs.
        known_as: by whom others know whom they wait for: for the first that uses a lock in a job,
            that is the job.
    """

    __slots__ = ("_runner", "about", "id", "job", "known_as")

    def __init__(self, runner: Runner, job: CurrentJob | None) -> None:
        self.id = new_id()
        self.job = job
        self.known_as = self.id
        if job is not None and job.owner is None:
            job.owner = self
            self.known_as = job_owner(job.id)
        self._runner = weakref.ref(runner)
        name = runner.get_name() if isinstance(runner, asyncio.Task) else runner.name
        self.about: bytes = msgpack.packb(
            [_host, os.getpid(), name, job.id if job else ""], unicode_errors="surrogateescape"
        )

    @property
    def is_gone(self) -> bool:
        """Whether its task or thread has ended, so that nobody is left to release its locks."""
        runner = self._runner()
        if isinstance(runner, asyncio.Task):
            return runner.done() or runner.get_loop().is_closed()
        return runner is None or not runner.is_alive()


class _Process:
    """What belongs to this process alone: a fork begins anew, and owns nothing."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.numbers = count()
        self.threads = threading.local()
        self.tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], Owner] = (
            weakref.WeakKeyDictionary()
        )


_host = socket.gethostname()
_process = _Process()


def _begin_anew() -> None:
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_begin_anew)


def process_id() -> str:
    """Of this process; unique, for ever."""
    return _process.id


def new_id() -> str:
    """An id that is never used again, here or elsewhere."""
    return f"{_process.id}-{next(_process.numbers):x}"


def current_owner() -> Owner:
    """The thread or the task that calls this."""
    process, job = _process, running_job()
    # The public way to ask whether a loop runs here raises an exception where none does.
    task = asyncio.current_task() if asyncio._get_running_loop() is not None else None
    owner: Owner | None
    if task is not None:
        owner = process.tasks.get(task)
        if owner is None or owner.job is not job:
            owner = process.tasks[task] = Owner(task, job)
        return owner
    owner = getattr(process.threads, "owner", None)
    if owner is None or owner.job is not job:
        owner = process.threads.owner = Owner(threading.current_thread(), job)
    return owner

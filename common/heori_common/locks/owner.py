"""The owner of a lock: an asyncio task or a thread, and the job that it runs for.

A lock must exclude whatever runs at the same time as its holder. So the owner is the task or the
thread itself: a contextvar is inherited by every task and `to_thread` call that is started from
a holder, and they run beside it. Who wants to pass a lock on says so, with a `LockOwner`.
"""

import asyncio
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import msgpack

from heori_common.current_job import CurrentJob, running_job
from heori_common.given_back import GivenBack, lock_given_back
from heori_common.locks.commands import job_owner
from heori_common.names import MAX_NAME_CHARS, check_name
from heori_common.printable import printable
from heori_common.process_id import process_id
from heori_common.public import public


@public
class LockOwner:
    """Holds locks in place of a thread or a task: whoever has this object may release them.

    ::

        with Mutex("account:5", owner=LockOwner()) as lock:
            yield lock  # and what comes after it may run in another thread

    All locks with the same owner are one holder's: a mutex is entered again by whoever uses it, and
    what they do at the same time is between them. Nobody is cancelled when it is lost. A lock that
    nobody releases is held until its process, or the job that has made the owner, has ended.

    Args:
        name: for people who look into a lock: 1 to 512 characters that can be seen.

    Raises:
        TypeError, ValueError: that is no name.
    """

    def __init__(self, name: str = "LockOwner") -> None:
        self.name = check_name("owner", name)
        self._job = running_job()
        self._process = _process
        self._owner = Owner(self, self._job)

    @property
    def owner(self) -> "Owner":
        """What it is to the locks of this process; a fork is another owner."""
        if self._process is not _process:
            self._process, self._owner = _process, Owner(self, None)
        return self._owner


Runner = asyncio.Task[Any] | threading.Thread | LockOwner


class Owner:
    """A task or a thread, while it runs one job, or none.

    Attributes:
        id: unique, for ever.
        about: host, pid, name and job, encoded, for people to read where they look into a lock.
        job: the one that it runs.
        known_as: by whom others know whom they wait for: for the first that uses a lock in a job,
            that is the job.
    """

    __slots__ = ("_has_ended", "_runner", "about", "id", "job", "known_as")

    def __init__(self, runner: Runner, job: CurrentJob | None) -> None:
        self.id = new_id()
        self.job = job
        self.known_as = self.id
        if job is not None and job.owner is None:
            with settling():  # another of its threads may use its first lock, too
                if job.owner is None:
                    job.owner = self
                    self.known_as = job_owner(job.id)
        self._has_ended = False
        self._runner = weakref.ref(runner)
        name = runner.get_name() if isinstance(runner, asyncio.Task) else runner.name
        self.about: bytes = msgpack.packb(
            [_host, os.getpid(), printable(name)[:MAX_NAME_CHARS], job.id if job else ""],
            unicode_errors="surrogateescape",
        )

    @property
    def is_passed_on(self) -> bool:
        """Whether it is no thread or task, but an object that is passed around."""
        return isinstance(self._runner(), LockOwner)

    @property
    def is_gone(self) -> bool:
        """Whether its task or thread has ended, so that nobody is left to release its locks."""
        runner = self._runner()
        if self._has_ended or runner is None:
            return True
        if isinstance(runner, asyncio.Task):
            return runner.done() or runner.get_loop().is_closed()
        return isinstance(runner, threading.Thread) and not runner.is_alive()

    def end(self, _: object = None) -> None:
        """Its task or thread has ended."""
        self._has_ended = True
        for tell in _when_ended:
            tell(self)


class _AtThreadEnd:
    """Is in a thread's local storage, and so goes when the thread ends.

    Attributes:
        owner: what the thread is now.
    """

    __slots__ = ("owner", "process")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.process = process_id()

    def __del__(self) -> None:
        # Neither when the interpreter ends, nor in a fork, which has none of the other threads.
        if not sys.is_finalizing() and self.process == process_id():
            self.owner.end()


class _Process:
    """What belongs to this process alone: a fork begins anew, and owns nothing."""

    def __init__(self) -> None:
        self.numbers = count()
        self.settling = lock_given_back()
        self.threads = threading.local()
        self.tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], Owner] = (
            weakref.WeakKeyDictionary()
        )


_host = socket.gethostname()
_process = _Process()
_when_ended: list[Callable[[Owner], object]] = []


def _begin_anew() -> None:
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_begin_anew)


def when_ended(tell: Callable[[Owner], object]) -> None:
    """Have this called when a task or a thread that was an owner ends, in that thread."""
    _when_ended.append(tell)


def settling() -> GivenBack:
    """Held while that is done which threads may do first at once."""
    return _process.settling


def new_id() -> str:
    """An id that is never used again, here or elsewhere."""
    return f"{process_id()}-{next(_process.numbers):x}"


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
            task.add_done_callback(owner.end)
        return owner
    owner = getattr(process.threads, "owner", None)
    if owner is None or owner.job is not job:
        owner = Owner(threading.current_thread(), job)
        process.threads.owner = owner
        at_end = getattr(process.threads, "at_end", None)
        if at_end is None:
            process.threads.at_end = _AtThreadEnd(owner)
        else:
            at_end.owner = owner
    return owner

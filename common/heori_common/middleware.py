"""What a program has done around each of its jobs: in its worker, and where it is sent.

    class Tracing(Middleware):
        def sending(self, job: OutgoingJob) -> None:
            job.meta["user"] = user.get()

        def before(self, job: CurrentJob) -> None:
            user.set(job.meta.get("user"))

``HEORI_MIDDLEWARE=myapp.middleware.Tracing`` names classes; each process makes one object of
each, without arguments, and calls it from all its threads. A program that only sends makes those
alone that have to do with sending.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heori_common.current_job import CurrentJob
from heori_common.errors import InvalidSetting
from heori_common.given_back import rlock_given_back
from heori_common.public import public


@public
@dataclass(frozen=True, slots=True, eq=False)
class OutgoingJob:
    """A job that is about to be sent.

    Attributes:
        id: the job's.
        task: its task's name.
        queue: the RQ queue that it goes to.
        args, kwargs: of its call; changing them changes nothing.
        meta: what travels with it; may be added to, within 16,384 bytes as JSON.
    """

    id: str
    task: str
    queue: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    meta: dict[str, Any]


@public
@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailure:
    """One try of a job that has failed, wherever that was noticed.

    Attributes:
        job: its id.
        task: its task's name, or what stands for it where that is not known.
        queue: which it came from.
        consumer: the name of the one that it ran in.
        attempt: which try of it this was, from 1.
        delivery: how often it was delivered since it was last enqueued, from 1.
        arguments: of its call, each cut to a hundred characters, as Python writes them: SecretStr
            and its like hide what they hold. Empty for a job whose worker has died: to read them
            again may be what kills.
        outcome: failed for good; retry; crashed, when its worker has died, so that it is delivered
            again unless that was too often; killed, when a person had its worker killed.
        reason: what there is to say of it, in a line.
        error: what it has raised; None if it could not.
    """

    job: str
    task: str
    queue: str
    consumer: str
    attempt: int
    delivery: int
    arguments: str
    outcome: str
    reason: str
    error: BaseException | None = None


@public
class Middleware:
    """Called in the thread or event loop of each job; what a subclass leaves out does nothing."""

    def sending(self, job: OutgoingJob) -> None:
        """Called where a job is sent, before it is. What it raises is raised there.

        Nothing is sent then. It is called from a thread or, by an async producer, on its event
        loop, and must not block.
        """

    def sent(self, job: OutgoingJob, error: BaseException | None) -> None:
        """Called after that, once Redis has the job, or with what has kept it from being sent.

        What it raises is logged.
        """

    def before(self, job: CurrentJob) -> None:
        """Called before the task. What it raises fails the job instead of running it."""

    def after(self, job: CurrentJob, result: object) -> None:
        """Called after the task has returned. What it raises is logged."""

    def on_failure(self, job: CurrentJob, error: BaseException) -> None:
        """Called when the task has raised, or could not be run. What it raises is logged."""

    def on_error(self, failure: JobFailure) -> None:
        """Called once for each try that has failed, in a worker of the same consumer.

        It hears of those, too, whose own worker has died or was killed, which `on_failure` cannot;
        of none that was stopped by request. What it raises is logged.
        """


def implements(kind: type[Middleware], hook: str) -> bool:
    """Whether it does something then: a call that does nothing costs each job a little."""
    return getattr(kind, hook) is not getattr(Middleware, hook)


def make(names: Sequence[str], hooks: Sequence[str] = ()) -> list[Middleware]:
    """The objects of these classes, the same ones each time.

    Args:
        hooks: of those alone that implement one of them; by default of all.

    Raises:
        InvalidSetting: a name leads nowhere, or to something else.
    """
    kinds = {name: _find(name) for name in names}
    return [
        _make(name, kind)
        for name, kind in kinds.items()
        if not hooks or any(implements(kind, hook) for hook in hooks)
    ]


def _find(name: str) -> type[Middleware]:
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidSetting(f"HEORI_MIDDLEWARE: {name} is no class to make: {error}") from error
    if isinstance(kind, type) and issubclass(kind, Middleware):
        return kind
    raise InvalidSetting(f"HEORI_MIDDLEWARE: {name} is not derived from heori.Middleware")


_made: dict[str, Middleware] = {}
_making = rlock_given_back()


def _begin_anew() -> None:
    """A forked process has no other thread, which might have the lock."""
    global _making
    _making = rlock_given_back()


os.register_at_fork(after_in_child=_begin_anew)


def _make(name: str, kind: type[Middleware]) -> Middleware:
    with _making:  # two threads that send their first jobs at once get the same one
        if name not in _made:
            try:
                _made[name] = kind()
            except TypeError as error:
                raise InvalidSetting(
                    f"HEORI_MIDDLEWARE: {name} is no class to make: {error}"
                ) from error
        return _made[name]

"""What a program sends while a test looks: noted, and run here and now if the test wants that."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, Unpack

from heori.testing.inline import InlineHandle, run
from heori_common import tasks
from heori_common.duration import seconds
from heori_common.protocol.commands import Cursor
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import decode_call
from heori_common.sendable import Sendable
from heori_common.tasks import Task
from heori_producer.handle import Handle
from heori_producer.options import AllOptions, Options
from heori_producer.sender import Sender

P = ParamSpec("P")
# What takes the place of `Sender.send_jobs`.
SendJobs = Callable[[Sender, Sendable[Any], list[NewJob], Cursor | None], list[Handle[Any]]]

MOST_SHOWN = 20  # jobs, in a message


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """A job that was sent.

    Attributes:
        task: its task's name.
        arguments: as the task receives them, by the names of its parameters, with its defaults.
        queue: the RQ queue that it went to.
        options: that it was sent with.
        handle: what the program that sent it got.
    """

    task: str
    arguments: Mapping[str, Any]
    queue: str
    options: Options
    handle: Handle[Any]

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.task}({shown}) to {self.queue}"


class Recording:
    """All jobs that were sent, in their order.

    Attributes:
        jobs: they.
    """

    def __init__(
        self,
        jobs: list[RecordedJob] | None = None,
        wanted: Options | None = None,
        names: frozenset[str] = frozenset(),
    ) -> None:
        self.jobs: list[RecordedJob] = [] if jobs is None else jobs
        self._wanted = wanted or Options()
        self._names = names  # of the options that count

    def options(self, **options: Unpack[AllOptions]) -> "Recording":
        """The same jobs, of which only those count that were sent with these options.

        Raises:
            TypeError, ValueError: an option makes no sense.
        """
        return Recording(self.jobs, self._wanted.but(**options), self._names | options.keys())

    def to(self, task: Callable[..., Any]) -> list[RecordedJob]:
        """The jobs of one task that were sent with the options.

        Raises:
            UnknownTask: the function is no task.
        """
        name = tasks.find(task).name
        return [job for job in self.jobs if job.task == name and self._has_options(job)]

    def assert_sent(
        self, task: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> RecordedJob:
        """See that such a job was sent; returns the first.

        The arguments may be given by position or by name, as in the call that has sent it.

        Raises:
            AssertionError: none was; the message lists what was sent.
            UnknownTask, InvalidArguments: it could not be sent at all.
        """
        found = tasks.find(task)
        sent = found.to_send(args, kwargs)
        expected = _arguments(found, *sent.json, sent.types)
        for job in self.to(task):
            if job.arguments == expected:
                return job
        shown = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
        raise AssertionError(f"{found.name}({shown}){self._with()} was not sent; {self._told()}")

    def assert_not_sent(self, task: Callable[..., Any]) -> None:
        """See that no job of a task was sent with the options, whatever its arguments.

        Raises:
            AssertionError: one was.
        """
        if self.to(task):
            raise AssertionError(f"{tasks.find(task).name}{self._with()} was sent; {self._told()}")

    def add(self, jobs: list[RecordedJob], place: int) -> None:
        """Note jobs, before those that they have sent themselves."""
        self.jobs[place:place] = jobs

    def _has_options(self, job: RecordedJob) -> bool:
        its = job.options
        for name in self._names:
            wanted = getattr(self._wanted, name)
            if name == "queue" and wanted is not None:
                if job.queue != its.but(queue=wanted).queue_for(wanted):
                    return False
            elif _plain(wanted) != _plain(getattr(its, name)):
                return False
        return True

    def _with(self) -> str:
        return "".join(f" with {name}={getattr(self._wanted, name)!r}" for name in self._names)

    def _told(self) -> str:
        if not self.jobs:
            return "nothing was"
        lines = [f"\n  {job} with {_told(job.options)}" for job in self.jobs[:MOST_SHOWN]]
        more = len(self.jobs) - MOST_SHOWN
        return "sent were:" + "".join(lines) + (f"\n  and {more} more" if more > 0 else "")


def _told(options: Options) -> str:
    values = {name: getattr(options, name) for name in Options.__dataclass_fields__}
    given = [f"{name}={value!r}" for name, value in values.items() if value not in (None, False)]
    return ", ".join(given) or "no options"


def _plain(value: Any) -> Any:
    """A duration may be said in several ways."""
    try:
        return seconds(value)
    except (TypeError, ValueError):
        return value


def _arguments(
    task: Task[..., Any], args: Any, kwargs: Any, types: bytes | None
) -> Mapping[str, Any]:
    """What arrives, by the names of the parameters."""
    received_args, received_kwargs = task.receive(args, kwargs, types)
    bound = inspect.signature(task.function).bind(*received_args, **received_kwargs)
    bound.apply_defaults()
    return bound.arguments


@contextmanager
def recording() -> Iterator[Recording]:
    """Note what this program sends, in all of its threads; it goes to Redis as ever."""
    with _noting(Sender.send_jobs) as sent:
        yield sent


@contextmanager
def inline() -> Iterator[Recording]:
    """Run jobs where they are sent, in the thread that sends them, without a server.

    Arguments and results are validated and written down as ever, and the job begins with what was
    read from that. What it raises its handle raises as JobFailed. It is tried again at once as
    often as its task says; a job with an idempotency key runs once. A coroutine runs in an event
    loop of its own. Delays, timeouts, limits, rates and the locks that a task declares are not
    kept, and no middleware runs. A lock that a task takes itself needs a server.
    """
    same: dict[tuple[str, str | None, str], Handle[Any]] = {}

    def send_jobs(
        sender: Sender,
        task: Sendable[Any],
        jobs: list[NewJob],
        cursor: Cursor | None = None,  # noqa: ARG001 - as that of a sender
    ) -> list[Handle[Any]]:
        options = sender._options
        if options.key is None:
            return [_run(task.name, job, options) for job in jobs]
        key = (task.name, options.tenant, options.key)
        if key not in same:
            same[key] = _run(task.name, jobs[0], options)
        return [same[key]]

    def send(sender: Sender, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        task = _registered(name)
        [handle] = sender.send_jobs(task, [sender.encode(task, args, kwargs, from_json=True)])
        return handle

    before = Sender.send
    Sender.send = send  # type: ignore[method-assign]
    try:
        with _noting(send_jobs) as sent:
            yield sent
    finally:
        Sender.send = before  # type: ignore[method-assign]


def _registered(name: str) -> Task[..., Any]:
    found = tasks.registered().get(name)
    if found is None:
        raise tasks.UnknownTask(f"{name} cannot run here: no module that is imported has that task")
    return found


def _run(name: str, job: NewJob, options: Options) -> Handle[Any]:
    task = _registered(name)
    queue = options.queue_for(task.queue)
    return InlineHandle(job.id, queue, task, run(job, task, queue))


@contextmanager
def _noting(send_jobs: SendJobs) -> Iterator[Recording]:
    """Put something in the place of the last step of all senders, and note what goes through it."""
    sent = Recording()
    before = Sender.send_jobs

    def send_and_note(
        sender: Sender, task: Sendable[Any], jobs: list[NewJob], cursor: Cursor | None = None
    ) -> list[Handle[Any]]:
        place = len(sent.jobs)
        handles = send_jobs(sender, task, jobs, cursor)
        options = sender._options
        queue = options.queue_for(task.queue)
        noted = [
            RecordedJob(task.name, _of(task.name, job), queue, options, handle)
            for job, handle in zip(jobs, handles, strict=True)
        ]
        sent.add(noted, place)
        return handles

    Sender.send_jobs = send_and_note  # type: ignore[method-assign, assignment]
    try:
        yield sent
    finally:
        Sender.send_jobs = before  # type: ignore[method-assign]


def _of(name: str, job: NewJob) -> Mapping[str, Any]:
    call = decode_call(job.data, ("json",), sys.maxsize)
    task = tasks.registered().get(name)
    if task is None:  # it was sent by name, and its code is not here
        return {**{f"argument {n}": value for n, value in enumerate(call.args, 1)}, **call.kwargs}
    return _arguments(task, call.args, call.kwargs, job.types)

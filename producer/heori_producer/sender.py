"""Sends jobs of tasks with some options."""

import collections
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from heori_common import tasks
from heori_common.calls import Flow
from heori_common.protocol.commands import Commands, Cursor
from heori_common.protocol.job import NewJob
from heori_common.public import public
from heori_common.published import NamedTask
from heori_common.redis.client import RedisClient
from heori_common.sendable import Sendable
from heori_common.values.arguments import Sent
from heori_producer.backpressure import QueueFull
from heori_producer.flow_handle import FlowHandle
from heori_producer.handle import Handle
from heori_producer.options import AllOptions, Options
from heori_producer.planning import Plan
from heori_producer.recall import Recall
from heori_producer.results import Results
from heori_producer.sending import Sending
from heori_producer.steps import Steps, run
from heori_producer.watcher import Watcher

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProducerParts:
    """What all senders of one producer share."""

    redis: RedisClient
    watcher: Watcher
    commands: Commands
    sending: Sending
    results: Results
    recall: Recall


@public
class Sender:
    """Sends jobs with some options. It never changes, and is safe to share between threads.

    `Producer.options` makes it. It works until its producer is closed.
    """

    def __init__(self, parts: ProducerParts, options: Options) -> None:
        self._parts = parts
        self._options = options

    def options(self, **options: Unpack[AllOptions]) -> "Sender":
        """A sender with these options, and those of this one that are not among them.

        Args:
            options: what `Options` tells of.

        Raises:
            TypeError, ValueError: an option makes no sense, alone or beside the others.
        """
        return Sender(self._parts, self._options.but(**options))

    @overload
    def submit(
        self, task: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[R]: ...
    @overload
    def submit(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Send one job: with the arguments of the task, whatever they are called.

        Raises:
            UnknownTask: the function is no task.
            InvalidArguments: the arguments do not fit it, or have no JSON form; nothing is sent.
            PayloadTooLarge: they are too large.
            QueueFull: the queue is at its limit, and was for as long as there was to wait.
            RedisUnavailable: Redis cannot be reached.
        """
        found = tasks.find(task)
        [handle] = self.send_jobs(found, [self._parts.sending.encode(found, args, kwargs)])
        return handle

    @overload
    def submit_many(
        self, task: Callable[..., Awaitable[R]], calls: Iterable[Any]
    ) -> list[Handle[R]]: ...
    @overload
    def submit_many(self, task: Callable[..., R], calls: Iterable[Any]) -> list[Handle[R]]: ...
    def submit_many(self, task: Callable[..., Any], calls: Iterable[Any]) -> list[Handle[Any]]:
        """Send many jobs of one task, hundreds in one round trip.

        All of them are validated before the first is sent. At a queue's limit they go in as
        there is room, in turn with those of other producers, some hundreds at a time.

        Args:
            calls: for each job a tuple of its positional arguments, a dict of its keyword
                arguments, or else its only argument.

        Raises:
            ValueError: an option is for one job, such as a key.
            As `submit`; the message tells which of the calls it is about, and QueueFull which
            were sent.
        """
        self._options.check_many()
        found = tasks.find(task)
        return self.send_jobs(found, list(self._parts.sending.encode_many(found, calls)))

    def submit_flow(self, flow: Flow[R]) -> FlowHandle[R]:
        """Send the jobs of a flow: a call, a chain or a group of calls.

        All are validated before the first is sent, and nothing of it begins before all is there
        that waits. The options hold for each of its jobs; the time for those that begin it.

        Raises:
            TypeError: a step lacks its first argument, and nothing is before it.
            ValueError: an option is for one job, such as a key.
            As `submit`.
        """
        self._options.check_many()
        of, options = self._parts, self._options
        plan = Plan(flow, options.queue_for, options.after_ids)
        collections.deque(plan.encode(of.sending.encode_call), maxlen=0)
        self._run(of.sending.send_flow(plan, options.but(after=None)))
        return FlowHandle(
            *plan.handles(lambda job: self._handles(job.task, job.queue, [job.id])[0])
        )

    def send(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Send one job of a task by its name, such as "myapp.tasks.send_mail", without its code.

        Consumers publish what is needed of their tasks. The arguments are checked by their JSON
        schema, are sent as JSON, and become what the task's hints say in the consumer. The result
        is what JSON makes of it. All else is as with `submit`.

        Raises:
            UnknownTask: no consumer has such a task, or only its code can tell its locks.
            As `submit`.
        """
        task, job = self._run(self._parts.sending.encode_named(name, args, kwargs))
        [handle] = self.send_jobs(task, [job])
        return handle

    def find(self, name: str) -> NamedTask:
        """A task for `encode` and `send_jobs` by its name; as `send` finds it."""
        return self._run(self._parts.sending.named.find(name))

    def check(self, task: Sendable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sent:
        """Arguments that can be sent, as `encode` takes them."""
        return self._parts.sending.check(task, args, kwargs)

    def encode(
        self,
        task: Sendable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        from_json: bool = False,
    ) -> NewJob:
        """A job for `send_jobs`, with the arguments of `submit` as values.

        Args:
            from_json: they were read from JSON, and are validated by its rules.
        """
        return self._parts.sending.encode(task, args, kwargs, from_json=from_json)

    def send_jobs(
        self, task: Sendable[R], jobs: list[NewJob], cursor: Cursor | None = None
    ) -> list[Handle[R]]:
        """Send encoded jobs of a task, as `submit_many` does.

        Args:
            cursor: of `Commands.enqueue`.
        """
        made: list[Handle[R]] = []

        def make() -> None:
            queue = self._options.queue_for(task.queue)
            made[:] = self._handles(task, queue, [job.id for job in jobs])

        meanwhile = make if len(jobs) > 1 else None  # of one it may be another that was sent before
        steps = self._parts.sending.send(task, jobs, self._options, cursor, meanwhile)
        try:
            queue, ids = self._run(steps)
        except QueueFull as error:
            error.sent = self._handles(task, error.queue, [job.id for job in jobs[: error.taken]])
            raise
        return made or self._handles(task, queue, ids)

    def _run(self, steps: Steps[T]) -> T:
        return run(steps, self._parts.redis, self._parts.watcher)

    def _handles(self, task: Sendable[R], queue: str, ids: Sequence[str]) -> list[Handle[R]]:
        of = self._parts
        return [
            Handle(job_id, queue, task, of.redis, of.commands, of.results, of.recall)
            for job_id in ids
        ]

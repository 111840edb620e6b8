"""Sends jobs of tasks with some options, in an event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from heori_common import tasks
from heori_common.calls import Flow
from heori_common.protocol.commands import Commands, Cursor
from heori_common.protocol.job import NewJob
from heori_common.public import public
from heori_common.published import NamedTask
from heori_common.sendable import Sendable
from heori_producer.async_flow_handle import AsyncFlowHandle
from heori_producer.async_handle import AsyncHandle
from heori_producer.async_link import AsyncLink
from heori_producer.backpressure import QueueFull
from heori_producer.options import AllOptions, Options
from heori_producer.planning import Plan
from heori_producer.results import Results
from heori_producer.sending import Sending

P = ParamSpec("P")
R = TypeVar("R")

ENCODED_AT_A_TIME = 50  # jobs, after which others of the event loop get their turn


@dataclass(frozen=True, slots=True)
class AsyncProducerParts:
    """What all senders of one producer share."""

    link: AsyncLink
    commands: Commands
    sending: Sending
    results: Results


@public
class AsyncSender:
    """Sends jobs with some options, as `Sender` does. It never changes.

    `AsyncProducer.options` makes it. It works until its producer is closed.
    """

    def __init__(self, parts: AsyncProducerParts, options: Options) -> None:
        self._parts = parts
        self._options = options

    def options(self, **options: Unpack[AllOptions]) -> "AsyncSender":
        """As `Sender.options`.

        Raises:
            TypeError, ValueError: an option makes no sense.
        """
        return AsyncSender(self._parts, self._options.but(**options))

    @overload
    async def submit(
        self, task: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncHandle[R]: ...
    @overload
    async def submit(
        self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncHandle[R]: ...
    async def submit(
        self, task: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncHandle[Any]:
        """Send one job, as `Sender.submit`. The event loop goes on while it waits for room.

        When this is cancelled, the job is in Redis whole or not at all; while Redis is away, it may
        still come for as long as a call is tried. With a key, another call tells: it returns that
        job, or sends it.

        Raises:
            As `Sender.submit`.
        """
        found = tasks.find(task)
        [handle] = await self.send_jobs(found, [self.encode(found, args, kwargs)])
        return handle

    @overload
    async def submit_many(
        self, task: Callable[..., Awaitable[R]], calls: Iterable[Any]
    ) -> list[AsyncHandle[R]]: ...
    @overload
    async def submit_many(
        self, task: Callable[..., R], calls: Iterable[Any]
    ) -> list[AsyncHandle[R]]: ...
    async def submit_many(
        self, task: Callable[..., Any], calls: Iterable[Any]
    ) -> list[AsyncHandle[Any]]:
        """Send many jobs of one task, as `Sender.submit_many`.

        When this is cancelled, those of the first calls are in Redis, in pieces of some hundreds.

        Raises:
            As `Sender.submit_many`.
        """
        self._options.check_many()
        found = tasks.find(task)
        jobs = []
        for job in self._parts.sending.encode_many(found, calls):
            jobs.append(job)
            if len(jobs) % ENCODED_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return await self.send_jobs(found, jobs)

    async def submit_flow(self, flow: Flow[R]) -> AsyncFlowHandle[R]:
        """Send the jobs of a flow, as `Sender.submit_flow`.

        When this is cancelled, what of it waits for others is cancelled, too.

        Raises:
            As `Sender.submit_flow`.
        """
        self._options.check_many()
        of, options = self._parts, self._options
        plan = Plan(flow, options.queue_for, options.after_ids)
        for number, _ in enumerate(plan.encode(of.sending.encode_call), 1):
            if number % ENCODED_AT_A_TIME == 0:
                await asyncio.sleep(0)
        await of.link.run(of.sending.send_flow(plan, options.but(after=None)))
        handles, end = plan.handles(lambda job: self._handles(job.task, job.queue, [job.id])[0])
        return AsyncFlowHandle(handles, end, of.link, of.commands)

    async def send(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncHandle[Any]:
        """Send one job of a task by its name, as `Sender.send`.

        Raises:
            As `Sender.send`.
        """
        steps = self._parts.sending.encode_named(name, args, kwargs)
        task, job = await self._parts.link.run(steps)
        [handle] = await self.send_jobs(task, [job])
        return handle

    async def find(self, name: str) -> NamedTask:
        """A task for `encode` and `send_jobs` by its name; as `send` finds it."""
        return await self._parts.link.run(self._parts.sending.named.find(name))

    def encode(
        self,
        task: Sendable[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        from_json: bool = False,
    ) -> NewJob:
        """As `Sender.encode`; any thread may call it."""
        return self._parts.sending.encode(task, args, kwargs, from_json=from_json)

    async def send_jobs(
        self, task: Sendable[R], jobs: list[NewJob], cursor: Cursor | None = None
    ) -> list[AsyncHandle[R]]:
        """As `Sender.send_jobs`."""
        steps = self._parts.sending.send(task, jobs, self._options, cursor)
        try:
            queue, ids = await self._parts.link.run(steps)
        except QueueFull as error:
            error.sent = self._handles(task, error.queue, [job.id for job in jobs[: error.taken]])
            raise
        return self._handles(task, queue, ids)

    def _handles(self, task: Sendable[R], queue: str, ids: Sequence[str]) -> list[AsyncHandle[R]]:
        of = self._parts
        return [
            AsyncHandle(job_id, queue, task, of.link, of.commands, of.results) for job_id in ids
        ]

"""What an `AsyncProducer` has of a server, all of it in one event loop and without a thread.

There are two connections, as in a program that blocks: one to send on, however many calls are under
way, and one to wait on.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from heori_common.current_job import waiting_for_jobs
from heori_common.protocol.commands import Command
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.async_push import AsyncPushConnection
from heori_common.redis.errors import away
from heori_common.redis.push import Reply
from heori_producer.steps import Step, Steps, Wait, Watching
from heori_producer.watcher import Watcher
from heori_producer.watcher_loop import CANCEL_AGAIN_S, keep

R = TypeVar("R")
T = TypeVar("T")


class LoopWatcher(Watcher):
    """A watcher of the event loop in which it is first used; its callbacks are called there."""

    _last: "asyncio.Task[None] | None" = None

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._main is None:
            self._loop = asyncio.get_running_loop()
            self._main = self._loop.create_task(keep(self), name="heori-watcher")
        assert self._loop is not None
        return self._loop

    async def close(self) -> None:
        """Wait for its end, once nobody uses it."""
        if self._last is not None:
            await _end(self._last)

    def _end(self) -> None:
        self._watches.clear()
        self._due.clear()
        if self._main is not None:
            self._call(self._main.cancel)
            self._last, self._main = self._main, None

    def _is_own_thread(self) -> bool:
        return True


class AsyncLink:
    """The connections of one producer, for one event loop.

    Attributes:
        watcher: waits.
        on_reconnect: called when it has connected anew, perhaps to another server.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self._client = AsyncRedisClient(url, connections=0)
        self.watcher = LoopWatcher(url)
        self.on_reconnect: Callable[[], object] = _nothing
        self._was_connected = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AsyncPushConnection | None = None
        self._running: asyncio.Task[Any] | None = None

    async def run(self, steps: Steps[R]) -> R:
        """Go through all steps; the event loop goes on while each takes.

        When this is cancelled, what is under way is done all the same, and nothing after it but
        what the steps leave behind.

        Raises:
            What the steps raise, and what they let through of RedisUnavailable and RedisRefused.
        """
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._answer(step)
                except asyncio.CancelledError as error:
                    self._leave(steps, error)
                    raise
                except BaseException as error:  # the steps say what is to be done then
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            value: R = end.value
            return value

    async def execute(self, command: Command[T]) -> T:
        """Execute one command.

        When this is cancelled the command is executed all the same.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses the command; if for now only, after a while.
        """
        return await self._send(command)

    async def execute_many(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """Execute commands in one go, each on its own.

        Raises:
            As `execute`, of the first that has failed.
        """
        answers = await asyncio.gather(*map(self._send, commands), return_exceptions=True)
        for each in answers:
            if isinstance(each, BaseException):
                raise each
        return answers

    async def close(self) -> None:
        """Disconnect; what is still under way fails."""
        running, self._running = self._running, None
        connection, self._connection = self._connection, None
        self._loop = None
        if running is not None and connection is not None:
            await _end(running)
            connection.expire(closing=True)
        await self.watcher.close()

    async def _answer(self, step: Step) -> Any:
        if isinstance(step, Command):
            reply = self._send(step)
            if step.meanwhile is not None:
                step.meanwhile()
            return await reply
        if isinstance(step, list):
            return await self.execute_many(step)
        return await self._wait(step)

    async def _wait(self, wait: Wait) -> Any:
        happened = asyncio.Event()
        watching = Watching(wait, happened.set)
        lent: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if (queue := wait.queue) is not None:
            lent = waiting_for_jobs(lambda: [(queue, "")])
        with lent, watching.begin(self.watcher), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait.seconds):
                await happened.wait()
        return watching.answer

    def _send(self, command: Command[T]) -> "asyncio.Future[T]":
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(told: Reply) -> None:
            if reply.done():
                return  # nobody waits any more
            if isinstance(told.value, Exception):
                reply.set_exception(told.value)
            else:
                reply.set_result(told.value)

        self._begin().call(command, done)
        return reply

    def _leave(self, steps: Steps[Any], why: BaseException) -> None:
        """Let the steps come to their end without anybody who waits for it."""
        with contextlib.suppress(StopIteration, asyncio.CancelledError):
            step = steps.throw(why)
            while not isinstance(step, Wait):
                if self._connection is not None and self._connection.is_connected:
                    for command in [step] if isinstance(step, Command) else step:
                        self._connection.call(command, _nothing)
                step = steps.send(None)
        steps.close()

    def _begin(self) -> AsyncPushConnection:
        loop = asyncio.get_running_loop()
        if self._connection is None:
            self._loop = loop
            self._connection = AsyncPushConnection(
                self._client.dialer, [("PING",)], _nothing, self._connected
            )
            self._running = loop.create_task(self._run(self._connection), name="heori-producer")
        if loop is not self._loop:
            raise RuntimeError("an AsyncProducer is for one event loop; make another for this one")
        return self._connection

    def _connected(self, _: object) -> None:
        if self._was_connected:
            self.watcher.connect_anew()
            self.on_reconnect()
        self._was_connected = True

    async def _run(self, connection: AsyncPushConnection) -> None:
        try:
            await asyncio.gather(connection.run(), self._client.follow())
        finally:
            connection.end(away(connection.where, "the producer was closed"))


def _nothing(*_: object) -> None:
    pass


async def _end(task: "asyncio.Task[Any]") -> None:
    """Cancel, and again until it has taken effect: redis-py may swallow one while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)

"""Executes what `common.protocol` builds: `Broker` blocks, `AsyncBroker` does not.

Both drive the same dialogue, so that there is one place that knows what to do about a script
that the server has lost or a server that is away.
"""

import asyncio
from collections.abc import Generator, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from common.protocol.commands import Command

T = TypeVar("T")

# A server that does not answer for this long is taken to be away, in seconds. Longer than any
# blocking command may wait.
ANSWER_TIMEOUT = 10.0
LONGEST_WAIT = 5.0


class BrokerUnavailable(ConnectionError):
    """Redis cannot be reached, or does not answer; the message says at which address."""


def address(url: str) -> str:
    """Where a URL points, without its password, for people to read."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or '127.0.0.1'}:{parts.port or 6379}"


def _dialogue(command: Command[T], where: str) -> Generator[tuple[Any, ...], Any, T]:
    """What to say, given what was answered; a generator that yields words and receives replies."""
    try:
        try:
            reply = yield command.words
        except exceptions.NoScriptError:
            if command.in_full is None:
                raise
            reply = yield command.in_full
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise BrokerUnavailable(f"Redis at {where} is away: {error}") from error
    return command.parse(reply)


class Broker:
    """Executes commands and waits for the replies. Safe to share between threads.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        retries: how often a command is sent again when the connection breaks. Only for
            commands that may be sent twice.
    """

    def __init__(self, url: str, *, retries: int = 3) -> None:
        self.address = address(url)
        self._redis = redis.Redis.from_url(
            url,
            protocol=3,
            socket_timeout=ANSWER_TIMEOUT,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
        )

    def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            BrokerUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses it.
        """
        dialogue = _dialogue(command, self.address)
        words = next(dialogue)
        try:
            while True:
                try:
                    reply = self._redis.execute_command(*words)  # type: ignore[no-untyped-call]
                except Exception as error:
                    words = dialogue.throw(error)
                else:
                    words = dialogue.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def execute_many(self, commands: Sequence[Command[T]]) -> list[T]:
        """Execute commands in one round trip, each on its own.

        Raises:
            BrokerUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses one of them.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command.words)  # type: ignore[no-untyped-call]
        try:
            replies = pipeline.execute()
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise BrokerUnavailable(f"Redis at {self.address} is away: {error}") from error
        return [command.parse(reply) for command, reply in zip(commands, replies, strict=True)]

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncBroker:
    """Executes commands in an event loop, over at most `connections` connections.

    Never sends a command again by itself: a claim that was executed but not answered must not
    be made twice. Uses redis-py's connections without its client, whose pool, retries and
    hooks take a third of a busy supervisor's time (profiled: 0.5 ms a call).
    """

    def __init__(self, url: str, *, connections: int = 2) -> None:
        self.address = address(url)
        self._pool = redis.asyncio.ConnectionPool.from_url(
            url,
            protocol=3,
            socket_timeout=ANSWER_TIMEOUT,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        self._all = [self.connection() for _ in range(connections)]
        self._idle: asyncio.LifoQueue[AbstractConnection] = asyncio.LifoQueue()
        for connection in self._all:
            self._idle.put_nowait(connection)

    def connection(self) -> AbstractConnection:
        """A new connection to the same server, for what needs one of its own; not connected."""
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return made

    async def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            BrokerUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses it.
        """
        dialogue = _dialogue(command, self.address)
        words = next(dialogue)
        try:
            while True:
                try:
                    reply = await self._exchange(words)
                except Exception as error:
                    words = dialogue.throw(error)
                else:
                    words = dialogue.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _exchange(self, words: tuple[Any, ...]) -> Any:
        connection = await self._idle.get()
        try:
            await connection.send_command(*words)
            return await connection.read_response()
        except exceptions.ResponseError:
            raise
        except BaseException:  # a cancellation, too: the reply may still be on its way
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.put_nowait(connection)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            await connection.disconnect()

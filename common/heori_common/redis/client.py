"""Executes what `heori_common.protocol` builds: `RedisClient` blocks, `AsyncRedisClient` does not.

Both drive the same dialogue, so that there is one place that knows what to do about a script
that the server has lost, a server that is away, or one that is the primary no longer. Where a
URL names sentinels, each new connection asks them; so all there is to do is to leave the old one.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Self, TypeVar

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from heori_common.metrics import CALL_SECONDS, Histogram
from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.sentinel import AsyncSentinels, Sentinels
from heori_common.redis.wire import AsyncConnection, Connection

T = TypeVar("T")

# A server that does not answer for this long is taken to be away, in seconds. Longer than any
# blocking command may wait.
ANSWER_TIMEOUT = 10.0
LONGEST_WAIT = 5.0
# A primary that does not take a connection for this long is asked for anew, in seconds.
CONNECT_TIMEOUT = 2.0
# For how long a command is sent again while its server is away, in seconds: a connection that
# broke is made anew at once, and who waits for an answer hears soon that there is none.
PATIENCE = 1.0
# The same while sentinels elect a primary.
FAILOVER = 15.0
# How often sentinels are asked whether the primary is still the same, in seconds. One that was
# replaced takes writes for ten seconds more, until they demote it, and those are lost then.
LOOK = 1.0


def address(url: str) -> str:
    """Where a URL points, without its password, for people to read.

    Raises:
        ValueError: the URL is malformed.
    """
    return str(Address.parse(url))


def connect(url: str) -> redis.Redis:
    """A plain redis-py client of the server, or the primary, for what needs one, such as rq.

    It sends no command again by itself: redis-py would send it to the server that has just
    failed. What it raises `reporting_outages` translates.

    Raises:
        ValueError: the URL is malformed.
    """
    return redis.Redis.from_pool(_pool(Address.parse(url)))


@contextlib.contextmanager
def reporting_outages(where: Address) -> Iterator[None]:
    """Raise RedisUnavailable for whatever means that there is no server to talk to now."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise RedisUnavailable(f"Redis at {where} is away: {error}") from error
    except exceptions.ResponseError as error:
        if where.sentinels and _is_no_primary(error):
            raise RedisUnavailable(f"Redis at {where} has moved: {error}") from error
        raise


def _is_no_primary(error: exceptions.ResponseError) -> bool:
    """Whether a server says by this that it is not the primary, or is one cut off from the rest."""
    return isinstance(error, exceptions.ReadOnlyError | exceptions.MasterDownError) or str(
        error
    ).startswith(("UNBLOCKED", "NOREPLICAS"))


def _dialogue(command: Command[T], where: Address) -> Generator[tuple[Any, ...], Any, Any]:
    """What to say, given what was answered; a generator that yields words and receives replies."""
    with reporting_outages(where):
        try:
            return (yield command.words)
        except exceptions.NoScriptError:
            if command.in_full is None:
                raise
            return (yield command.in_full)


def _pool(where: Address, **options: Any) -> redis.ConnectionPool:
    options |= {"socket_timeout": ANSWER_TIMEOUT, "retry": Retry(NoBackoff(), 0)}
    # redis-py counts those that it has made, dead ones too, and makes no more after a hundred.
    options["max_connections"] = sys.maxsize
    if not where.sentinels:
        return redis.ConnectionPool.from_url(where.url, **options)
    return redis.sentinel.SentinelConnectionPool.from_url(
        where.url,
        service_name=where.primary,
        sentinel_manager=Sentinels(where),
        ssl=where.tls,
        socket_connect_timeout=CONNECT_TIMEOUT,
        **options,
    )


def _async_pool(where: Address) -> redis.asyncio.ConnectionPool:
    options: dict[str, Any] = {
        "protocol": 3,
        "socket_timeout": ANSWER_TIMEOUT,
        "retry": AsyncRetry(NoBackoff(), 0),
    }
    if not where.sentinels:
        return redis.asyncio.ConnectionPool.from_url(where.url, **options)
    return redis.asyncio.sentinel.SentinelConnectionPool.from_url(
        where.url,
        service_name=where.primary,
        sentinel_manager=AsyncSentinels(where),
        ssl=where.tls,
        socket_connect_timeout=CONNECT_TIMEOUT,
        **options,
    )


class RedisClient:
    """Executes commands and waits for the replies. Safe to share between threads.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or
            ``rediss+sentinel://``.
        patience: for how long a command is sent again when the server is away, in seconds; 0 for
            commands that must not be sent twice. Where there are sentinels it is sent again,
            unless that is 0, until a failover has had the time it takes (FAILOVER).

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self._where = Address.parse(url)
        self.address = str(self._where)
        self._pool = _pool(self._where, protocol=3)
        self._idle: deque[Connection] = deque()
        self._owner = os.getpid()
        self._next_look = time.monotonic() + LOOK
        self._patience = max(patience, FAILOVER) if patience and self._where.sentinels else patience
        self._backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.25)

    def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses it.
        """
        return command.parse(self._persist(lambda: self._converse(command)))

    def execute_many(self, commands: Sequence[Command[T]]) -> list[T]:
        """Execute commands in one round trip, each on its own.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses one of them.
        """
        words = [command.words for command in commands]

        def attempt() -> list[Any]:
            with reporting_outages(self._where), self._connected() as connection:
                return connection.ask(words)

        replies = self._persist(attempt)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [command.parse(reply) for command, reply in zip(commands, replies, strict=True)]

    def connection(self) -> redis.connection.ConnectionInterface:
        """A new connection to the same server, for what needs one of its own; not connected."""
        return self._pool.make_connection()

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self) -> None:
        """Ask the sentinels, when it is time; redis-py drops connections to a former primary."""
        if isinstance(self._pool, redis.sentinel.SentinelConnectionPool) and (
            time.monotonic() >= self._next_look
        ):
            self._next_look = time.monotonic() + LOOK
            try:
                self._pool.get_master_address()  # type: ignore[no-untyped-call]
            except exceptions.RedisError:  # they are away, and the primary may not be
                self._next_look = time.monotonic() + ANSWER_TIMEOUT

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection for one exchange; it is closed unless that comes to its end."""
        if self._owner != os.getpid():  # a copy of the process must not speak for the other
            self._idle, self._owner = deque(), os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self._pool.make_connection())
        try:
            if _has_moved(self._pool, connection):
                connection.close()
            if not connection.is_connected:
                connection.connect()
            yield connection
        except BaseException:  # the reply may still be on its way
            connection.close()
            raise
        self._idle.append(connection)

    def _converse(self, command: Command[Any]) -> Any:
        dialogue = _dialogue(command, self._where)
        words = next(dialogue)
        try:
            while True:
                try:
                    with self._connected() as connection:
                        [reply] = connection.ask([words])
                    if isinstance(reply, Exception):
                        raise reply
                except Exception as error:
                    words = dialogue.throw(error)
                else:
                    words = dialogue.send(reply)
        except StopIteration as done:
            return done.value

    def _persist(self, attempt: Callable[[], T]) -> T:
        self._look()
        give_up = time.monotonic() + self._patience
        failures = 0
        while True:
            try:
                return attempt()
            except RedisUnavailable:
                failures += 1
                if time.monotonic() >= give_up:
                    raise
            self.close()  # the others lead to the same server
            time.sleep(self._backoff.compute(failures))


def _has_moved(pool: Any, connection: Any) -> bool:
    """Whether the sentinels have named another primary since it was connected."""
    return (
        isinstance(pool, _SENTINEL_POOLS)
        and connection.is_connected
        and (connection.host, connection.port) != pool.master_address
    )


_SENTINEL_POOLS = (
    redis.sentinel.SentinelConnectionPool,
    redis.asyncio.sentinel.SentinelConnectionPool,
)


class AsyncRedisClient:
    """Executes commands in an event loop, over at most `connections` connections.

    Never sends a command again by itself: a claim that was executed but not answered must not
    be made twice.

    Args:
        url: as for `RedisClient`.
        connections: for commands; those that `connection` makes are not among them.

    Attributes:
        calls: how long calls took that were answered, in seconds, by command.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str, *, connections: int = 2) -> None:
        self._where = Address.parse(url)
        self.address = str(self._where)
        self._pool = _async_pool(self._where)
        self._all = [self.connection() for _ in range(connections)]
        self._idle: asyncio.LifoQueue[AsyncConnection] = asyncio.LifoQueue()
        for connection in self._all:
            self._idle.put_nowait(connection)
        self.calls: dict[str, Histogram] = {}

    def connection(self, on_push: Callable[[list[Any]], None] | None = None) -> AsyncConnection:
        """A new connection to the same server, for what needs one of its own; not connected.

        Args:
            on_push: called with each message that was not asked for.
        """
        return AsyncConnection(
            self._pool.make_connection(),  # type: ignore[no-untyped-call]
            on_push,
        )

    async def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            redis.exceptions.ResponseError: Redis refuses it.
        """
        connection = await self._idle.get()
        try:
            if _has_moved(self._pool, connection):
                await connection.close()
            began = time.perf_counter()
            reply = await self._converse(connection, command)
            self._took(command.name, time.perf_counter() - began)
        except exceptions.ResponseError:
            raise
        except BaseException:  # a cancellation, too: the reply may still be on its way
            await connection.close()
            raise
        finally:
            self._idle.put_nowait(connection)
        return command.parse(reply)

    def _took(self, name: str, seconds: float) -> None:
        if name not in self.calls:
            self.calls[name] = Histogram(CALL_SECONDS)
        self.calls[name].observe(seconds)

    async def follow(self) -> None:
        """Ask the sentinels, where there are any, every second for ever, where the primary is."""
        while True:
            await asyncio.sleep(LOOK)
            if isinstance(self._pool, redis.asyncio.sentinel.SentinelConnectionPool):
                with contextlib.suppress(exceptions.RedisError):
                    await self._pool.get_master_address()  # type: ignore[no-untyped-call]

    async def _converse(self, connection: AsyncConnection, command: Command[Any]) -> Any:
        dialogue = _dialogue(command, self._where)
        words = next(dialogue)
        try:
            while True:
                try:
                    if not connection.is_connected:
                        await connection.connect()
                    reply = await connection.ask(words, ANSWER_TIMEOUT)
                except Exception as error:
                    words = dialogue.throw(error)
                else:
                    words = dialogue.send(reply)
        except StopIteration as done:
            return done.value

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            await connection.close()

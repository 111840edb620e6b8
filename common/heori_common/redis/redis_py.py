"""What redis-py does for Heori: it makes connections, and is the client that rq wants."""

import asyncio
import socket
from functools import cache
from typing import Any, NamedTuple

import redis
import redis.asyncio
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from heori_common.public import public
from heori_common.redis.address import Address
from heori_common.redis.errors import translated
from heori_common.redis.password_file import FileCredentials
from heori_common.redis.private import socket_of, transport_of
from heori_common.redis.retries import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S
from heori_common.redis.sentinel import AsyncSentinels, Endpoint, Sentinels


@public
def connect(url: str) -> redis.Redis:
    """A plain redis-py client of the server, or the primary, for what needs one, such as rq.

    It takes all URLs that Heori takes, as in ``connect(Settings().redis_url)``, and reads a
    password file for each connection. It sends no command again by itself: redis-py would send it
    to the server that has just failed. What it raises `heori_common.redis.errors.translated`
    translates.

    Raises:
        ValueError: the URL is malformed.
    """
    where = Address.parse(url)
    options = _options(where) | {"retry": Retry(NoBackoff(), 0)}
    if not where.sentinels:
        return redis.Redis.from_pool(redis.ConnectionPool.from_url(where.url, **options))
    pool = redis.sentinel.SentinelConnectionPool.from_url(
        where.url,
        service_name=where.primary,
        sentinel_manager=Sentinels(where),
        ssl=where.tls,
        **options,
    )
    return redis.Redis.from_pool(pool)


@cache
def _driver() -> dict[str, Any]:
    """What redis-py tells servers of itself.

    If it is not told, it reads its own version from a file for each connection, which takes longer
    than to connect (8.1, redis/driver_info.py).
    """
    info = getattr(redis, "DriverInfo", None)  # older ones read it once
    return {"driver_info": info()} if info else {}


def _options(where: Address) -> dict[str, Any]:
    options: dict[str, Any] = {"socket_timeout": ANSWER_TIMEOUT_S} | _driver()
    if where.login_file is not None:
        options["credential_provider"] = FileCredentials(where.login_file)
    if where.sentinels:
        options["socket_connect_timeout"] = CONNECT_TIMEOUT_S
    return options


class Dialed(NamedTuple):
    """A connection that was made: by redis-py, which ends it, too.

    Attributes:
        endpoint: which server it is, where sentinels have named one.
    """

    connection: Any
    socket: socket.socket
    endpoint: Endpoint | None

    def hang_up(self) -> None:
        """Disconnect."""
        self.connection.disconnect()


class Dialer:
    """Makes connections that block. Safe to share between threads.

    Attributes:
        sentinels: who is asked where the primary is; None where the URL names the server.
    """

    def __init__(self, where: Address) -> None:
        self.where = where
        self.sentinels = Sentinels(where) if where.sentinels else None
        options = _options(where) | {"protocol": 3, "retry": Retry(NoBackoff(), 0)}
        if where.tls:
            options["connection_class"] = redis.SSLConnection
        self._pool = redis.ConnectionPool.from_url(where.url, **options)  # reads the URL

    def dial(self, seconds: float | None = None) -> Dialed:
        """Connect, to the primary that sentinels name now, if there are any.

        Args:
            seconds: for which the server may say nothing until it is done; None for what it may
                take later, too.

        Raises:
            RedisUnavailable: nobody answers.
            RedisRefused: the server does not take the login, say.
        """
        with translated(self.where):
            options, endpoint = self._pool.connection_kwargs, None
            if self.sentinels is not None:
                endpoint = self.sentinels.discover_master(self.where.primary)
                options = options | {"host": endpoint[0], "port": endpoint[1]}
            usual = options["socket_timeout"]
            if seconds is not None:
                options = options | {"socket_timeout": seconds, "socket_connect_timeout": seconds}
            connection: Any = self._pool.connection_class(**options)
            connection.connect()
            connected = socket_of(connection)
            connected.settimeout(usual)
            return Dialed(connection, connected, endpoint)

    def has_moved(self, dialed: Dialed) -> bool:
        """Whether sentinels have named another primary since; they are asked when it is time."""
        if self.sentinels is None:
            return False
        self.sentinels.look()
        return dialed.endpoint != self.sentinels.primary


class AsyncDialed(NamedTuple):
    """As `Dialed`, on an event loop."""

    connection: Any
    transport: asyncio.Transport
    endpoint: Endpoint | None

    async def hang_up(self) -> None:
        """Disconnect."""
        await self.connection.disconnect(nowait=True)


class AsyncDialer:
    """As `Dialer`, for event loops."""

    def __init__(self, where: Address) -> None:
        self.where = where
        self.sentinels = AsyncSentinels(where) if where.sentinels else None
        options = _options(where) | {"protocol": 3, "retry": AsyncRetry(NoBackoff(), 0)}
        if where.tls:
            options["connection_class"] = redis.asyncio.SSLConnection
        self._pool = redis.asyncio.ConnectionPool.from_url(where.url, **options)

    async def dial(self) -> AsyncDialed:
        """As `Dialer.dial`."""
        with translated(self.where):
            options, endpoint = self._pool.connection_kwargs, None
            if self.sentinels is not None:
                endpoint = await self.sentinels.discover_master(self.where.primary)
                options = options | {"host": endpoint[0], "port": endpoint[1]}
            connection: Any = self._pool.connection_class(**options)
            await connection.connect()
            return AsyncDialed(connection, transport_of(connection), endpoint)

    def has_moved(self, dialed: AsyncDialed) -> bool:
        """Whether sentinels have named another primary since."""
        return self.sentinels is not None and dialed.endpoint != self.sentinels.primary

"""What redis-py does for Heori: it makes connections that need more than a socket and a greeting,
and is the client that rq wants.
"""

import contextlib
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import redis
import redis.asyncio
import redis.sentinel
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from heori_common.public import public
from heori_common.redis.address import Address, Endpoint
from heori_common.redis.dialed import AsyncDialed, Dialed
from heori_common.redis.errors import away, error_of
from heori_common.redis.password_file import FileCredentials
from heori_common.redis.private import socket_of, transport_of
from heori_common.redis.retries import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S
from heori_common.redis.sentinel import AsyncSentinels, Sentinels
from heori_common.redis.tls_files import unreadable

# How redis-py names answers whose first word it cuts off.
_CODES = {
    exceptions.AuthenticationError: "NOAUTH",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
}
_WRONGPASS = "invalid username-password pair"  # which to redis-py is an AuthenticationError, too


@public
def connect(url: str) -> redis.Redis:
    """A plain redis-py client of the server, or the primary, for what needs one, such as rq.

    It takes all URLs that Heori takes, as in ``connect(Settings().redis_url)``, and reads a
    password file for each connection. It sends no command again by itself: redis-py would send it
    to the server that has just failed. What it raises `translated`
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


class RedisPyDialer:
    """Makes connections that block, whatever they need: TLS, sentinels, a password file.

    Attributes:
        sentinels: as of `Dialer`.
    """

    def __init__(self, where: Address) -> None:
        self.where = where
        self.sentinels = Sentinels(where) if where.sentinels else None
        options = _options(where) | {"protocol": 3, "retry": Retry(NoBackoff(), 0)}
        if where.tls:
            options["connection_class"] = redis.SSLConnection
        self._pool = redis.ConnectionPool.from_url(where.url, **options)  # reads the URL

    def dial(self, seconds: float | None = None) -> Dialed:
        """As `Dialer.dial`."""
        with translated(self.where):
            connection, endpoint = self.connect(seconds)
            connected = socket_of(connection)
            connected.settimeout(self._pool.connection_kwargs["socket_timeout"])
            return Dialed(connected, connection.disconnect, endpoint)

    def connect(self, seconds: float | None = None) -> tuple[Any, Endpoint | None]:
        """Have redis-py connect; it raises what redis-py raises."""
        options, endpoint = self._pool.connection_kwargs, None
        if self.sentinels is not None:
            endpoint = self.sentinels.discover_master(self.where.primary)
            options = options | {"host": endpoint[0], "port": endpoint[1]}
        if seconds is not None:
            options = options | {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        connection: Any = self._pool.connection_class(**options)
        connection.connect()
        return connection, endpoint


class AsyncRedisPyDialer:
    """As `RedisPyDialer`, for event loops."""

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
            connection, endpoint = await self.connect()
            hang_up = partial(connection.disconnect, nowait=True)
            return AsyncDialed(transport_of(connection), hang_up, endpoint)

    async def connect(self) -> tuple[Any, Endpoint | None]:
        """As `RedisPyDialer.connect`."""
        options, endpoint = self._pool.connection_kwargs, None
        if self.sentinels is not None:
            endpoint = await self.sentinels.discover_master(self.where.primary)
            options = options | {"host": endpoint[0], "port": endpoint[1]}
        connection: Any = self._pool.connection_class(**options)
        await connection.connect()
        return connection, endpoint


@contextlib.contextmanager
def translated(where: Address) -> Iterator[None]:
    """Raise RedisUnavailable or RedisRefused for whatever redis-py raises."""
    try:
        yield
    except exceptions.AuthenticationError as error:  # to redis-py, a kind of outage
        raise error_of(_in_full(error), where) from error
    except exceptions.ResponseError as error:
        raise error_of(_in_full(error), where) from error
    except (exceptions.RedisError, OSError) as error:
        late = isinstance(error, exceptions.TimeoutError)
        why = "it does not answer in time" if late else error
        raise away(where, unreadable(where.tls_files) or why) from error


def _in_full(error: exceptions.RedisError) -> str:
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "")
    text = str(error)
    if text.startswith(_WRONGPASS):
        code = "WRONGPASS"
    return text if not code or text.startswith(code) else f"{code} {text}"

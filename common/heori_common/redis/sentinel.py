"""Asks sentinels where the primary is.

Does what `redis.sentinel.Sentinel` is there for, and says what each sentinel answered; that one
also waits seconds for each that is down, and leaves a connection open to each that it has asked.
(Redis documentation, "Guidelines for Redis clients with support for Redis Sentinel".)
"""

import contextlib
from collections.abc import Generator
from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from heori_common import clock
from heori_common.redis.address import Address, Endpoint, endpoint
from heori_common.redis.password_file import FileCredentials
from heori_common.redis.retries import ANSWER_TIMEOUT_S, LOOK_S

# A sentinel that does not answer for this long, in seconds, is passed over: it has little to do.
SENTINEL_TIMEOUT_S = 1.0


class _Search:
    """What to ask of which sentinel; to ask may block or not.

    Attributes:
        primary: where it was when sentinels were asked last.
    """

    def __init__(self, address: Address) -> None:
        self.primary: Endpoint | None = None
        self._name = address.primary
        self._sentinels = address.sentinels
        self._last = address.sentinels[0]  # the last that knew; the next to be asked first
        username, password = address.login
        self._options: dict[str, Any] = {
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        }
        if address.sentinel_file is not None:
            self._options["credential_provider"] = FileCredentials(address.sentinel_file)
        else:
            self._options |= {"username": username, "password": password}
        if address.tls:
            given = parse_url(address.url)  # type: ignore[no-untyped-call]
            tls = {name: value for name, value in given.items() if name.startswith("ssl_")}
            self._options |= {"ssl": True, **tls}

    def _search(self) -> Generator[Endpoint, dict[str, Any], Endpoint]:
        """Yield a sentinel to ask, receive what it knows of the primary; return where that is.

        Raises:
            redis.exceptions.ConnectionError: none knows a primary that is up.
        """
        answers = []
        for sentinel in sorted(self._sentinels, key=lambda each: each != self._last):
            try:
                state = yield sentinel
            except exceptions.RedisError as error:
                answers.append(f"sentinel {endpoint(*sentinel)}: {error}")
                continue
            if state["is_master"] and not state["is_sdown"] and not state["is_odown"]:
                self._last = sentinel
                self.primary = state["ip"], state["port"]
                return self.primary
            answers.append(f"sentinel {endpoint(*sentinel)} says that it is down")
        raise exceptions.ConnectionError("; ".join(answers))


class Sentinels(_Search):
    """Blocks. Safe to share between threads."""

    _next_look = 0.0

    def look(self) -> None:
        """Ask when it is time, if they answer."""
        if clock.now() >= self._next_look:
            self._next_look = clock.now() + LOOK_S
            try:
                self.discover_master(self._name)
            except exceptions.RedisError:  # they are away, and the primary may not be
                self._next_look = clock.now() + ANSWER_TIMEOUT_S

    def discover_master(self, name: str) -> Endpoint:
        """Where the primary of that name is now."""
        search = self._search()
        sentinel = next(search)
        try:
            while True:
                try:
                    state = self._ask(sentinel, name)
                except exceptions.RedisError as error:
                    sentinel = search.throw(error)
                else:
                    sentinel = search.send(state)
        except StopIteration as found:
            return found.value  # type: ignore[no-any-return]

    def _ask(self, sentinel: Endpoint, name: str) -> Any:
        host, port = sentinel
        retry = Retry(NoBackoff(), 0)
        with redis.Redis(host=host, port=port, retry=retry, **self._options) as client:
            return client.sentinel_master(name)


class AsyncSentinels(_Search):
    """Does not block."""

    async def look(self) -> None:
        """Ask, if they answer."""
        with contextlib.suppress(exceptions.RedisError):
            await self.discover_master(self._name)

    async def discover_master(self, name: str) -> Endpoint:
        """Where the primary of that name is now."""
        search = self._search()
        sentinel = next(search)
        try:
            while True:
                try:
                    state = await self._ask(sentinel, name)
                except exceptions.RedisError as error:
                    sentinel = search.throw(error)
                else:
                    sentinel = search.send(state)
        except StopIteration as found:
            return found.value  # type: ignore[no-any-return]

    async def _ask(self, sentinel: Endpoint, name: str) -> Any:
        host, port = sentinel
        retry = AsyncRetry(NoBackoff(), 0)
        async with redis.asyncio.Redis(
            host=host, port=port, retry=retry, **self._options
        ) as client:
            return await client.sentinel_master(name)

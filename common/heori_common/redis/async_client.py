"""The client of event loops: executes what `heori_common.protocol` builds."""

import asyncio
import time
from typing import TypeVar

from heori_common.metrics import CALL_SECONDS, Histogram
from heori_common.protocol.commands import Command
from heori_common.redis.address import Address
from heori_common.redis.async_connection import AsyncConnection
from heori_common.redis.async_dialer import AsyncDialer
from heori_common.redis.errors import RedisRefused
from heori_common.redis.retries import ANSWER_TIMEOUT_S, LOOK_S, words_in_full

T = TypeVar("T")


class AsyncRedisClient:
    """Executes commands in an event loop, over at most `connections` connections.

    It sends no command again by itself, as claims go over it; see `heori_common.redis.retries`.

    Args:
        url: as for `RedisClient`.
        answer_timeout: for how long an answer is waited for, in seconds; then the server is taken
            to be away.

    Attributes:
        address: where it points, for people to read; without a password.
        dialer: makes its connections, and others to the same server.
        answer_timeout: as given.
        calls: how long calls took that were answered, in seconds, by command.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(
        self, url: str, *, connections: int = 2, answer_timeout: float = ANSWER_TIMEOUT_S
    ) -> None:
        where = Address.parse(url)
        self.answer_timeout = answer_timeout
        self.address = str(where)
        self.dialer = AsyncDialer(where)
        self._all = [AsyncConnection(self.dialer) for _ in range(connections)]
        self._idle: asyncio.LifoQueue[AsyncConnection] = asyncio.LifoQueue()
        for connection in self._all:
            self._idle.put_nowait(connection)
        self.calls: dict[str, Histogram] = {}

    async def execute(self, command: Command[T]) -> T:
        """Execute one command.

        Raises:
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: it refuses the command.
        """
        connection = await self._idle.get()
        try:
            if connection.has_moved:
                await connection.close()
            began = time.perf_counter()
            if not connection.is_connected:
                await connection.connect()
            try:
                reply = await connection.ask(command.words, self.answer_timeout)
            except RedisRefused as error:
                in_full = words_in_full(command, error)
                if in_full is None:
                    raise
                reply = await connection.ask(in_full, self.answer_timeout)
            self._took(command.name, time.perf_counter() - began)
        except RedisRefused as error:
            if error.needs_reconnect:
                await connection.close()
            raise
        except BaseException:  # a cancellation, too: the reply may still be on its way
            await connection.close()
            raise
        finally:
            self._idle.put_nowait(connection)
        return command.parse(reply)

    async def follow(self) -> None:
        """Ask the sentinels, where there are any, every LOOK_S for ever, where the primary is."""
        while self.dialer.sentinels is not None:
            await asyncio.sleep(LOOK_S)
            await self.dialer.sentinels.look()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            await connection.close()

    def _took(self, name: str, seconds: float) -> None:
        if name not in self.calls:
            self.calls[name] = Histogram(CALL_SECONDS)
        self.calls[name].observe(seconds)

"""Who makes connections on event loops; as `dialer` and `plain`, who make those that block."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from heori_common.importing import import_apart
from heori_common.redis.address import Address
from heori_common.redis.dialed import AsyncDialed
from heori_common.redis.dialer import REDIS_PY
from heori_common.redis.errors import RedisUnavailable
from heori_common.redis.plain import PlainServer


class AsyncDialer:
    """As `Dialer`, for event loops."""

    def __init__(self, where: Address) -> None:
        self.where = where
        server = PlainServer.of(where)
        self._maker = (
            AsyncPlainDialer(server) if server else import_apart(REDIS_PY).AsyncRedisPyDialer(where)
        )
        self.sentinels: Any = self._maker.sentinels

    async def dial(self) -> AsyncDialed:
        """As `Dialer.dial`."""
        dialed: AsyncDialed = await self._maker.dial()
        return dialed

    def has_moved(self, dialed: AsyncDialed) -> bool:
        """Whether sentinels have named another primary since."""
        return self.sentinels is not None and dialed.endpoint != self.sentinels.primary


class AsyncPlainDialer:
    """Makes connections on event loops."""

    sentinels = None

    def __init__(self, server: PlainServer) -> None:
        self._server = server

    async def dial(self) -> AsyncDialed:
        """As `Dialer.dial`."""
        server, loop = self._server, asyncio.get_running_loop()
        try:
            made: tuple[asyncio.Transport, _Greeting]
            async with asyncio.timeout(server.connect_s):
                make: Callable[[], _Greeting] = partial(_Greeting, server)
                if server.path is None:
                    made = await loop.create_connection(make, server.host, server.port)
                else:
                    made = await loop.create_unix_connection(make, server.path)
            transport, greeting = made
            try:
                server.set_up(transport.get_extra_info("socket"))
                transport.write(server.greet())
                async with asyncio.timeout(server.answer_s):
                    await greeting.done
            except BaseException:
                transport.abort()
                raise
        except RedisUnavailable:
            raise
        except (OSError, ValueError) as error:
            raise server.failure(error) from error

        async def hang_up() -> None:
            transport.abort()

        return AsyncDialed(transport, hang_up)


class _Greeting(asyncio.Protocol):
    """The beginning of a connection.

    Attributes:
        done: set when the greeting is answered; fails when it is not.
    """

    def __init__(self, server: PlainServer) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._answers = server.new_answers()

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        try:
            if self._answers.are_complete(data):
                self.done.set_result(None)
        except Exception as error:  # whoever has dialed is told
            self.done.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

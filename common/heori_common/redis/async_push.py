"""The connection for pushes of an event loop."""

import asyncio
import contextlib
from collections.abc import Sequence

from heori_common.redis.async_dialer import AsyncDialer
from heori_common.redis.conversation import OnPush
from heori_common.redis.dialed import AsyncDialed
from heori_common.redis.errors import RedisRefused, RedisUnavailable, away
from heori_common.redis.push import OnReady, PushConnection, Words
from heori_common.redis.retries import Backoff


class AsyncPushConnection(PushConnection, asyncio.Protocol):
    """Kept on an event loop, as long as `run` runs there."""

    def __init__(
        self,
        dialer: AsyncDialer,
        greeting: Sequence[Words],
        on_push: OnPush,
        on_ready: OnReady,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__(dialer.where, greeting, on_push, on_ready, backoff=backoff)
        self._dialer = dialer
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Keep a connection, for ever; who is told of what goes wrong are those who call."""
        while True:
            try:
                await self._talk(await self._dialer.dial())
            except (RedisUnavailable, RedisRefused) as error:
                self._why = error
            self.expire()
            await asyncio.sleep(self._backoff.pause())

    def end(self, why: Exception) -> None:
        """Disconnect, for this reason."""
        super().end(why)
        self._ended.set()

    async def _talk(self, dialed: AsyncDialed) -> None:
        try:
            self._ended.clear()
            dialed.transport.set_protocol(self)
            self.start(dialed.transport)
            while self.is_connected and not self._dialer.has_moved(dialed):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.until_check()):
                        await self._ended.wait()
                if self.is_connected:
                    self.check()
        finally:
            self.end(away(self.where, "the connection was closed"))
            await dialed.hang_up()

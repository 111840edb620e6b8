"""The connection for commands of an event loop."""

import asyncio
from collections.abc import Iterable
from typing import Any

from heori_common.redis.async_dialer import AsyncDialer
from heori_common.redis.conversation import Conversation
from heori_common.redis.dialed import AsyncDialed
from heori_common.redis.errors import away
from heori_common.redis.resp import Word


class AsyncConnection(Conversation, asyncio.Protocol):
    """A command is one write, and its reply one read. Several may be under way at a time."""

    def __init__(self, dialer: AsyncDialer) -> None:
        super().__init__(dialer.where)
        self._dialer = dialer
        self._dialed: AsyncDialed | None = None

    @property
    def has_moved(self) -> bool:
        """Whether the sentinels have named another primary since it was connected."""
        return self._dialed is not None and self._dialer.has_moved(self._dialed)

    async def connect(self) -> None:
        """Connect anew; what is left of a connection that was lost is let go.

        Raises:
            RedisUnavailable, RedisRefused: that cannot be done.
        """
        await self.close()
        self._dialed = await self._dialer.dial()
        self.begin(self._dialed.transport)
        self._dialed.transport.set_protocol(self)

    async def close(self) -> None:
        """Disconnect; what was asked for and not answered fails."""
        self.end(away(self.where, "the connection was closed"))
        if self._dialed is not None:
            dialed, self._dialed = self._dialed, None
            await dialed.hang_up()

    async def ask(self, words: Iterable[Word], seconds: float) -> Any:
        """Send a command and wait for its reply.

        Args:
            seconds: for how long at most.

        Raises:
            RedisRefused: the server refuses it.
            RedisUnavailable: there is no reply. Close it then.
        """
        loop = asyncio.get_running_loop()
        answer = loop.create_future()

        def reply(value: Any) -> None:
            if answer.done():
                return  # nobody waits any more
            if isinstance(value, Exception):
                answer.set_exception(value)
            else:
                answer.set_result(value)

        self.send([(words, reply)])
        patience = loop.call_later(
            seconds, lambda: reply(away(self.where, f"no reply within {seconds:g} s"))
        )
        try:
            return await answer
        finally:
            patience.cancel()

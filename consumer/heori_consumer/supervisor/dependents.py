"""Jobs that wait for others which have ended: queued where that was not done with their end.

An acknowledgement queues what waits for its jobs, up to a number. For the rest, and for what waits
for dead letters, a mark stays in Redis. Whoever leads goes by these marks, and so does whoever has
just left one. So what waits comes late when a consumer is killed, and is never lost.
"""

import asyncio

from heori_common import logs
from heori_common.errors import summary
from heori_common.protocol.commands import BEGINNING, SettledUpTo
from heori_common.redis.errors import RedisRefused
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership

log = logs.get_logger(__name__)


class Dependents:
    """Goes by the marks when there are any, as any number of consumers may at once."""

    def __init__(self, context: Context, leadership: Leadership) -> None:
        self._redis = context.redis
        self._commands = context.commands
        self._retry = context.retry
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        leadership.on_left.append(self.are_left)

    def are_left(self) -> None:
        """There are marks."""
        self._settled.clear()
        self._work.set()

    async def settled(self) -> None:
        """Wait until all that can be is queued."""
        await self._settled.wait()

    async def run(self) -> None:
        """Queue, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            place: SettledUpTo | None = BEGINNING
            while place is not None:
                command = self._commands.settle_dependents(place)
                try:
                    place = await self._retry.persist(
                        "enqueue dependents",
                        lambda command=command: self._redis.execute(command),  # type: ignore[misc]
                    )
                except RedisRefused as error:
                    log.error("cannot enqueue dependents", error=summary(error))
                    break
            if not self._work.is_set():
                self._settled.set()

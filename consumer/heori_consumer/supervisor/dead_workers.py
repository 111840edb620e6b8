"""Gives up at once what tasks have locked in workers that are no more.

Nobody renews these locks, so that they would be free when their leases are over: for as long,
everybody else would wait for nothing. What a job declares its consumer holds, and not its worker.
"""

import asyncio
import contextlib

from heori_common import logs
from heori_common.locks.commands import MOST_RENEWED, LockCommands
from heori_common.protocol.keys import Keys
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

# What a worker has sent last may arrive after it has gone.
AGAIN_S = 1.0
RELEASE = "give up the locks of a worker"


class DeadWorkers:
    """The processes whose locks are to be given up."""

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        self._retry = context.retry
        self._commands = LockCommands(Keys(context.settings.key_prefix))
        self._ended: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    def ended(self, process: str) -> None:
        """A worker process is no more.

        Args:
            process: its id, see `heori_common.process_id`.
        """
        self._ended.put_nowait((process, False))

    async def run(self) -> None:
        """Give up what they have locked, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            process, again = await self._ended.get()
            await self._retry.persist(RELEASE, lambda process=process: self._release(process))  # type: ignore[misc]
            if not again:
                loop.call_later(AGAIN_S, self._ended.put_nowait, (process, True))

    async def finish(self) -> None:
        """Give up what those have locked that have ended last; without Redis, their leases end."""
        with contextlib.suppress(RedisUnavailable, RedisRefused):
            while not self._ended.empty():
                await self._release(self._ended.get_nowait()[0])

    async def _release(self, process: str) -> None:
        try:
            locks = await self._redis.execute(self._commands.in_use())
            for first in range(0, len(locks), MOST_RENEWED):
                some = locks[first : first + MOST_RENEWED]
                held = await self._redis.execute(self._commands.release_process(some, process))
                if held:
                    log.warning("a worker ended with locks; they are free now", locks=held)
        except RedisRefused as error:
            if error.is_general:
                raise
            # Their leases end.
            log.error("the locks of a worker cannot be given up", error=str(error))

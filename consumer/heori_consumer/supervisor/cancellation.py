"""Jobs that are cancelled after they were claimed and before they began."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from heori_common import logs
from heori_common.protocol.job import Claim
from heori_common.redis.errors import RedisRefused
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

CALL_JOBS = 500  # to ask about in one call at most


class Cancellation:
    """Finds out which of the jobs held here were cancelled, whenever some job was.

    Args:
        drop: called with the ids of those; some of them may run already.
    """

    def __init__(self, context: Context, drop: Callable[[Collection[str]], None]) -> None:
        self._context = context
        self._drop = drop
        self._queues: set[str] = set()
        self._work = asyncio.Event()

    def told(self, queue: str) -> None:
        """A job of that queue was cancelled, or may have been."""
        self._queues.add(queue)
        self._work.set()

    async def run(self) -> None:
        """Look and have them dropped, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            queues, self._queues = self._queues, set()
            # A claim that is under way may bring one that was cancelled since.
            async with self._context.leases.claiming:
                held = [claim for claim in self._context.leases.held() if claim.queue in queues]
            for first in range(0, len(held), CALL_JOBS):
                await self._look(held[first : first + CALL_JOBS])

    async def _look(self, held: Sequence[Claim]) -> None:
        context = self._context
        command = context.commands.find_canceled([claim.job_id for claim in held])
        try:
            numbers = await self._context.retry.persist(
                lambda: self._context.redis.execute(command)
            )
        except RedisRefused as error:
            log.error("cannot see which jobs were cancelled", reason=str(error))
            return
        if numbers:
            self._drop({held[number].job_id for number in numbers})

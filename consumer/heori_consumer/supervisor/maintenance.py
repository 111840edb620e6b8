"""What stock workers leave behind in the queues of this service. Its leader looks after it."""

import asyncio

from heori_common import logs
from heori_common.protocol.commands.maintenance import MOST_TOLD
from heori_consumer.supervisor.context import Context, new_token
from heori_consumer.supervisor.intake import Intake
from heori_consumer.supervisor.leadership import SETTLE_S, Leadership

log = logs.get_logger(__name__)

MAINTAIN_EVERY_S = 15.0  # stock workers do it every ten minutes
CALL_QUEUES = 200  # most have nothing, and take Redis some microseconds
STEP_S = 0.05  # between two calls


class Maintenance:
    """Does for a queue what stock workers would; `reclaim_stock.lua` says what that is."""

    def __init__(self, context: Context, leadership: Leadership, intake: Intake) -> None:
        self._context = context
        self._intake = intake
        self._leadership = leadership

    async def run(self) -> None:
        """Look from time to time, for ever."""
        await asyncio.sleep(SETTLE_S)
        while True:
            await self._leadership.gained()
            await self._context.retry.once("look after stock workers", self._look())
            await self._context.beat.rest(MAINTAIN_EVERY_S)

    async def _look(self) -> None:
        queues = self._context.queues
        for first in range(0, len(queues), CALL_QUEUES):
            if first:
                await asyncio.sleep(STEP_S)
            command = self._context.commands.reclaim_stock(
                queues[first : first + CALL_QUEUES],
                taker=self._context.name,
                token=new_token(),
                lease=self._context.settings.lease,
                most_taken=MOST_TOLD,
            )
            found = await self._context.redis.execute(command)
            self._intake.take(found.claims)
            if found:
                log.warning(
                    "jobs of stock workers that died",
                    retried=len(found.retried),
                    failed=len(found.failed),
                    returned=len(found.returned),
                    told=len(found.claims),
                )

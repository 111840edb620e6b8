"""Puts scheduled jobs on their queues when they are due. One of all consumers does so at a time."""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from redis.exceptions import ResponseError

from common.broker import AsyncBroker, BrokerUnavailable
from common.protocol.commands import Commands

log = structlog.get_logger()

# How long an elected consumer stays so without being heard of, in seconds.
LOCK_TTL = 3.0
# How often whoever is elected looks, in seconds. It knows when the next job is due and is there
# at that moment; but one that is due earlier may be added meanwhile.
TICK = 0.05
# How often all others look whether somebody is elected, in seconds.
STANDBY = 1.0
# The shortest pause, in seconds: when many jobs are due, claims come between two batches.
BREATH = 0.001
# Jobs per call at most: at 8 µs a job (measured, at best) a call keeps Redis for some four
# milliseconds, as a claim does; much smaller ones fall behind what consumers can run.
BATCH = 500


class Scheduler:
    """Moves due jobs, for those queues for which this consumer is elected.

    Attributes:
        moved: how many jobs it has put on their queues.
        lag: seconds by which the latest batch was late.
    """

    def __init__(
        self, broker: AsyncBroker, commands: Commands, queues: Sequence[str], consumer: str
    ) -> None:
        self._broker = broker
        self._look = commands.schedule(queues, consumer=consumer, lock_ttl=LOCK_TTL, batch=BATCH)
        self._resign = commands.resign(queues, consumer=consumer)
        self._broken: list[str] = []
        self.moved = 0
        self.lag = 0.0

    async def run(self) -> None:
        """Look for due jobs, for ever."""
        while True:
            pause = await self._move()
            await asyncio.sleep(pause)

    async def resign(self) -> None:
        """Let another consumer be elected at once."""
        with contextlib.suppress(BrokerUnavailable, ResponseError):
            await self._broker.execute(self._resign)

    async def _move(self) -> float:
        """Move what is due; returns for how many seconds there is nothing to do."""
        try:
            moved = await self._broker.execute(self._look)
        except BrokerUnavailable:
            return STANDBY
        except ResponseError as error:  # it is out of memory, say, or a replica now
            log.error("Redis refuses to move scheduled jobs", reason=str(error))
            return STANDBY
        if moved.jobs:
            self.moved += moved.jobs
            self.lag = moved.late
        if moved.broken and moved.broken != self._broken:
            log.error("keys of another type; their scheduled jobs wait", keys=moved.broken)
        self._broken = moved.broken
        longest = TICK if moved.held else STANDBY
        return longest if moved.pause is None else min(longest, max(BREATH, moved.pause))

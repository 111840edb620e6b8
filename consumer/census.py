"""How many jobs are where, told by one consumer of each queue; and locks, by one of all."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from redis.exceptions import ResponseError

from common.broker import AsyncBroker, BrokerUnavailable
from common.protocol.commands import Commands, QueueCensus
from common.protocol.lock_commands import LockCommands, LockCounts

log = structlog.get_logger()

# How long an elected consumer stays so without being heard of, and how often it counts, seconds.
LEASE = 3.0
INTERVAL = 1.0


class Census:
    """Counts the jobs of those queues, and the locks, for which this consumer is elected."""

    def __init__(
        self, broker: AsyncBroker, commands: Commands, queues: Sequence[str], consumer: str
    ) -> None:
        self._broker = broker
        self._command = commands.count(queues, consumer=consumer, lease=LEASE)
        self._lock_command = LockCommands(commands.keys).count(consumer=consumer, lease=LEASE)
        self._counted: dict[str, QueueCensus] = {}
        self._locks: LockCounts | None = None
        self._until = 0.0  # when another may have been elected, as time.monotonic() tells it

    def counted(self) -> dict[str, QueueCensus]:
        """The latest, by queue; nothing for what another consumer tells, or may tell by now."""
        return self._counted if time.monotonic() < self._until else {}

    def locks(self) -> LockCounts | None:
        """The latest; None when another consumer tells it, or may do so by now."""
        return self._locks if time.monotonic() < self._until else None

    async def run(self) -> None:
        """Count, for ever."""
        while True:
            asked = time.monotonic()
            try:
                counted = await self._broker.execute(self._command)
                self._locks = await self._broker.execute(self._lock_command)
                self._counted = counted
                self._until = asked + LEASE
            except BrokerUnavailable:
                pass  # the claimer says so
            except ResponseError as error:  # it is out of memory, say, or a replica now
                log.error("Redis refuses to count jobs", reason=str(error))
            await asyncio.sleep(INTERVAL)

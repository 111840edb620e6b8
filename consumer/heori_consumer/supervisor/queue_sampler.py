"""How many jobs are where, told by one consumer of each queue; and locks, by one of all."""

import asyncio
import time

from heori_common import logs
from heori_common.locks.commands import LockCommands, LockCounts
from heori_common.protocol.commands import QueueCensus
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

INTERVAL = 1.0  # seconds between two counts
# So many tenants make it a second longer each: to count them takes Redis about 12 ms.
TENANTS = 1000
LEASE = 3  # intervals for which an elected consumer stays so without being heard of


class QueueSampler:
    """Counts the jobs of those queues, and the locks, for which this consumer is elected."""

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        self._commands = context.commands
        self._queues = context.queues
        self._consumer = context.name
        self._lock_commands = LockCommands(self._commands.keys)
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
        interval = INTERVAL
        while True:
            asked = time.monotonic()
            who, lease = self._consumer, LEASE * interval
            try:
                counted = await self._redis.execute(
                    self._commands.count_queues(self._queues, consumer=who, lease=lease)
                )
                self._locks = await self._redis.execute(
                    self._lock_commands.count(consumer=who, lease=lease)
                )
                self._counted = counted
                self._until = asked + lease
                interval = INTERVAL + sum(of.tenants for of in counted.values()) / TENANTS
            except RedisUnavailable:
                pass  # the claimer says so
            except RedisRefused as error:  # it is out of memory, say, or a replica now
                log.error("Redis refuses to count jobs", reason=str(error))
            await asyncio.sleep(interval)

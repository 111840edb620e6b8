"""The leases that no consumer extends any more: their jobs are delivered again."""

import asyncio
from collections.abc import Sequence

import structlog
from redis.exceptions import ResponseError

from heori_common.protocol.commands import Commands
from heori_common.protocol.payload import encode_failure
from heori_common.redis.client import AsyncRedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_consumer.supervisor.broken_keys import BrokenKeys

log = structlog.get_logger()

# How often some consumer looks for expired leases, in seconds.
REAP_INTERVAL = 1.0

EVIDENCE = encode_failure(
    "delivered too often without an end; the last consumer vanished with this job and did not "
    "extend its lease\n"
)


class Reaper:
    """Gives back the jobs of consumers that vanished. One of all consumers works at a time."""

    def __init__(
        self,
        client: AsyncRedisClient,
        commands: Commands,
        queues: Sequence[str],
        consumer: str,
        max_deliveries: int,
        broken: BrokenKeys,
    ) -> None:
        self._redis = client
        self._broken = broken
        self._command = commands.reclaim(
            queues,
            interval=REAP_INTERVAL,
            consumer=consumer,
            max_deliveries=max_deliveries,
            evidence=EVIDENCE,
        )
        self.redelivered = 0
        self.dead = 0

    async def reap(self) -> None:
        """Look for expired leases, for ever."""
        while True:
            try:
                reclaimed = await self._redis.execute(self._command)
            except RedisUnavailable:
                reclaimed = None
            except ResponseError as error:  # it is out of memory, say, or a replica now
                reclaimed = None
                log.error("Redis refuses to reclaim", reason=str(error))
            if reclaimed is not None:
                self._broken.see("reaper", reclaimed.broken)
                self.redelivered += reclaimed.queued
                self.dead += reclaimed.dead
                if reclaimed.queued or reclaimed.dead:
                    log.warning(
                        "jobs of a vanished consumer",
                        redelivered=reclaimed.queued,
                        dead=reclaimed.dead,
                    )
            await asyncio.sleep(REAP_INTERVAL)

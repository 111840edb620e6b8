"""The leases that no consumer extends any more: their jobs are delivered again."""

import asyncio

from heori_common import logs
from heori_common.protocol.payload import encode_failure
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.lease_keeper import LeaseKeeper

log = logs.get_logger(__name__)

REAP_EVERY_S = 1.0  # some consumer looks for expired leases this often

EVIDENCE = encode_failure(
    "delivered too often without an end; the last consumer vanished with this job and did not "
    "extend its lease\n"
)


class Reaper:
    """Gives back the jobs of consumers that vanished. One of all consumers works at a time.

    A consumer that could not extend its own leases must not end them, or those of others who could
    not either: it extends first. How long the others get then, says watched.lua.
    """

    def __init__(self, context: Context, keeper: LeaseKeeper) -> None:
        self._keeper = keeper
        self._coming_back = False  # what Redis said last
        self._redis = context.redis
        self._broken_keys = context.broken_keys
        self._command = context.commands.reclaim(
            context.queues,
            interval=REAP_EVERY_S,
            lease=context.settings.lease,
            consumer=context.name,
            max_deliveries=context.settings.max_deliveries,
            evidence=EVIDENCE,
        )
        self.redelivered = 0
        self.dead = 0

    async def run(self) -> None:
        """Look for expired leases, for ever."""
        while True:
            if self._keeper.is_behind:
                await asyncio.sleep(REAP_EVERY_S)
                continue
            try:
                reclaimed = await self._redis.execute(self._command)
            except RedisUnavailable:
                reclaimed = None
            except RedisRefused as error:  # it is out of memory, say, or a replica now
                reclaimed = None
                log.error("Redis refuses to reclaim", reason=str(error))
            if reclaimed is not None:
                self._broken_keys.see("reaper", reclaimed.broken)
                if reclaimed.coming_back and not self._coming_back:
                    self._keeper.hurry()
                self._coming_back = reclaimed.coming_back
                self.redelivered += reclaimed.queued
                self.dead += reclaimed.dead
                if reclaimed.queued or reclaimed.dead:
                    log.warning(
                        "jobs of a vanished consumer",
                        redelivered=reclaimed.queued,
                        dead=reclaimed.dead,
                    )
            await asyncio.sleep(REAP_EVERY_S)

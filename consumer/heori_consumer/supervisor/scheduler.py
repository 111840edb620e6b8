"""Puts scheduled jobs on their queues when they are due. One of all consumers does so at a time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from redis.exceptions import ResponseError

from heori_common.protocol.commands import Commands
from heori_common.redis.client import AsyncRedisClient
from heori_common.redis.errors import RedisUnavailable

log = structlog.get_logger()

# How long an elected consumer stays so without being heard of, in seconds.
LOCK_TTL = 3.0
# Whoever is elected knows when the next job is due, and is told when another is scheduled. Where
# it cannot be told, it looks this often, in seconds.
TICK = 0.05
# How often it looks for no reason, and all others whether somebody is elected, in seconds.
STANDBY = 1.0
# The shortest pauses, in seconds: when many jobs are due, claims come between two batches; and
# when many are scheduled, not each of them is a reason to look.
BREATH = 0.001
PATIENCE = 0.01
# Jobs per call at most: at 8 µs a job (measured, at best) a call keeps Redis for some four
# milliseconds, as a claim does; much smaller ones fall behind what consumers can run.
BATCH = 500


class Scheduler:
    """Moves due jobs, for those queues for which this consumer is elected.

    Args:
        watch: arranges for one call of `wake` when a job is scheduled; returns whether it could.

    Attributes:
        moved: how many jobs it has put on their queues.
        lag: seconds by which the latest batch was late.
    """

    def __init__(
        self,
        client: AsyncRedisClient,
        commands: Commands,
        queues: Sequence[str],
        consumer: str,
        watch: Callable[[], Awaitable[bool]],
    ) -> None:
        self._redis = client
        self._look = commands.enqueue_due(queues, consumer=consumer, lock_ttl=LOCK_TTL, batch=BATCH)
        self._resign = commands.resign(queues, consumer=consumer)
        self._broken: list[str] = []
        self._watch = watch
        self._watched = False
        self._woken = asyncio.Event()
        self._elected = False
        self.moved = 0
        self.lag = 0.0

    async def run(self) -> None:
        """Look for due jobs, for ever."""
        while True:
            self._woken.clear()
            self._watched = self._elected and await self._watch()
            pause = await self._move()
            if pause <= PATIENCE:
                await asyncio.sleep(pause)
                continue
            await asyncio.sleep(PATIENCE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - PATIENCE):
                    await self._woken.wait()

    def wake(self) -> None:
        """Have it look soon: a job was scheduled."""
        self._woken.set()

    async def resign(self) -> None:
        """Let another consumer be elected at once."""
        with contextlib.suppress(RedisUnavailable, ResponseError):
            await self._redis.execute(self._resign)

    async def _move(self) -> float:
        """Move what is due; returns for how many seconds there is nothing to do."""
        try:
            moved = await self._redis.execute(self._look)
        except RedisUnavailable:
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
        newly = bool(moved.held) and not self._elected
        self._elected = bool(moved.held)
        longest = STANDBY if self._watched or not self._elected else BREATH if newly else TICK
        return longest if moved.pause is None else min(longest, max(BREATH, moved.pause))

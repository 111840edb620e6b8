"""Puts scheduled jobs on their queues when they are due. One of all consumers does so at a time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

# How long an elected consumer stays so without being heard of.
ELECTED_FOR_S = 3.0
# Whoever is elected knows when the next job is due, and is told when another is scheduled. Where
# it cannot be told, it looks this often.
LOOK_EVERY_S = 0.05
# How often it looks for no reason, and all others whether somebody is elected.
STANDBY_S = 1.0
# The shortest pauses: when many jobs are due, claims come between two batches; and
# when many are scheduled, not each of them is a reason to look.
SHORTEST_PAUSE_S = 0.001
GATHER_S = 0.01
# Jobs per call at most: at 8 µs a job (measured, at best) a call keeps Redis for some four
# milliseconds, as a claim does; much smaller ones fall behind what consumers can run.
CALL_JOBS = 500


class Scheduler:
    """Moves due jobs, for those queues for which this consumer is elected.

    Args:
        watch: has `Context.scheduled` set once when a job is scheduled; returns whether it could.

    Attributes:
        moved: how many jobs it has put on their queues.
        lag: seconds by which the latest batch was late.
    """

    def __init__(self, context: Context, watch: Callable[[], Awaitable[bool]]) -> None:
        self._redis = context.redis
        self._due = context.commands.enqueue_due(
            context.queues, consumer=context.name, lock_ttl=ELECTED_FOR_S, batch=CALL_JOBS
        )
        self._resign = context.commands.resign(context.queues, consumer=context.name)
        self._scheduled = context.scheduled
        self._broken: list[str] = []  # keys, as last told
        self._watch = watch
        self._watched = False
        self._elected = False
        self.moved = 0
        self.lag = 0.0

    async def run(self) -> None:
        """Look for due jobs, for ever."""
        while True:
            self._scheduled.clear()
            self._watched = self._elected and await self._watch()
            pause = await self._move()
            if pause <= GATHER_S:
                await asyncio.sleep(pause)
                continue
            await asyncio.sleep(GATHER_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - GATHER_S):
                    await self._scheduled.wait()

    async def resign(self) -> None:
        """Let another consumer be elected at once."""
        with contextlib.suppress(RedisUnavailable, RedisRefused):
            await self._redis.execute(self._resign)

    async def _move(self) -> float:
        """Move what is due; returns for how many seconds there is nothing to do."""
        try:
            moved = await self._redis.execute(self._due)
        except RedisUnavailable:
            return STANDBY_S
        except RedisRefused as error:  # it is out of memory, say, or a replica now
            log.error("Redis refuses to move scheduled jobs", reason=str(error))
            return STANDBY_S
        if moved.jobs:
            self.moved += moved.jobs
            self.lag = moved.late
        if moved.broken and moved.broken != self._broken:
            log.error("keys of another type; their scheduled jobs wait", keys=moved.broken)
        self._broken = moved.broken
        newly = bool(moved.held) and not self._elected
        self._elected = bool(moved.held)
        longest = (
            STANDBY_S
            if self._watched or not self._elected
            else SHORTEST_PAUSE_S
            if newly
            else LOOK_EVERY_S
        )
        return longest if moved.pause is None else min(longest, max(SHORTEST_PAUSE_S, moved.pause))

"""How many jobs are where, and locks: counted when somebody asks, and told by the leader alone."""

import asyncio
import concurrent.futures
import contextlib
import time

from heori_common import logs
from heori_common.locks.commands import LockCommands, LockCounts
from heori_common.protocol.commands import QueueCensus
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership

log = logs.get_logger(__name__)

INTERVAL = 1.0  # seconds between two counts at least
# So many tenants make it a second longer each: to count them takes Redis about 12 ms.
TENANTS = 1000
# Seconds for which a service that has told of a queue is the one that does, where several serve it
# and somebody leads that one.
# Whoever asks does so more often; Prometheus does every minute at the latest, as a rule.
LEASE = 150.0
CALL_QUEUES = 200  # in one call: to count them takes Redis a few milliseconds
ANSWER_S = 1.0  # for which somebody that asks is kept waiting at most; then the last count is told


class QueueSampler:
    """Counts the jobs of those queues, and the locks, of which this consumer is to tell."""

    def __init__(self, context: Context, leadership: Leadership) -> None:
        self._redis = context.redis
        self._retry = context.retry
        self._commands = context.commands
        self._queues = context.queues
        self._leadership = leadership
        self._lock_commands = LockCommands(self._commands.keys)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._counting = asyncio.Lock()
        self._again = 0.0  # when to count again, as time.monotonic() tells it
        self._until = 0.0  # when another may tell, likewise
        self._counted: dict[str, QueueCensus] = {}
        self._locks: LockCounts | None = None

    def counts(self) -> tuple[dict[str, QueueCensus], LockCounts | None]:
        """Count, if it was not done just before; by queue, and of all locks.

        Nothing of what another consumer tells, or may tell by now. Called in another thread.
        """
        if self._loop is None or not self._leadership.leads:
            return {}, None
        counting = asyncio.run_coroutine_threadsafe(self._count(), self._loop)
        with contextlib.suppress(
            concurrent.futures.TimeoutError, concurrent.futures.CancelledError
        ):
            counting.result(ANSWER_S)
        if time.monotonic() < self._until and self._leadership.leads:
            return self._counted, self._locks
        return {}, None

    async def run(self) -> None:
        """Be there for those who ask, until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.Event().wait()
        finally:
            self._loop = None

    async def resign(self) -> None:
        """Let other services tell of the queues that this one has told of."""
        if self._counted:
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                await self._redis.execute(
                    self._commands.resign(self._queues, consumer=self._leadership.service)
                )

    async def _count(self) -> None:
        async with self._counting:
            asked = time.monotonic()
            if asked < self._again or not self._leadership.leads:
                return
            read = await self._retry.once("count jobs", self._read())
            if read is None:
                return
            self._counted, self._locks = read
            tenants = sum(of.tenants for of in self._counted.values())
            self._again = asked + INTERVAL + tenants / TENANTS
            self._until = asked + LEASE

    async def _read(self) -> tuple[dict[str, QueueCensus], LockCounts | None]:
        service = self._leadership.service
        counted: dict[str, QueueCensus] = {}
        for first in range(0, len(self._queues), CALL_QUEUES):
            queues = self._queues[first : first + CALL_QUEUES]
            count = self._commands.count_queues(queues, service=service, lease=LEASE)
            of_these = await self._redis.execute(count)
            counted |= of_these
        locks = await self._redis.execute(self._lock_commands.count(service=service, lease=LEASE))
        return counted, locks

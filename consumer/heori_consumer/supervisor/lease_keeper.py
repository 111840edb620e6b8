"""Extends the leases of this consumer, and tells the pool which of them are lost."""

import asyncio
import time
from collections.abc import Sequence

from heori_common import logs
from heori_common.protocol.commands import Extended
from heori_common.protocol.job import Claim
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

# It goes on while the machine sleeps, unlike time.monotonic(), and so do the leases.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
LOOK_EVERY_S = 1.0  # at the clock: timers of the event loop stand still in that sleep
EXTEND = "extend leases"
CALL_LEASES = 500  # per call at most: a call of a thousand takes Redis a few milliseconds


class LeaseKeeper:
    """Extends all leases every third of their time, and at once after a pause.

    A lease that has run out is extended like any other, as long as nobody has taken its job.

    Attributes:
        lost: how many leases were lost while their jobs ran.
        late: how many renewals have failed and were tried again.
    """

    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._lease_s = context.settings.lease
        self._pool = pool
        self._extended = time.clock_gettime(CLOCK)  # when they were last
        self._hurried = asyncio.Event()
        self.lost = 0
        self.late = 0

    @property
    def is_behind(self) -> bool:
        """Whether the leases should have been extended some time ago: they may have run out."""
        return time.clock_gettime(CLOCK) - self._extended > self._lease_s * 2 / 3

    def hurry(self) -> None:
        """Extend now."""
        self._hurried.set()

    async def run(self) -> None:
        """Extend, for ever."""
        while True:
            due = self._extended + self._lease_s / 3
            while not self._hurried.is_set() and (left := due - time.clock_gettime(CLOCK)) > 0:
                await self._context.beat.wait(self._hurried, min(left, LOOK_EVERY_S))
            self._hurried.clear()
            held = self._context.leases.held()
            for first in range(0, len(held), CALL_LEASES):
                await self._extend(held[first : first + CALL_LEASES])
            self._extended = time.clock_gettime(CLOCK)

    async def _extend(self, claims: Sequence[Claim]) -> None:
        command = self._context.commands.extend_leases(
            claims,
            lease=self._lease_s,
            consumer=self._context.name,
            recorded=self._context.leases.recorded,
        )

        async def attempt() -> Extended:
            try:
                return await self._context.redis.execute(command)
            except (RedisUnavailable, RedisRefused):
                self.late += len(claims)
                raise

        try:
            # Not a third later: a failover takes about as long as a lease has left by then.
            lost, unlocked = await self._context.retry.persist(EXTEND, attempt)
        except RedisRefused as error:  # there is another third, and then the server decides
            self._context.retry.failed(EXTEND, error, vital=True)
            return
        if gone := self._context.leases.lose(claims[number] for number in lost):
            self.lost += len(gone)
            for claim in gone:
                log.warning("lease lost; the job may run elsewhere", job=claim.job_id)
            self._pool.leases_lost(gone)
        if bare := self._context.leases.lose_locks(claims[number] for number in unlocked):
            for claim in bare:
                log.warning("a job has lost its locks, and is stopped", job=claim.job_id)
            self._pool.leases_lost(bare)

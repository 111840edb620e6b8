"""Claims jobs when there is room for them, and waits, without polling, when there are none."""

import os
import socket
import uuid
from collections.abc import Sequence

from heori_common import logs
from heori_common.metrics import BATCH_JOBS, Histogram
from heori_common.protocol.commands import Claimed
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import whole_queue
from heori_common.redis.errors import RedisRefused
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.listener import Listener
from heori_consumer.supervisor.precedence import Precedence
from heori_consumer.supervisor.queue_order import QueueOrder

log = logs.get_logger(__name__)

# However quiet it is, look into the queues this often: were a wake-up ever lost,
# jobs would be late and not forgotten.
LOOK_EVERY_S = 1.0


class Claimer:
    """Pops and leases jobs for a pool.

    Attributes:
        suspended: whether `rq suspend` held back the last claim.
        batches: how many jobs claims brought that brought any.
        deliveries: jobs claimed, by queue.
    """

    def __init__(self, context: Context, pool: Pool, listener: Listener) -> None:
        self._context = context
        self._pool = pool
        self._listener = listener
        self._order = QueueOrder(len(context.queues), context.options.weights)
        self._precedence = Precedence(context, pool)
        self._about = (socket.gethostname(), os.getpid())
        self._stopping = False
        self.suspended = False
        self.batches = Histogram(BATCH_JOBS)
        self.deliveries = dict.fromkeys(context.queues, 0)
        self._doubtful: str | None = None  # the token of a claim whose reply did not come
        self._refusal: str | None = None  # why Redis did not take the last claim

    def stop(self) -> None:
        """Make no further claim; one that is under way is brought to its end."""
        self._stopping = True
        self._pool.changed.set()
        self._listener.ring()

    async def run(self) -> None:
        """Claim until stopped, then return; a claim that is under way is brought to its end."""
        while not self._stopping:
            wanted = self._pool.wanted()
            if not wanted:
                await self._pool.changed.wait()
                self._pool.changed.clear()
                continue
            self._listener.arm()
            async with self._context.leases.claiming:
                claimed = await self._claim(wanted)
                if claimed is not None:
                    self._context.leases.add(claimed.claims)
                    self._pool.dispatch(claimed.claims)
                    self._precedence.claimed(claimed.claims)
                    self._count(claimed.claims)
            if claimed is None:
                await self._listener.wait(LOOK_EVERY_S, (), suspended=False)
            elif claimed.empty:
                await self._listener.wait(
                    LOOK_EVERY_S, self._sound(claimed.broken), suspended=claimed.suspended
                )
                await self._context.stand_back.give_way()

    def _count(self, claims: Sequence[Claim]) -> None:
        if claims:
            self.batches.observe(len(claims))
        tenants = set()
        for claim in claims:
            queue = claim.queue
            if queue not in self.deliveries:  # a tenant's; there may be any number of them
                tenants.add(queue)
                queue = whole_queue(queue)
            self.deliveries[queue] += 1
        if tenants:
            self._listener.watch_canceled(tenants)

    def _sound(self, broken: frozenset[str]) -> list[str]:
        """The queues whose jobs can be claimed: what is in the others must not ring."""
        keys = self._context.commands.keys
        return [
            name
            for name in self._context.queues
            if broken.isdisjoint((keys.queue(name), keys.wip(name), keys.turns(name)))
        ]

    async def _claim(self, wanted: int) -> Claimed | None:
        """Claim; None when Redis refuses to."""
        shares = await self._precedence.shares(wanted)
        if shares is None:
            shares = self._order.shares(wanted)
        else:
            wanted = sum(shares)

        async def attempt() -> Claimed:
            if self._doubtful is not None:
                # Redis may have made a claim and not been able to say so. Its jobs would have
                # to wait for their leases to run out.
                await self._context.redis.execute(
                    self._context.commands.undo_claim(
                        self._context.queues,
                        token=self._doubtful,
                        consumer=self._context.name,
                        max_deliveries=self._context.settings.max_deliveries,
                    )
                )
            token = self._doubtful = uuid.uuid4().hex[:16]
            claimed = await self._context.redis.execute(
                self._context.commands.claim(
                    self._context.queues,
                    wanted,
                    lease=self._context.settings.lease,
                    consumer=self._context.name,
                    token=token,
                    max_payload=self._context.settings.max_payload,
                    shares=shares,
                    about=self._about,
                    deadlock=self._context.settings.deadlock,
                )
            )
            self._doubtful = None
            return claimed

        try:
            claimed = await self._context.retry.persist(attempt)
        except RedisRefused as error:
            if str(error) != self._refusal:  # once, and not each time
                self._refusal = str(error)
                log.error("Redis refuses a claim; trying again", reason=self._refusal)
            return None
        if self._refusal is not None:
            self._refusal = None
            log.info("Redis takes claims again")
        if claimed.suspended != self.suspended:
            self.suspended = claimed.suspended
            if self.suspended:
                log.warning("suspended: claiming nothing until `rq resume`")
            else:
                log.info("resumed")
        if not claimed.suspended:
            self._context.broken_keys.see("claimer", claimed.broken)
        return claimed

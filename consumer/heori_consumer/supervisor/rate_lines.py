"""What jobs wait for by a rate, while slots have nothing to do."""

from heori_common.protocol.keys import whole_queue
from heori_consumer.auto.held_up import HeldByRate
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

# Queues that are looked at, and of each the rates that are due first.
MOST_QUEUES = 20
MOST_RATES = 5


class RateLines:
    """Looks at those of the queues that a consumer serves.

    A job that may not begin yet has left its queue, and takes no slot: so nothing in the pool tells
    why there is nothing to do.
    """

    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._pool = pool
        self._queues = list(dict.fromkeys(map(whole_queue, context.queues)))[:MOST_QUEUES]

    async def longest(self) -> HeldByRate | None:
        """That of the most jobs, if they are enough for all slots that are idle."""
        context, pool = self._context, self._pool
        idle = pool.idle()
        if not idle or not pool.is_short:
            return None
        lines = await context.retry.once("read what jobs wait for by a rate", self._read())
        longest = max(lines or [], key=lambda line: line.waiting, default=None)
        return longest if longest is not None and longest.waiting >= idle else None

    async def _read(self) -> list[HeldByRate]:
        redis, commands = self._context.redis, self._context.commands
        return [
            HeldByRate(queue, rate, await redis.execute(commands.count_rate(queue, rate)))
            for queue in self._queues
            for rate, _ in await redis.execute(commands.rates(queue, MOST_RATES))
        ]

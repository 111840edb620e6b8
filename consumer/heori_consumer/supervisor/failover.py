"""Follows Redis to another primary, where sentinels tell which one it is."""

from heori_consumer.supervisor.context import Context


class Failover:
    """Asks the sentinels, where there are any, and has the client connect anew."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run(self) -> None:
        """Follow, for ever."""
        await self._context.redis.follow()

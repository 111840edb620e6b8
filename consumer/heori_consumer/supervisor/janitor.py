"""What is of no use to anybody, and has no TTL that ends it. One of all consumers takes it away."""

import asyncio

from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

TIDY_EVERY_S = 60.0  # some consumer looks at all queues this often
ELECTED_FOR_S = 0.9 * TIDY_EVERY_S  # so that whoever comes again after that is elected again
STEP_S = 0.25  # between two looks at some of many queues


class Janitor:
    """Strikes consumers that were killed, entries that are over, and queues that are not used.

    What there is to do, `tidy.lua` says.
    """

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        self._commands = context.commands
        self._name = context.name

    async def run(self) -> None:
        """Tidy up now and then, for ever."""
        cursor = "0"
        while True:
            cursor = await self._tidy(cursor)
            await asyncio.sleep(TIDY_EVERY_S if cursor == "0" else STEP_S)

    async def _tidy(self, cursor: str) -> str:
        """Look after some queues; returns where to go on, "0" when there is no more to do."""
        try:
            tidied = await self._redis.execute(
                self._commands.tidy(consumer=self._name, interval=ELECTED_FOR_S, cursor=cursor)
            )
        except RedisUnavailable:
            return "0"  # the claimer says so
        except RedisRefused as error:  # it is out of memory, say, or a replica now
            log.error("Redis refuses to tidy up", reason=str(error))
            return "0"
        if tidied is None:
            return "0"
        if tidied.dead:
            log.info("consumers that were killed are not listed any more", number=tidied.dead)
        return tidied.cursor

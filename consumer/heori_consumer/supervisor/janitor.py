"""What is of no use to anybody, and has no TTL that ends it. The leader takes it away."""

import asyncio

from heori_common import logs
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import SETTLE_S, Leadership

log = logs.get_logger(__name__)

TIDY_EVERY_S = 60.0  # all queues are looked at this often, whatever services there are
ELECTED_FOR_S = 0.9 * TIDY_EVERY_S  # so that whoever comes again after that is elected again
ASK_EVERY_S = 10.0  # while another service's leader does so or has just done so, or Redis cannot
STEP_S = 0.25  # between two looks at some of many queues, at least
THOROUGH_ROUNDS = 10  # one in so many looks for dead consumers at each queue, come what may


class Janitor:
    """Strikes consumers that were killed, entries that are over, and queues that are not used.

    What there is to do, `tidy.lua` says.
    """

    def __init__(self, context: Context, leadership: Leadership) -> None:
        self._leadership = leadership
        self._redis = context.redis
        self._retry = context.retry
        self._commands = context.commands
        self._name = context.name
        self._cursor = "0"
        self._rounds = self._looks = 0  # and those at some queues, of this round
        self._pause = STEP_S  # between two of these: all are looked at in TIDY_EVERY_S, about
        self._thorough = True
        self._deferring: dict[str, None] = {}  # queues in which jobs wait for others, in order
        self._has_deferring = asyncio.Event()

    async def run(self) -> None:
        """Tidy up now and then, for ever."""
        await asyncio.gather(self._tidy_on(), self._look_at_waiting_jobs())

    async def _tidy_on(self) -> None:
        await asyncio.sleep(SETTLE_S)
        while True:
            await self._leadership.gained()
            await asyncio.sleep(await self._tidy())

    async def _tidy(self) -> float:
        """Look after some queues; returns for how many seconds there is no more to do."""
        cursor, self._cursor = self._cursor, "0"
        if cursor == "0":
            if self._looks:
                self._pause = max(STEP_S, TIDY_EVERY_S / self._looks)
            self._looks = 0
            self._rounds += 1
            self._thorough = self._rounds % THOROUGH_ROUNDS == 1
        self._looks += 1
        command = self._commands.tidy(
            consumer=self._name, interval=ELECTED_FOR_S, cursor=cursor, thorough=self._thorough
        )
        tidied = await self._retry.once("tidy up", self._redis.execute(command))
        if tidied is None:
            return ASK_EVERY_S
        if cursor == "0":
            await self._retry.once("tidy up", self._tidy_what_queues_share())
        if tidied.dead:
            self._thorough = True
            log.info("consumers that were killed are not listed any more", number=tidied.dead)
        if tidied.deferring:
            self._deferring.update(dict.fromkeys(tidied.deferring))
            self._has_deferring.set()
        self._cursor = tidied.cursor
        is_over = tidied.cursor == "0" and self._pause == STEP_S
        return TIDY_EVERY_S if is_over else self._pause

    async def _look_at_waiting_jobs(self) -> None:
        """Go through the jobs that wait for others, as nobody tells when such a one is deleted.

        Many may wait: that takes its time, and keeps nothing else waiting.
        """
        while True:
            await self._has_deferring.wait()
            queue = next(iter(self._deferring))
            await self._retry.once("start what waits for nothing", self._start_waiting(queue))
            del self._deferring[queue]
            if not self._deferring:
                self._has_deferring.clear()

    async def _start_waiting(self, queue: str) -> None:
        look = self._commands.start_waiting
        found = await self._redis.execute(look(queue, only_ours=True))
        number = found.number
        while found.cursor != "0":
            await asyncio.sleep(STEP_S)
            found = await self._redis.execute(look(queue, found.cursor, only_ours=True))
            number += found.number
        if number:
            log.info("jobs need not wait any more for others", queue=queue, number=number)

    async def _tidy_what_queues_share(self) -> None:
        """Look after all groups and all rate limits of RQ's, and calls that are sent once."""
        commands = self._commands
        for look in (commands.tidy_groups, commands.tidy_limits, commands.tidy_same_calls):
            found = await self._redis.execute(look())
            while found.cursor != "0":
                await asyncio.sleep(STEP_S)
                found = await self._redis.execute(look(found.cursor))

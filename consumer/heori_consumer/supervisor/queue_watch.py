"""Has consumers woken for jobs that others than Heori have put on queues, such as rq's producers.

Heori's own scripts wake them by themselves. One of all consumers of a service watches.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable
from itertools import islice

from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

# While all consumers are at work, they claim by themselves: nobody has to be woken so soon, and
# each queue that is written is read again to be watched, which takes about a millisecond for these.
BUSY_S = 0.05
BUSY_QUEUES = 50
# Whatever is told, some queues are looked at this often, in turns.
LOOK_EVERY_S = 1.0
LOOKED_AT = 3

Watch = Callable[[Iterable[str], Callable[[str, int], None]], bool]


class QueueWatch:
    """Knows when a queue was written, and has consumers woken if there are jobs in it.

    Attributes:
        watch: `Listener.watch_queues`.
    """

    def __init__(self, context: Context, leads: Callable[[], bool]) -> None:
        self._context = context
        self._leads = leads
        self.watch: Watch | None = None
        self._changed: set[str] = set(context.queues)
        self._with_jobs: set[str] = set()
        self._event = asyncio.Event()
        self._next = 0  # of the queues, that is to be looked at

    def changed(self, queues: Collection[str]) -> None:
        """These were written."""
        self._changed.update(queues)
        self._event.set()

    def connected(self) -> None:
        """Nothing is watched, and anything may have been missed."""
        self.changed(self._context.queues)

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._event.wait()
            self._event.clear()
            if not self._leads():
                self._changed.update(self._context.queues)
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            changed, self._changed = self._changed, set()
            if not changed:
                self._with_jobs.update(self._some())
            elif not (self.watch and self.watch(changed, self._measured)):
                self._changed = changed
            if self._with_jobs and await self._wake():
                await asyncio.sleep(BUSY_S * max(1.0, len(changed) / BUSY_QUEUES))

    def _some(self) -> list[str]:
        queues = self._context.queues
        some = list(islice(queues, self._next, self._next + LOOKED_AT))
        self._next = 0 if self._next + LOOKED_AT >= len(queues) else self._next + LOOKED_AT
        return some

    def _measured(self, queue: str, length: int) -> None:
        if length:
            self._with_jobs.add(queue)
            self._event.set()

    async def _wake(self) -> int:
        """Returns for how many jobs nobody could be woken."""
        queues, self._with_jobs = self._with_jobs, set()
        try:
            return await self._context.redis.execute(self._context.commands.wake(sorted(queues)))
        except (RedisUnavailable, RedisRefused):
            self._changed |= queues  # the claimer says so
            return 1

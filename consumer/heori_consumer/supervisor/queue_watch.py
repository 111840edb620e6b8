"""Has consumers woken for jobs that others than Heori have put on queues, such as rq's producers.

Heori's own scripts wake them by themselves. The leader of a service watches.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from heori_common.redis.conversation import OnReply
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.push import Words
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.listener import Listener, OnWrite
from heori_consumer.supervisor.turn import Turn

# While all consumers are at work, they claim by themselves: nobody has to be woken so soon, and
# each queue that is written is read again to be watched, which takes about a millisecond for these.
BUSY_S = 0.05
BUSY_QUEUES = 50
# Whatever is told, some queues are looked at this often, in turns.
LOOK_EVERY_S = 1.0
LOOKED_AT = 3


class QueueWatch:
    """Knows when a queue was written, and has consumers woken if there are jobs in it."""

    def __init__(self, context: Context, leadership: Leadership, listener: Listener) -> None:
        self._context = context
        self._leadership = leadership
        self._listener = listener
        self._term = 0
        self._turn = Turn(context.queues, LOOKED_AT)
        self._changed: set[str] = set()
        self._with_jobs: set[str] = set()
        self._event = asyncio.Event()
        leadership.on_elected.append(self._event.set)

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            await self._context.beat.wait(self._event, LOOK_EVERY_S)
            await self._leadership.gained()
            self._event.clear()
            if self._term != self._leadership.term:
                self._term = self._leadership.term
                self._changed.update(self._context.queues)
            changed, self._changed = self._changed, set()
            if not changed:
                self._with_jobs.update(self._turn.next())
            elif not self._listener.track(self._reads(changed)):
                self._changed |= changed
                self._with_jobs |= changed
            if self._with_jobs and await self._wake():
                await asyncio.sleep(BUSY_S * max(1.0, len(changed) / BUSY_QUEUES))

    def _reads(self, queues: Iterable[str]) -> Iterator[tuple[Words, OnReply, OnWrite]]:
        keys = self._context.commands.keys
        all_of_them = partial(self._change, self._context.queues)
        yield ("EXISTS", keys.suspended()), lambda _: None, all_of_them
        for queue in queues:
            for words in (("LLEN", keys.queue(queue)), ("ZCARD", keys.turns(queue))):
                yield words, partial(self._measured, queue), partial(self._change, [queue])

    def _change(self, queues: Iterable[str]) -> None:
        self._changed.update(queues)
        self._event.set()

    def _measured(self, queue: str, length: Any) -> None:
        if isinstance(length, int) and length:
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

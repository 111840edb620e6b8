"""Has consumers told of jobs that others than Heori have put on queues, such as rq's producers.

Heori's own scripts tell them by themselves. The leader of a service watches.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from heori_common.redis.conversation import OnReply
from heori_common.redis.push import Words
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.listener import Listener, OnWrite
from heori_consumer.supervisor.turn import Turn

# When nobody could be woken, it is not tried again sooner: that costs the server as much as a job,
# and each queue that was written is read again to be watched.
BUSY_S = 0.05
# Whatever is told, some queues are looked at this often, in turns.
LOOK_EVERY_S = 1.0
LOOKED_AT = 3
CALL_QUEUES = 200  # in one call: that takes Redis less than a millisecond


class QueueWatch:
    """Knows when a queue was written, and has consumers told if there are jobs in it."""

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
            # Some at a time: of thousands that are written at once, most need not be read when it
            # turns out that nobody waits.
            changed = set(islice(self._changed, CALL_QUEUES))
            self._changed -= changed
            # First, as somebody may wait for what has come. If nobody does, it is not even read.
            left = await self._wake(changed) if changed else 0
            if left is None:
                continue
            if left and await self._until_any_waits():
                self._changed |= changed
                self._event.set()
                continue
            if not changed:
                self._with_jobs.update(self._turn.next())
            elif await self._listener.track(self._reads(changed)):
                if self._changed:
                    self._event.set()
            else:
                self._changed |= changed
                self._with_jobs |= self._changed
            with_jobs, self._with_jobs = self._with_jobs, set()
            if with_jobs and await self._wake(with_jobs) != 0:
                await self._until_any_waits()

    async def _until_any_waits(self) -> bool:
        """Wait until a consumer waits for jobs: while all are at work, they claim by themselves.

        Only what is written then concerns anybody. Else each claim would have its queue read again.
        Returns whether none has waited at first.
        """
        await asyncio.sleep(BUSY_S)
        waits = asyncio.Event()
        none_waited = False

        def counted(offers: Any) -> None:
            nonlocal none_waited
            none_waited = offers == 0
            if not none_waited:  # or it cannot be told
                waits.set()

        offers = self._context.commands.keys.offers(self._leadership.service)
        if await self._listener.track([(("ZCARD", offers), counted, waits.set)]):
            while self._leadership.leads and not waits.is_set():
                await self._context.beat.wait(waits, LOOK_EVERY_S)
            self._listener.forget([offers])
        return none_waited

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

    async def _wake(self, names: Iterable[str]) -> int | None:
        """Returns for how many jobs nobody could be woken; None when Redis did not do it."""
        queues, jobs = sorted(names), 0
        for first in range(0, len(queues), CALL_QUEUES):
            command = self._context.commands.wake(queues[first : first + CALL_QUEUES])
            left = await self._context.retry.once(
                "wake consumers", self._context.redis.execute(command)
            )
            if left is None:
                self._changed.update(queues[first:])
                return None
            jobs += left
        return jobs

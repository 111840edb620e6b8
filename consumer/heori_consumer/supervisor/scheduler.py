"""Puts jobs on their queues that are due, or may begin by their rate, while this consumer leads."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.listener import Listener
from heori_consumer.supervisor.tracked_counts import Count, TrackedCounts
from heori_consumer.supervisor.turn import Turn

log = logs.get_logger(__name__)

# How long a queue's scheduler's lock is held without being renewed.
ELECTED_FOR_S = 3.0
# The leader knows when the next job of each queue is due, and is told when another is scheduled.
# So often it looks all the same where any is scheduled, renews those queues' locks, and asks about
# some of the others; about all of them where it cannot be told.
LOOK_EVERY_S = 1.0
OTHERS = 3
# The shortest pauses: when many jobs are due, claims come between two batches; and
# when many are scheduled, not each of them is a reason to look.
SHORTEST_PAUSE_S = 0.001
GATHER_S = 0.01
# Jobs per call at most: at 8 µs a job (measured, at best) a call keeps Redis for some four
# milliseconds, as a claim does; much smaller ones fall behind what consumers can run.
CALL_JOBS = 500


class Scheduler:
    """Moves due jobs, for those queues whose scheduler's lock is free.

    Attributes:
        moved: how many jobs it has put on their queues.
        lag: seconds by which the latest batch was late.
    """

    def __init__(self, context: Context, leadership: Leadership, listener: Listener) -> None:
        self._beat = context.beat
        self._redis = context.redis
        self._retry = context.retry
        self._commands = context.commands
        self._name = context.name
        self._queues = context.queues
        self._leadership = leadership
        self._term = 0
        self._turn = Turn(context.queues, OTHERS)
        self._next_turn = 0.0  # as all times here, as time.monotonic() tells it
        self._looks: dict[str, float] = {}  # when to look, where something is scheduled
        self._locked: set[str] = set()  # whose lock this consumer may hold
        self._work = asyncio.Event()
        keys = context.commands.keys
        self._counts = [
            TrackedCounts(listener, key, on_count=self._counted, on_write=self._work.set)
            for key in (keys.scheduled, keys.rates)
        ]
        self._broken: set[str] = set()  # keys, as last told
        self.moved = 0
        self.lag = 0.0

    async def run(self) -> None:
        """Look for due jobs, for ever."""
        while True:
            await self._leadership.gained()
            self._work.clear()
            await self._ask()
            next_look = await self._move()
            gathered = min(next_look, time.monotonic() + GATHER_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_look):
                    await self._work.wait()
            await asyncio.sleep(max(0.0, gathered - time.monotonic()))

    async def resign(self) -> None:
        """Let another scheduler go on at once."""
        if self._locked:
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                await self._redis.execute(
                    self._commands.resign(sorted(self._locked), consumer=self._name)
                )

    async def _ask(self) -> None:
        """Ask whether anything is scheduled where that may have changed, and to be told."""
        now = time.monotonic()
        if self._term != self._leadership.term:
            self._term = self._leadership.term
            self._look_at(self._queues)
            self._next_turn = now
        if is_turn := now >= self._next_turn:
            self._next_turn = self._beat.within(LOOK_EVERY_S)
            self._look_at(self._turn.next())
        told = [await counts.ask() for counts in self._counts]
        if not all(told) and is_turn:
            self._looks = dict.fromkeys(self._queues, now) | self._looks

    def _look_at(self, queues: Sequence[str]) -> None:
        for counts in self._counts:
            counts.look_at(queues)

    def _counted(self, queue: str, count: Count) -> None:
        # A key of another type is looked at, too, so that it is told of.
        if count and not isinstance(count, RedisUnavailable):
            self._looks[queue] = time.monotonic()
            self._work.set()

    async def _move(self) -> float:
        """Move what is due; returns when there is more to do."""
        now = time.monotonic()
        queues = [queue for queue, when in self._looks.items() if when <= now]
        if queues:
            for queue in queues:  # what comes meanwhile is not to be forgotten below
                del self._looks[queue]
            pauses = await self._look(queues)
            now = time.monotonic()
            for queue, pause in zip(queues, pauses, strict=True):
                if pause is not None:
                    look = (
                        now + max(SHORTEST_PAUSE_S, pause)
                        if pause < LOOK_EVERY_S
                        else self._beat.within(LOOK_EVERY_S)
                    )
                    self._looks[queue] = min(look, self._looks.get(queue, look))
        return min([self._next_turn, *self._looks.values()])

    async def _look(self, queues: Sequence[str]) -> Sequence[float | None]:
        """Move what is due there; returns for how long there is nothing to do, queue by queue."""
        self._locked.update(queues)
        command = self._commands.enqueue_due(
            queues, consumer=self._name, lock_ttl=ELECTED_FOR_S, batch=CALL_JOBS
        )
        moved = await self._retry.once("move scheduled jobs", self._redis.execute(command))
        if moved is None:
            return [LOOK_EVERY_S] * len(queues)
        if moved.jobs:
            self.moved += moved.jobs
            self.lag = moved.late
        if not self._broken.issuperset(moved.broken):
            log.error("keys of another type; their scheduled jobs wait", keys=moved.broken)
        keys = self._commands.keys
        for make in (keys.scheduler_lock, keys.scheduled, keys.rates, keys.queue):
            self._broken.difference_update(map(make, queues))
        self._broken.update(moved.broken)
        return moved.pauses

"""Jobs that are cancelled after they were claimed and before they began.

The leader hears of cancelled jobs, finds out which of them were claimed, and tells those consumers
that hold them. Each consumer looks by itself after it could not be told anything for a while.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence

from heori_common import logs
from heori_common.protocol.commands.builder import text
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import whole_queue
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.listener import Listener
from heori_consumer.supervisor.tracked_counts import Count, TrackedCounts

log = logs.get_logger(__name__)

CALL_JOBS = 500  # to ask about in one call at most
# Between two looks of the leader, which take no more than that share of its time and of Redis': so
# any number of cancelled jobs costs no more than some.
GATHER_S = 0.02
LOOKING_SHARE = 0.1
# Tenants whose cancelled jobs are heard of. With more, those that came first are forgotten.
MOST_TENANTS = 10_000
LOOK, TELL = "look for cancelled jobs", "tell of cancelled jobs"
AGAIN_S = 1.0  # until it tries again what has failed, and lists tenants when more may have come


class Cancellation:
    """Has jobs dropped that are held here and were cancelled.

    Args:
        drop: called with the ids of those; some of them may run already.
    """

    def __init__(self, context: Context, drop: Callable[[Collection[str]], None]) -> None:
        self._context = context
        self._drop = drop
        self._told: set[str] = set()
        self._missed = False
        self._work = asyncio.Event()

    def told(self, ids: Collection[bytes]) -> None:
        """These jobs were cancelled."""
        self._told.update(map(text, ids))
        self._work.set()

    def missed(self) -> None:
        """Some may have been, and nobody could tell."""
        self._missed = True
        self._work.set()

    async def run(self) -> None:
        """Have them dropped, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            # A claim that is under way may bring one that was cancelled since.
            async with self._context.leases.claiming:
                held = self._context.leases.held()
                told, self._told = self._told, set()
            if gone := {claim.job_id for claim in held if claim.job_id in told}:
                self._drop(gone)
            if self._missed:
                self._missed = False
                for first in range(0, len(held), CALL_JOBS):
                    await self._look(held[first : first + CALL_JOBS])

    async def _look(self, held: Sequence[Claim]) -> None:
        context = self._context
        command = context.commands.find_canceled([claim.job_id for claim in held])
        try:
            numbers = await context.retry.persist(
                LOOK, lambda: context.redis.execute(command), writes=False
            )
        except RedisRefused as error:
            context.retry.failed(LOOK, error)
            return
        if numbers:
            self._drop({held[number].job_id for number in numbers})


class CancellationWatch:
    """Tells consumers which of their jobs were cancelled, while this one leads."""

    def __init__(self, context: Context, leadership: Leadership, listener: Listener) -> None:
        self._redis = context.redis
        self._retry = context.retry
        self._commands = context.commands
        self._queues = context.queues
        self._leadership = leadership
        self._listener = listener
        self._term = 0
        self._tenants: dict[str, None] = {}  # their queues, in the order in which they came
        self._listed = False  # whether these are all
        self._list_again = 0.0  # time.monotonic()
        self._look: set[str] = set()  # queues that have cancelled jobs
        self._work = asyncio.Event()
        self._counts = TrackedCounts(
            listener,
            context.commands.keys.canceled,
            on_count=self._counted,
            on_write=self._work.set,
        )
        leadership.on_elected.append(self._work.set)

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            await self._leadership.gained()
            self._work.clear()
            began = time.monotonic()
            await self._watch(began)
            await asyncio.sleep(max(GATHER_S, (time.monotonic() - began) / LOOKING_SHARE))
            with contextlib.suppress(TimeoutError):
                is_done = self._listed and self._counts.all_known and not self._look
                async with asyncio.timeout(None if is_done else AGAIN_S):
                    await self._work.wait()

    async def _watch(self, now: float) -> None:
        if self._term != self._leadership.term:
            self._term = self._leadership.term
            self._counts.look_at([*self._queues, *self._tenants])
            self._listed = False
        keys = self._commands.keys
        if not self._listed and now >= self._list_again:
            self._list_again = now + AGAIN_S
            self._listed = await self._listener.track(
                [(("SMEMBERS", keys.queues()), self._list, self._unlist)]
            )
        await self._counts.ask()
        while self._look:
            queue = next(iter(self._look))
            cursor = ""
            while cursor != "0":
                command = self._commands.tell_canceled(queue, cursor=cursor or "0")
                read = await self._retry.once(TELL, self._redis.execute(command))
                if read is None:
                    return
                cursor = read
            self._look.discard(queue)

    def _counted(self, queue: str, canceled: Count) -> None:
        if isinstance(canceled, int) and canceled:
            self._look.add(queue)
            self._work.set()

    def _unlist(self) -> None:
        self._listed = False
        self._work.set()

    def _list(self, listed: Collection[bytes] | RedisUnavailable | RedisRefused) -> None:
        """Learn which tenants there are."""
        if isinstance(listed, Exception):
            return
        keys, served = self._commands.keys, set(self._queues)
        names = {keys.queue_name(key.decode(errors="replace")) for key in listed}
        now = {name for name in names if whole_queue(name) in served} - served
        gone = [name for name in self._tenants if name not in now]
        gone += [name for name in self._tenants if name in now][: len(now) - MOST_TENANTS]
        for name in gone:
            del self._tenants[name]
        self._counts.forget(gone)
        new = sorted(now - self._tenants.keys())[:MOST_TENANTS]
        self._tenants |= dict.fromkeys(new)
        self._counts.look_at(new)
        self._work.set()

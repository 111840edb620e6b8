"""Periodic jobs: this consumer tells which entries its code has; whoever leads sends their ticks.

The leader goes by what is published, which may be of other code than its own. A script sends, and
refuses what another leader has dealt with. So it does no harm when two take themselves for it.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from heori_common import logs
from heori_common.periodic.entry import ScheduleEntry
from heori_common.protocol.commands import EntryState, Ticks
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import Leadership

log = logs.get_logger(__name__)

TELL_EVERY_S = 15.0
LIVES_S = 60.0  # without being heard of
LOOK_EVERY_S = 1.0  # the leader, for what people or other code have changed
CALL_TICKS = 100  # in one call, about: Redis does nothing else meanwhile
CLOCK_S = 0.002  # so that a tick is due when it is sent


class Ticker:
    """Tells and sends, each with a rhythm of its own.

    Attributes:
        counts: of ticks, by entry and what became of them: sent, missed or skipped.
    """

    def __init__(
        self,
        context: Context,
        leadership: Leadership,
        entries: Callable[[], Sequence[tuple[str, bytes]]],
    ) -> None:
        """Prepare.

        Args:
            entries: returns name and packed `ScheduleEntry` of those that the workers know.
        """
        self._context = context
        self._leadership = leadership
        self._own_entries = entries
        self._versions = ""  # whose entries are known
        self._entries: dict[str, ScheduleEntry] = {}
        self._next: dict[str, tuple[int, int]] = {}  # by name: a last tick, and the one after it
        self.counts: Counter[tuple[str, str]] = Counter()

    async def run(self) -> None:
        """Tell, as before, and send, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_telling())
            group.create_task(self._keep_sending())

    async def retire(self) -> None:
        """This consumer goes, and with it perhaps the last that has its version."""
        if self._own_entries():
            command = self._context.commands.retract_schedule(
                self._leadership.service,
                self._context.settings.tasks,
                self._own_entries(),
                consumer=self._context.name,
            )
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                await self._context.redis.execute(command)

    async def tell(self) -> None:
        """Tell which entries there are, and that this consumer lives."""
        # Who leads without any ends those that older code has published.
        if self._own_entries() or (self._leadership.leads and self._leadership.has_schedule):
            command = self._context.commands.publish_schedule(
                self._leadership.service,
                self._context.settings.tasks,
                self._own_entries(),
                consumer=self._context.name,
                ttl=LIVES_S,
            )
            await self._context.retry.once(
                "tell of periodic jobs", self._context.redis.execute(command)
            )

    async def _keep_telling(self) -> None:
        while True:
            await self._context.beat.rest(TELL_EVERY_S)
            await self.tell()

    async def _keep_sending(self) -> None:
        while True:
            await self._leadership.gained()
            if not self._leadership.has_schedule:
                await self._context.beat.rest(LOOK_EVERY_S)
                continue
            pause = await self._context.retry.once("send periodic jobs", self._look())
            await asyncio.sleep(LOOK_EVERY_S if pause is None else pause)

    async def _look(self) -> float:
        """Send what is due; returns in how many seconds to look again."""
        command = self._context.commands.look_at_schedule(
            self._leadership.service,
            self._versions,
            {name: entry.timing_text for name, entry in self._entries.items()},
        )
        look = await self._context.redis.execute(command)
        seen = time.monotonic()
        if look.entries is not None:
            self._versions = look.versions
            self._entries = {entry.name: entry for entry in _read(look.entries)}
            return 0.0
        batch: list[Ticks] = []
        size = 0
        for name, state in look.states.items():
            if self._next_of(name, state) > look.now:
                continue
            due = self._entries[name].due(state.last, look.now)
            # In parts, as there may be many: what one call has dealt with is the next one's last.
            last, missed = state.last, due.missed
            for first in range(0, max(1, len(due.ticks)), CALL_TICKS):
                part = due.ticks[first : first + CALL_TICKS]
                up_to = part[-1] if part else due.up_to
                jobs = [(self._entries[name].job_id(tick), tick) for tick in part]
                batch.append(Ticks(self._entries[name], last, jobs, missed, up_to))
                last, missed = up_to, 0
                size += len(part) + 1
                if size >= CALL_TICKS:
                    await self._send(batch)
                    batch, size = [], 0
        if batch:
            await self._send(batch)
        now = look.now + (time.monotonic() - seen) * 1000
        following = [
            self._entries[name].next_after(max(state.last, look.now))
            for name, state in look.states.items()
        ]
        soonest = min(following, default=float("inf"))
        return max(0.0, min(LOOK_EVERY_S, (soonest - now) / 1000 + CLOCK_S))

    def _next_of(self, name: str, state: EntryState) -> int:
        """The tick after the last one; to find it anew each second would take long."""
        last, tick = self._next.get(name, (None, 0))
        if last != state.last:
            tick = self._entries[name].next_after(state.last)
            self._next[name] = state.last, tick
        return tick

    async def _send(self, batch: list[Ticks]) -> None:
        replies = await self._context.redis.execute(self._context.commands.send_ticks(batch))
        for ticks, done in zip(batch, replies, strict=True):
            if done is not None:
                for outcome, count in done._asdict().items():
                    self.counts[ticks.entry.name, outcome] += count
                if done.missed:
                    log.warning(
                        "ticks of a periodic job were missed, and are not sent",
                        entry=ticks.entry.name,
                        missed=done.missed,
                    )


def _read(packed: Sequence[bytes]) -> Iterator[ScheduleEntry]:
    for each in packed:
        try:
            yield ScheduleEntry.unpack(each)
        except ValueError as error:
            log.error("a periodic job cannot be sent from here", reason=str(error))

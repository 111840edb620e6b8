"""The leases that no consumer extends any more: their jobs are delivered again."""

import time
from collections.abc import Callable, Sequence

from heori_common import logs
from heori_common.protocol.commands import Reclaimed
from heori_common.protocol.job import Job
from heori_common.protocol.keys import whole_queue
from heori_common.protocol.payload import encode_failure
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.leadership import REAP_EVERY_S, Leadership
from heori_consumer.supervisor.lease_keeper import LeaseKeeper
from heori_consumer.supervisor.turn import Turn

log = logs.get_logger(__name__)

# Queues that are looked at each second beside those that are known to have leases: for leases that
# a consumer of an older version has made, and for registries.
OTHERS = 3
LATE_S = 2 * REAP_EVERY_S  # a look that comes later than this after the one before has missed one
CALL_QUEUES = 2000  # in one call

EVIDENCE = encode_failure(
    "delivered too often without an end; the last consumer vanished with this job and did not "
    "extend its lease\n"
)


class Reaper:
    """Gives back the jobs of consumers that vanished, while this consumer leads.

    A consumer that could not extend its own leases must not end them, or those of others who could
    not either: it extends first. How long the others get then, says watched.lua.
    """

    def __init__(self, context: Context, leadership: Leadership, keeper: LeaseKeeper) -> None:
        self._beat = context.beat
        self._leadership = leadership
        self._keeper = keeper
        self._coming_back = False  # what Redis said last
        self._redis = context.redis
        self._retry = context.retry
        self._broken_keys = context.broken_keys
        self._commands = context.commands
        self._settings = context.settings
        self._name = context.name
        self._queues = context.queues
        self._turn = Turn(context.queues, OTHERS)
        self._broken: dict[str, frozenset[str]] = {}  # keys, by their queue
        self._term = 0  # in which all queues were looked at
        self._looked = time.monotonic()  # when it last could
        self.redelivered = 0
        self.dead = 0
        # Called with each dead letter, once; nothing of it is read where nobody wants to hear.
        self.on_dead: list[Callable[[Job], object]] = []

    async def run(self) -> None:
        """Look for expired leases, for ever."""
        while True:
            await self._leadership.gained()
            if not self._keeper.is_behind:
                await self._retry.once("reclaim jobs", self._look())
            await self._beat.rest(REAP_EVERY_S)

    async def _look(self) -> None:
        """Look at the queues with leases and at some others; at all at the beginning of a term."""
        began = time.monotonic()
        term = self._leadership.term
        queues: Sequence[str] = self._queues
        leased = 0
        if term == self._term:
            known = await self._redis.execute(self._commands.leased(self._queues))
            # Of one whose leases have ended, no more is looked at; the broken are looked at whole.
            known = [queue for queue in known if queue not in self._broken]
            others = dict.fromkeys([*self._turn.next(), *self._broken])
            queues, leased = [*dict.fromkeys([*known, *others])], len(known)
        for first in range(0, len(queues), CALL_QUEUES):
            some = queues[first : first + CALL_QUEUES]
            await self._reclaim(some, min(len(some), max(0, leased - first)))
        self._term, self._looked = term, began

    def _could_not_look(self) -> bool:
        """Whether Redis has kept it from looking until now, for so long that it has missed one."""
        now = time.monotonic()
        return now - self._looked > LATE_S and now - self._retry.failed_at < LATE_S

    async def _reclaim(self, queues: Sequence[str], leased: int) -> None:
        reclaimed = await self._redis.execute(
            self._commands.reclaim(
                queues,
                service=self._leadership.service,
                whole=len(queues) == len(self._queues),
                leased=leased,
                interval=REAP_EVERY_S,
                lease=self._settings.lease,
                consumer=self._name,
                max_deliveries=self._settings.max_deliveries,
                evidence=EVIDENCE,
                anew=self._could_not_look(),
            )
        )
        if reclaimed is None:
            return
        self._tell_broken(queues, reclaimed)
        if reclaimed.coming_back and not self._coming_back:
            self._keeper.hurry()
        self._coming_back = reclaimed.coming_back
        self.redelivered += reclaimed.queued
        self.dead += reclaimed.dead
        if reclaimed.queued or reclaimed.dead:
            log.warning(
                "jobs of a vanished consumer", redelivered=reclaimed.queued, dead=reclaimed.dead
            )
        if self.on_dead:
            await self._tell_dead(reclaimed.dead_ids)

    async def _tell_dead(self, ids: Sequence[str]) -> None:
        for job_id in ids:
            job = await self._redis.execute(self._commands.job(job_id))
            if job is not None:
                for tell in self.on_dead:
                    tell(job)

    def _tell_broken(self, queues: Sequence[str], reclaimed: Reclaimed) -> None:
        """Keep in mind what is broken of queues that were not looked at this time."""
        for queue in queues:
            self._broken.pop(queue, None)
        for key in reclaimed.broken:
            queue = self._queue_of(key)
            self._broken[queue] = self._broken.get(queue, frozenset()) | {key}
        self._broken_keys.see("reaper", frozenset().union(*self._broken.values()))

    def _queue_of(self, key: str) -> str:
        keys = self._commands.keys
        stems = (keys.queue(""), keys.wip(""), keys.failed(""))
        [name] = [key.removeprefix(stem) for stem in stems if key.startswith(stem)]
        return whole_queue(name)

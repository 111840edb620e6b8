"""Which consumer of a service does for all of them what one can do.

A service is all consumers that serve the same queues. One of them leads it: it reaps, schedules,
tidies up, counts and looks for cancelled jobs. The others ask now and then whether somebody leads,
and send nothing else for it.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable

from heori_common.protocol.commands import Command, Lead
from heori_common.protocol.keys import service_of
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_consumer.supervisor.context import Context

LEAD = "lead"
RENEW_EVERY_S = 0.5
LEADS_FOR_S = 1.5  # without being heard of
# All standby consumers together ask so often, and each of them no more often and no less than that:
# so a leader is soon replaced, and the server has as little to do with a thousand as with twenty.
ASKED_PER_S = 20
SOONEST_S, LATEST_S = 1.0, 15.0
CLOCK_S = 0.01  # so that what will be overdue is so when it is looked at
LATE_S = 1.0  # for an answer
# After an outage consumers try again, each within 2 s, and may confirm then what is overdue. So
# whoever was cut off takes nothing back for so long. Was it alone with that, others do it.
CONFIRM_AGAIN_S = 3.0
COUNT_EVERY_S = 5.0  # the registered consumers
REAP_EVERY_S = 1.0  # the leader looks for expired leases this often
# What is done every some seconds only is not begun sooner after a start: the first jobs come first,
# as each script takes some milliseconds of this process and of the server when it is called first.
SETTLE_S = 0.25


class Leadership:
    """Leads the service, if no other consumer does.

    Attributes:
        service: its name.
        term: how often this consumer has begun to lead; what it knew before is outdated then.
        on_elected: what is called when it begins to.
        on_left: what is called while jobs have ended and others still wait for them.
        has_schedule: whether the service has periodic jobs, as far as it is known while it leads.
    """

    def __init__(self, context: Context) -> None:
        self._beat = context.beat
        self._redis = context.redis
        self._commands = context.commands
        self._consumer = context.name
        self._elected = asyncio.Event()
        self._until = 0.0  # when another may lead, as time.monotonic() tells it
        self._counted = 0.0  # when the consumers were, likewise
        self._retry = context.retry
        self._max_deliveries = context.settings.max_deliveries
        self._asked: float | None = None  # since when an answer is awaited
        # When this consumer came to be reached again, by which others may have been cut off, too.
        self._cut_off = -math.inf
        self._was_connected = False
        self.service = service_of(context.queues)
        self.term = 0
        self.on_elected: list[Callable[[], None]] = []
        self.on_left: list[Callable[[], None]] = []
        self.has_schedule = False

    @property
    def leads(self) -> bool:
        """Whether this consumer leads, and no other can by now."""
        return time.monotonic() < self._until

    async def gained(self) -> None:
        """Wait until this consumer leads."""
        while not self.leads:
            self._elected.clear()
            await self._elected.wait()

    def connected(self) -> None:
        """This consumer hears again what is told to it; before, it did not."""
        if self._was_connected:
            self._cut_off = time.monotonic()
        self._was_connected = True

    async def take_back(self) -> None:
        """Take back what is overdue, whoever leads: that consumer may be struck."""
        if self._takes_back():
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                await self._redis.execute(
                    self._commands.take_back_overdue(
                        self.service,
                        consumer=self._consumer,
                        max_deliveries=self._max_deliveries,
                    )
                )

    async def run(self) -> None:
        """Lead, or stand by, for ever."""
        while True:
            pause = await self._ask()
            if self.leads and pause < RENEW_EVERY_S:
                await asyncio.sleep(pause)
            else:
                await self._beat.rest(RENEW_EVERY_S if self.leads else self._standby())

    async def resign(self) -> None:
        """Let another consumer lead at once."""
        if self._until:
            self._until = 0.0
            with contextlib.suppress(RedisUnavailable, RedisRefused):
                await self._redis.execute(self._lead(ttl=0.0))

    async def _ask(self) -> float:
        """Lead, or ask who does; returns in how many seconds something may be overdue."""
        asked = self._asked = time.monotonic()
        counts = asked >= self._counted + COUNT_EVERY_S
        try:
            if not self.leads and await self._is_led():
                led = Lead(leads=False, consumers=self._retry.consumers)
                self._retry.worked(LEAD, writes=False)
            else:
                led = await self._redis.execute(
                    self._lead(LEADS_FOR_S, 0 if counts else self._retry.consumers)
                )
                self._retry.worked(LEAD)
        except (RedisUnavailable, RedisRefused) as error:
            self._retry.failed(LEAD, error)
            return RENEW_EVERY_S
        finally:
            self._asked = None
        if time.monotonic() - asked > LATE_S:
            self._cut_off = time.monotonic()
        self._retry.consumers = led.consumers
        if not led.leads:
            self._until = 0.0
            return RENEW_EVERY_S
        if counts:
            self._counted = asked
        begins = not self.leads
        self._until = asked + LEADS_FOR_S
        self.has_schedule = led.has_schedule
        if begins:
            self.term += 1
            for call_back in self.on_elected:
                call_back()
        if led.are_left:
            for call_back in self.on_left:
                call_back()
        self._elected.set()
        return RENEW_EVERY_S if led.pause is None else led.pause + CLOCK_S

    async def _is_led(self) -> bool:
        """Whether another consumer leads: to ask that is less work than to try to."""
        try:
            led_by = await self._redis.execute(self._commands.led_by(self.service))
        except RedisRefused as error:
            if error.code != "WRONGTYPE":
                raise
            return False
        if led_by is None or led_by[1] == self._consumer:
            return False
        self._retry.consumers = led_by[0]
        return True

    def _lead(self, ttl: float, consumers: int = 0) -> Command[Lead]:
        return self._commands.lead(
            self.service,
            consumer=self._consumer,
            ttl=ttl,
            interval=REAP_EVERY_S,
            consumers=consumers,
            max_deliveries=self._max_deliveries,
            takes_back=self._takes_back(),
        )

    def _takes_back(self) -> bool:
        """Whether others could confirm what they have got, as far as this consumer can tell."""
        now = time.monotonic()
        is_awaited = self._asked is not None and now - self._asked > LATE_S
        cut_off = max(self._cut_off, self._retry.failed_at)
        return not is_awaited and now - cut_off > CONFIRM_AGAIN_S

    def _standby(self) -> float:
        pause = min(LATEST_S, max(SOONEST_S, self._retry.consumers / ASKED_PER_S))
        return math.ceil(pause * random.uniform(0.8, 1.0))  # else all of them ask in one second

"""What this consumer is told while it waits: jobs that were claimed for it, and wake-ups."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection

from heori_common.protocol.commands import HandOver
from heori_consumer.supervisor.intake import Intake

# A hand-over that may be older may have been taken back, and another consumer may have the job: it
# is run when Redis says that it is ours. Much less than what offers.lua gives to confirm.
TRUSTED_S = 0.25
OFFERS = 16  # whose tokens are known: the last that were made, and that were taken
# Claims from whose times it is known how old a hand-over is.
CLOCKS = 16
# This goes on while the machine sleeps, unlike time.monotonic(): then, too, things are taken back.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds, by a clock of this machine."""
    return time.clock_gettime(CLOCK)


class HandOvers:
    """Takes what comes, until it is confirmed with the next claim.

    Args:
        on_lost: called when one was taken back whose jobs were begun here.
        begins_at_once: whether jobs are begun before Redis knows that they have come. A job that
            kills this process then was never delivered, and would be handed over for ever.

    Attributes:
        unconfirmed: all that have come since.
        since: when the first of these came, by `now`.
        rung: set when there is a reason to claim.
        may_miss: whether the connection was lost on which they come.
    """

    def __init__(
        self, intake: Intake, on_lost: Callable[[], None], *, begins_at_once: bool
    ) -> None:
        self._intake = intake
        self._on_lost = on_lost
        self._begins_at_once = begins_at_once
        self._late: set[bytes] = set()  # of `unconfirmed`, those whose jobs are not begun
        # By how much our clock is ahead of the server's, at least: of the latest claims.
        self._ahead: deque[float] = deque(maxlen=CLOCKS)
        self._tokens: deque[str] = deque(maxlen=OFFERS)  # of the offers that were taken last
        self.unconfirmed: list[HandOver] = []
        self.since = now()
        self.rung = asyncio.Event()
        self.may_miss = False

    @property
    def unbegun(self) -> int:
        """How many jobs have come that begin once Redis knows of it."""
        return sum(len(each.claims) for each in self.unconfirmed if each.told in self._late)

    def connected(self) -> None:
        """They come here, perhaps again: then one may have been missed."""
        self.may_miss = True
        self.rung.set()

    def told(self, hand_over: HandOver) -> None:
        """One has come."""
        came = now()
        if self._begins_at_once and self._age(hand_over, came) <= TRUSTED_S:
            self._intake.take(hand_over.claims)  # first, as it may be all that a worker waits for
        elif hand_over.claims:
            self._late.add(hand_over.told)
        if not self.unconfirmed:
            self.since = came
        self.unconfirmed.append(hand_over)
        self._tokens.append(hand_over.token)
        self.rung.set()

    def claimed(self, sent: float, at: float) -> None:
        """A claim that was sent then, by `now`, was made at that time of the server's."""
        self._ahead.append(sent - at)

    def confirmed(self, hand_overs: Collection[HandOver], taken_back: Collection[int]) -> None:
        """Redis knows that these have come; those of these numbers it had taken back before."""
        known = {each.told for each in hand_overs}
        self.unconfirmed = [each for each in self.unconfirmed if each.told not in known]
        self.since = now()
        begun = False
        for number, hand_over in enumerate(hand_overs):
            is_late = hand_over.told in self._late
            self._late.discard(hand_over.told)
            if number in taken_back:
                begun = begun or not is_late
            elif is_late:
                self._intake.take(hand_over.claims)
        if begun:
            self._on_lost()

    async def wait(self, seconds: float) -> None:
        """Wait until there is a reason to claim, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rung.wait()

    async def arrival(self, token: str, seconds: float) -> None:
        """Wait for what has come of an offer that was taken, for so long at most."""
        until = now() + seconds
        while not self.has_come(token) and (left := until - now()) > 0:
            self.rung.clear()
            await self.wait(left)

    def has_come(self, token: str) -> bool:
        """Whether it has."""
        return token in self._tokens

    def _age(self, hand_over: HandOver, came: float) -> float:
        """For how many seconds it was under way, at most."""
        return came - hand_over.at - max(self._ahead, default=float("-inf"))

"""Claims jobs when there is room for them, and waits, without polling, when there are none.

While it waits, Redis has an offer of it: whoever puts a job on a queue takes the offer that has
waited longest, and tells that consumer alone.
"""

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Sequence

from heori_common import logs
from heori_common.protocol.commands import LEASE_MARGIN_S, Claimed, Offer
from heori_common.redis.errors import RedisRefused
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.bounds import Bounds
from heori_consumer.supervisor.context import Context, new_token
from heori_consumer.supervisor.hand_overs import OFFERS, HandOvers, now
from heori_consumer.supervisor.intake import Intake
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.listener import Listener
from heori_consumer.supervisor.precedence import Precedence
from heori_consumer.supervisor.queue_order import QueueOrder
from heori_consumer.supervisor.queue_window import QueueWindow

log = logs.get_logger(__name__)

# However quiet it is, look into the queues this often: were a wake-up ever lost,
# jobs would be late and not forgotten.
LOOK_EVERY_S = 10.0
# The same while Redis refuses, tells nothing, or has a key that does not hold what it should.
TRY_AGAIN_S = 1.0
# When there is no claim to confirm a hand-over with, it is confirmed after this time.
CONFIRM_S = 0.2
# For how long a consumer that stops, or was cut off, waits for jobs that are on their way to it.
# What comes later is older than TRUSTED_S: it is begun only if Redis says that it is still ours.
LAST_ARRIVAL_S = 0.3
# For how long a claim waits for the room of other workers, while none runs short of jobs.
COMPANY_S = 0.008
CLAIM = "claim jobs"


class Claimer:
    """Pops and leases jobs for a pool.

    Attributes:
        suspended: whether `rq suspend` held back the last claim.
    """

    def __init__(
        self,
        context: Context,
        pool: Pool,
        precedence: Precedence,
        intake: Intake,
        hand_overs: HandOvers,
        listener: Listener,
        leadership: Leadership,
        bounds: Bounds,
    ) -> None:
        self._context = context
        self._listener = listener
        self._leadership = leadership
        self._pool = pool
        self._intake = intake
        self._hand_overs = hand_overs
        self._bounds = bounds
        options = context.options
        self._order = QueueOrder(len(context.queues), options.weights, at_random=options.at_random)
        self._window = QueueWindow()
        self._asked_all = True  # whether the last claim has
        self._is_careful = False  # as the last claim was told of a key that holds something else
        self._precedence = precedence
        self._about = (socket.gethostname(), os.getpid())
        self._stopping = False
        self.suspended = False
        self._doubtful: str | None = None  # the token of a claim whose reply did not come
        self._offers: list[Offer] = []  # that Redis may have
        self._offered: deque[str] = deque(maxlen=OFFERS)  # their tokens, and of those before
        self._missing: asyncio.Task[None] | None = None  # which looks for what was missed
        context.drain.on_change.append(self._wake)

    def stop(self) -> None:
        """Make no further claim; one that is under way is brought to its end."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        self._pool.changed.set()
        self._hand_overs.rung.set()

    async def run(self) -> None:
        """Claim until stopped, then return; a claim that is under way is brought to its end."""
        while not self._stopping:
            if self._context.drain.is_on != self._pool.rests:
                await self._rest_or_go_on()
            wanted = self._left_of(self._pool.wanted())
            if wanted and self._context.rhythm.is_patient:
                await self._pool.gather_room(COMPANY_S)
                wanted = self._left_of(self._pool.wanted())
            if not wanted and not await self._is_to_confirm():
                continue
            self._hand_overs.rung.clear()
            may_miss, self._hand_overs.may_miss = self._hand_overs.may_miss, False
            offered = tuple(self._offered)
            nothing_to_come = await self._bounds.nothing_to_come()
            claimed = await self._take(wanted)
            if may_miss and claimed is None:
                self._hand_overs.may_miss = True
            elif may_miss:
                self._missing = asyncio.create_task(self._look_for_missed(offered))
            if claimed is None:
                await self._hand_overs.wait(TRY_AGAIN_S)
            elif claimed.empty and wanted and self._asked_all:
                self._bounds.found_nothing(nothing_to_come=nothing_to_come)
                await self._wait(claimed)
        await self._withdraw()

    async def _wait(self, claimed: Claimed) -> None:
        """Wait for jobs, as there are none."""
        if not self._offers:  # all slots are at work, and there would be room for jobs ahead
            refuses = self._context.refusals.reasons
            await self._pool.change_within(TRY_AGAIN_S if refuses else LOOK_EVERY_S)
            return
        is_sure = self._listener.is_told and not claimed.broken
        await self._hand_overs.wait(LOOK_EVERY_S if is_sure else TRY_AGAIN_S)
        await self._context.stand_back.give_way()

    async def _is_to_confirm(self) -> bool:
        """Wait until there may be room; or return True when a hand-over is to be confirmed."""
        if self._hand_overs.unbegun:
            return True
        if not self._hand_overs.unconfirmed:
            await self._pool.changed.wait()
            self._pool.changed.clear()
            return False
        left = self._hand_overs.since + CONFIRM_S - now()
        if left > 0:
            await self._pool.change_within(left)
        return left <= 0

    def _left_of(self, room: int) -> int:
        """How many jobs may be claimed of those that the pool has room for.

        What has come, and begins once it is confirmed, has its place there already.
        """
        return max(0, self._bounds.room(room) - self._hand_overs.unbegun)

    async def _rest_or_go_on(self) -> None:
        if not self._context.drain.is_on:
            self._pool.go_on()
            return
        await self._withdraw()
        self._pool.rest()

    async def _withdraw(self) -> None:
        """Take the offer back, or what has come of it, to be given back like all else."""
        last = self._offers.copy()
        claimed = await self._take(0)
        if last and claimed and not claimed.withdrawn:
            await self._hand_overs.arrival(last[-1].token, LAST_ARRIVAL_S)
            await self._take(0)  # what has begun is ours until it ends

    async def _look_for_missed(self, offered: Sequence[str]) -> None:
        """Give to the next consumer what came of offers, and was lost with the connection.

        Args:
            offered: tokens of offers that are withdrawn by now, if they were not taken.
        """
        await asyncio.sleep(LAST_ARRIVAL_S)
        missed = [token for token in offered if not self._hand_overs.has_come(token)]
        take_back = self._context.commands.take_back_missed(
            self._leadership.service,
            missed,
            consumer=self._context.name,
            max_deliveries=self._context.settings.max_deliveries,
        )
        with contextlib.suppress(RedisRefused):  # then the leader does it
            await self._context.retry.persist(
                "take back what was missed", lambda: self._context.redis.execute(take_back)
            )

    async def _take(self, wanted: int) -> Claimed | None:
        """Claim so many, and confirm what has come; None when Redis refuses to."""
        received = self._hand_overs.unconfirmed.copy()  # others may come during the claim
        rhythm = self._context.rhythm
        rhythm.claim()
        async with self._context.leases.claiming:
            claimed = await self._claim(wanted, [each.told for each in received])
            if claimed is not None:
                self._hand_overs.confirmed(received, claimed.taken_back)
                brief = self._pool.are_brief
                can_wait = rhythm.claimed(claimed.claims, wanted, are_brief=brief)
                self._intake.take(claimed.claims, can_wait=can_wait)
                if wanted:
                    self._pool.is_short = len(claimed.claims) < wanted
                self._intake.missed(claimed.gone, claimed.expired)
        self._pool.giving_back.look()
        if claimed is not None and claimed.overdue:
            await self._leadership.take_back()
        return claimed

    def _make_offer(self, *, is_to_look: bool) -> Offer | None:
        """What to leave when there is nothing.

        Args:
            is_to_look: it is to be woken only, as it may not take any job that comes.
        """
        slots = self._left_of(self._pool.idle())
        # In a burst it waits for what it has itself, and for nothing that may come.
        # Who hands over to a consumer does not know of which queues it takes no jobs.
        refuses = self._context.refusals.reasons
        if not slots or self._stopping or self._bounds.is_burst or refuses:
            return None
        settings = self._context.settings
        # Who hands a job over does not know that it is to be recorded.
        is_to_look = is_to_look or settings.records == "strict"
        most = 0 if is_to_look else settings.max_payload
        token = new_token()
        return Offer(self._context.name, token, slots, settings.lease, LEASE_MARGIN_S, most)

    async def _claim(self, wanted: int, received: Sequence[bytes]) -> Claimed | None:
        shares = await self._precedence.shares(wanted) if wanted else None
        is_to_look = shares is not None
        if shares is None:
            shares = self._order.shares(wanted)
        else:
            wanted = sum(shares)

        try:
            claimed = await self._context.retry.persist(
                CLAIM, lambda: self._attempt(wanted, shares, received, is_to_look=is_to_look)
            )
        except RedisRefused as error:
            self._context.retry.failed(CLAIM, error, vital=True)
            return None
        if claimed.suspended != self.suspended:
            self.suspended = claimed.suspended
            if self.suspended:
                log.warning("suspended: claiming nothing until `rq resume`")
            else:
                log.info("resumed")
        if not claimed.suspended and self._asked_all:
            self._context.broken_keys.see("claimer", claimed.broken)
        return claimed

    async def _attempt(
        self, wanted: int, shares: Sequence[int], received: Sequence[bytes], *, is_to_look: bool
    ) -> Claimed:
        if self._doubtful is not None:
            # Redis may have made a claim and not been able to say so. Its jobs would have
            # to wait for their leases to run out.
            await self._context.redis.execute(
                self._context.commands.undo_claim(
                    self._context.queues,
                    token=self._doubtful,
                    consumer=self._context.name,
                    max_deliveries=self._context.settings.max_deliveries,
                )
            )
        token = self._doubtful = new_token()
        queues = self._context.refusals.served
        wanted = wanted if queues else 0  # the last of them may have been refused just now
        numbers = self._numbers(len(queues), wanted, shares)
        self._asked_all = len(numbers) == len(queues)
        # Another one for each attempt, as one may have been taken meanwhile.
        offer = self._make_offer(is_to_look=is_to_look) if wanted and self._asked_all else None
        last = self._offers.copy()
        if offer:
            self._offers.append(offer)
            self._offered.append(offer.token)
        sent = now()
        claimed = await self._context.redis.execute(
            self._context.commands.claim(
                queues[numbers.start : numbers.stop],
                wanted,
                lease=self._context.settings.lease,
                consumer=self._context.name,
                token=token,
                max_payload=self._context.settings.max_payload,
                shares=self._context.refusals.of_served(shares),
                service=self._leadership.service,
                about=self._about,
                deadlock=self._context.settings.deadlock,
                offer=offer,
                last_offers=last,
                received=received,
                strict=self._context.settings.records == "strict",
                careful=self._is_careful,
            )
        )
        self._doubtful = None
        self._is_careful = bool(claimed.broken)
        self._hand_overs.claimed(sent, claimed.at)
        if wanted:
            took = now() - sent
            self._window.asked(numbers, claimed.through, sent=sent, took=took, empty=claimed.empty)
        self._offers = [offer] if offer and claimed.empty else []
        return claimed

    def _numbers(self, queues: int, wanted: int, shares: Sequence[int]) -> range:
        """Those of so many queues that are to be asked."""
        if not wanted:
            return range(0)
        # Shares are of all queues, but in strict order: that of the first which is asked.
        return range(queues) if len(shares) > 1 else self._window.next(queues)

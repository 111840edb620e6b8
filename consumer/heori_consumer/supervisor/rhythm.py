"""How long what has ended may wait for company before Redis is told.

A call costs as much as ten of its entries, and each time that a process wakes as much as a small
job. Where a claim finds more jobs than there is room for, they wait long before they begin. That
their ends are told some hundredths of a second later is little beside that, and saves most of the
calls.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence

from heori_common.protocol.job import Claim, Settled

# Between two calls while other jobs are held: of ends that somebody may wait for, and of others.
PROMPT_S, PATIENT_S = 0.01, 0.05
LEAST = 2  # jobs of a claim that tell that more wait: one alone may be what was just sent


class Rhythm:
    """Knows by the latest claim whether more jobs wait in Redis, and in which queue.

    Nothing waits of other queues, which may be served first, nor of jobs by whose end others may
    begin, or with which something else is done then.
    """

    def __init__(self) -> None:
        self._crowded = ""  # the queue that has more; empty while none is known
        self._began = 0.0  # time.monotonic() of the latest claim
        self._changed = asyncio.Event()

    @property
    def is_patient(self) -> bool:
        """Whether what has ended may wait, if nothing is special about it."""
        return bool(self._crowded)

    def claim(self) -> None:
        """A claim begins: what else Redis is to know may go with it."""
        self._began = time.monotonic()
        self.change()

    def claimed(self, claims: Sequence[Claim], wanted: int, *, are_brief: bool) -> bool:
        """Learn from what a claim has brought; returns whether the ends of these jobs may wait.

        Args:
            are_brief: whether jobs have been so of late: with long ones, calls are few anyway.
        """
        queue = claims[-1].queue if claims and are_brief and len(claims) >= wanted else ""
        if not _are_plain(claims, queue) or (wanted < LEAST and queue != self._crowded):
            queue = ""
        if queue != self._crowded:
            self._crowded = queue
            self.change()
        return self.is_patient

    def can_wait(self, entries: Iterable[Settled]) -> bool:
        """Whether nobody minds that the ends of these jobs are told later."""
        return self.is_patient and _are_plain([claim for claim, _ in entries], self._crowded)

    def due(self, called: float, *, can_wait: bool) -> float:
        """The time.monotonic() by which Redis is to know what has ended.

        Args:
            called: when it was told of something last.
            can_wait: whether all of it can.
        """
        waits = can_wait and self.is_patient and self._began <= called
        return called + (PATIENT_S if waits else PROMPT_S)

    def change(self) -> None:
        """Have whoever rests look again."""
        self._changed.set()

    async def rest(self, seconds: float) -> None:
        """Wait until something has changed, for so long at most."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _are_plain(claims: Iterable[Claim], queue: str) -> bool:
    """Whether all are of one queue, and nothing is known to depend on their ends."""
    for claim in claims:  # once through them: this is done twice for each job
        if claim.queue != queue or claim.locks or claim.special or claim.rest or claim.phase:
            return False
        if claim.rate_limit_key:
            return False
    return True

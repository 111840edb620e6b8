"""Has jobs run first for which many others wait.

Slots of jobs that wait are lent, as many as there are to lend. Were jobs taken in their order all
the same, those in front might take them all and wait as well, for others that stand behind them.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence

from heori_common.protocol.job import Claim
from heori_common.protocol.keys import whole_queue
from heori_common.redis.errors import RedisRefused
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

ADVANCED_JOBS = 64  # in one call
# A job that is not in its queue may come back there, to run again.
LOOK_AGAIN_S = 1.0

Job = tuple[str, str]  # its queue and id


class Precedence:
    """Puts them to the front of their queues, before jobs are claimed."""

    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._pool = pool
        self._ahead: set[Job] = set()  # that stand in front
        self._known: set[Job] = set()  # these, and those that were not there when looked for
        self._look_again = 0.0  # time.monotonic()

    async def shares(self, wanted: int) -> list[int] | None:
        """How many jobs to take from each queue; None where none has precedence."""
        queues = self._context.queues
        jobs = [job for job in self._pool.run_first() if whole_queue(job[0]) in queues]
        if not jobs:
            return None
        if time.monotonic() > self._look_again:
            self._look_again = time.monotonic() + LOOK_AGAIN_S
            self._known &= self._ahead
        await self._advance([job for job in jobs if job not in self._known][-ADVANCED_JOBS:])
        self._known.intersection_update(jobs)
        self._ahead.intersection_update(jobs)
        if not self._ahead:
            return None
        shares = [0] * len(queues)
        for queue, _ in list(self._ahead)[:wanted]:
            shares[queues.index(whole_queue(queue))] += 1
        return shares

    def claimed(self, claims: Iterable[Claim]) -> None:
        """These have been claimed."""
        if self._ahead:
            taken = {(claim.queue, claim.job_id) for claim in claims}
            if taken <= self._ahead:
                self._ahead -= taken
            else:  # what was given back meanwhile stands before them
                self._ahead.clear()
                self._known.clear()

    async def _advance(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        command = self._context.commands.advance(jobs)
        with contextlib.suppress(RedisRefused):  # a queue's key has the wrong type, say
            found = await self._context.retry.persist(
                "advance jobs", lambda: self._context.redis.execute(command)
            )
            self._ahead.update(jobs[number] for number in found)
        self._known.update(jobs)

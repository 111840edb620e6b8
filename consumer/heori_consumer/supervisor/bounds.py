"""When a consumer ends by itself: after a burst, so many jobs, or so long without any.

rq's workers have the same bounds: `rq worker --burst --max-jobs 100 --max-idle-time 60`.
"""

import asyncio

from heori_common import clock, logs
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.acknowledger import Acknowledger
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)


class Bounds:
    """Asks the consumer to drain when it has done what it was started for."""

    def __init__(self, context: Context, pool: Pool, acknowledger: Acknowledger) -> None:
        self._options = context.options
        self._refusals = context.refusals
        self._stop = context.stop
        self._pool = pool
        self._acknowledger = acknowledger
        self._has_found_nothing = asyncio.Event()

    async def run(self) -> None:
        """Look whether it was idle for as long as it may be."""
        # Until a claim has, a job may wait, however long the server takes to answer.
        await self._has_found_nothing.wait()
        begun, most = clock.now(), self._options.max_idle
        while most is not None and not self._stop.drain.is_set():
            left = max(begun, self._acknowledger.last_ended) + most - clock.now()
            if self._pool.held():
                left = most
            elif left <= 0:
                self._end(f"no job for {most:g} seconds")
            await asyncio.sleep(max(left, 0.0))
        await asyncio.Event().wait()  # as a role does not end by itself

    def room(self, wanted: int) -> int:
        """How many jobs may be claimed of those that there is room for."""
        if self._options.max_jobs is None:
            return wanted
        left = self._options.max_jobs - self._acknowledger.executed
        if left <= 0:
            self._end(f"{self._acknowledger.executed} jobs are done")
        return max(0, min(wanted, left - self._pool.held()))

    @property
    def is_burst(self) -> bool:
        """Whether it ends when there are no more jobs."""
        return self._options.burst

    async def nothing_to_come(self) -> bool:
        """Before a claim of a burst: whether no claimed job may bring others on a queue."""
        if not self._options.burst or self._pool.held():
            return False
        await self._acknowledger.settled()
        return True

    def found_nothing(self, *, nothing_to_come: bool) -> None:
        """What a claim has come to.

        Args:
            nothing_to_come: see the method of that name.
        """
        self._has_found_nothing.set()
        if nothing_to_come:
            refuses = self._refusals.reasons
            self._end("no job is left that it may run" if refuses else "no job is left")

    def _end(self, why: str) -> None:
        if not self._stop.drain.is_set():
            log.info("this consumer ends", reason=why)
            self._stop.drain.set()

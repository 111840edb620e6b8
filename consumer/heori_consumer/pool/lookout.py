"""What is looked at now and then: late jobs, jobs that wait behind long ones, and limits."""

import asyncio
import time
from collections.abc import Callable

from heori_consumer.beat import Beat
from heori_consumer.pool.failures import FailureLog
from heori_consumer.pool.limits import look_at_files_and_threads, look_at_memory
from heori_consumer.pool.own_files import OwnFiles
from heori_consumer.pool.roster import Roster

# How often late jobs and waiting ones are looked for: each time wakes this process. And how often
# while one may be late, until it is known whose fault that is.
WATCH_EVERY_S, CLOSELY_EVERY_S = 0.1, 0.05
IDLE_EVERY_S = 1.0  # memory, while there are no jobs
MEMORY_EVERY_S = 0.25
REST_EVERY_S = 1.0  # open files and threads; before Linux 6.2 counting the former takes long


class Lookout:
    """Looks after the workers of a pool.

    Args:
        occupied: set while there are jobs; cleared here when there are none.
        held: returns how many jobs there are.
        retry: does what may have lacked a file before.
    """

    def __init__(
        self,
        roster: Roster,
        failures: FailureLog,
        beat: Beat,
        occupied: asyncio.Event,
        held: Callable[[], int],
        *,
        retry: Callable[[], None],
    ) -> None:
        self._roster = roster
        self._failures = failures
        self._beat = beat
        self._occupied = occupied
        self._held = held
        self._retry = retry
        self._own_files = OwnFiles()

    async def run(self) -> None:
        """Look, for ever."""
        memory_at = rest_at = 0.0
        pause = WATCH_EVERY_S
        while True:
            if not self._held():
                self._occupied.clear()
                await self._beat.wait(self._occupied, IDLE_EVERY_S)
            if self._held():  # not at once: a job that has just come may be over in no time
                await asyncio.sleep(pause)
            now = time.monotonic()
            self._failures.tell(now)
            pause = WATCH_EVERY_S
            if self._held():
                late = [worker.watch(now) for worker in self._roster.everyone()]
                pause = CLOSELY_EVERY_S if any(late) else WATCH_EVERY_S
            if now >= memory_at:
                memory_at = now + MEMORY_EVERY_S
                look_at_memory(self._roster)
            if now >= rest_at:
                rest_at = self._beat.within(REST_EVERY_S)
                look_at_files_and_threads(self._roster)
                self._own_files.look()
                self._retry()

"""How many consumers like this one there should be, for what starts and ends them.

By Little's law (J. D. C. Little, "A Proof for the Queuing Formula L = λW", 1961) the slots at work
are the jobs a second times the seconds of each. So those at work now are what comes in takes, as
long as nothing waits. What waits takes as many more as have it all begun within the target, and
never more than one for each job.
"""

import math
import time
from collections.abc import Mapping

from heori_common.protocol.commands import QueueCensus
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

WINDOW_S = 15.0  # over which the mean time of a job is taken


class WantedConsumers:
    """Reckons with what the leader counts, and with how long jobs take here.

    Called in the thread that answers whoever asks.
    """

    def __init__(self, context: Context, pool: Pool) -> None:
        self._target = context.settings.target_wait
        self._pool = pool
        self._before = self._latest = (0.0, 0, 0.0)  # when, jobs that had ended, their seconds

    def number(self, counts: Mapping[str, QueueCensus]) -> int | None:
        """So many; None when there is no telling.

        Args:
            counts: of the queues; without any, another consumer tells.
        """
        if not counts:
            return None
        waiting = sum(count.waiting for count in counts.values() if not count.paused)
        started = sum(count.registries["started"] for count in counts.values())
        running, held = self._pool.running(), self._pool.held()
        # Of what is with consumers, a part waits there for a slot: as here, so with the others.
        at_work = started * min(1.0, running / held) if held else float(started)
        behind = waiting + started - at_work
        slots = at_work + behind * min(1.0, self._job_seconds() / self._target)
        if not (here := self._pool.slots(running)):  # its workers have just ended
            return None
        wanted = math.ceil(round(slots / here, 3))
        return max(wanted, 1) if waiting or started else wanted

    def _job_seconds(self) -> float:
        """The mean time of jobs of late; of the longest that runs, until one has ended."""
        now = time.monotonic()
        totals = [each.run_time for each in self._pool.totals().values()]
        ended = now, sum(sum(each.counts) for each in totals), sum(each.total for each in totals)
        if now - self._latest[0] > WINDOW_S:
            self._before, self._latest = self._latest, ended
        for _, jobs, seconds in (self._before, (0.0, 0, 0.0)):
            if ended[1] > jobs:
                return (ended[2] - seconds) / (ended[1] - jobs)
        workers = self._pool.roster.everyone()
        return now - min([now, *(worker.table.began_first() for worker in workers)])

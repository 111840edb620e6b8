"""Notices when all slots wait for jobs that could only run in them."""

from heori_common import logs
from heori_common.protocol.keys import whole_queue
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

log = logs.get_logger(__name__)

# It is one when it is seen twice in a row: other consumers may run what is waited for.
LOOK_EVERY_S = 1.0


class Standstill:
    """Looks for it, and tells once of each.

    Attributes:
        queues: those for whose jobs all slots wait; none while there is no standstill.
    """

    def __init__(self, context: Context, pool: Pool) -> None:
        self._beat = context.beat
        self._served = frozenset(context.queues)
        self._lend = context.settings.lend_slots
        self._pool = pool
        self._before: frozenset[str] = frozenset()
        self.queues: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self._beat.rest(LOOK_EVERY_S)
            seen = frozenset(
                queue for queue in self._pool.waited_for() if whole_queue(queue) in self._served
            )
            if seen and self._before and not self.queues:
                log.warning(
                    "all slots wait for other jobs, of queues that are served here; those run when "
                    "another consumer is started, or with more slots to lend (HEORI_LEND_SLOTS)",
                    queues=",".join(sorted(seen)),
                    waiting=self._pool.waiting(),
                    lend_slots=self._lend,
                )
            elif self.queues and not seen:
                log.info("a slot is free again for the jobs that others wait for")
            self.queues = seen if self._before else frozenset()
            self._before = seen

"""Records the executions that last for a while where rq's tools look for them.

Most jobs are over before anyone could look, and need no such record: it would take Redis as long as
all else that is written of them.
"""

from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

LOOK_EVERY_S = 1.0  # what two looks have seen is recorded
CALL_EXECUTIONS = 500  # about 10 µs each


class Executions:
    """Looks which jobs still run, while there are any."""

    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._leases = context.leases
        self._pool = pool
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Record, for ever; where claims do, there is nothing left to."""
        while True:
            await self._pool.occupied.wait()
            await self._context.beat.rest(LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        held = self._leases.held()
        seen, self._seen = self._seen, {claim.execution for claim in held}
        unrecorded = seen - self._leases.recorded
        old = [each for each in held if each.execution in unrecorded]
        if not old:
            return
        begun = self._pool.begun()
        last = [claim for claim in old if claim.job_id in begun]
        for first in range(0, len(last), CALL_EXECUTIONS):
            some = last[first : first + CALL_EXECUTIONS]
            # Known before, as each may end meanwhile, and is to be taken out then.
            self._leases.recorded.update(claim.execution for claim in some)
            command = self._context.commands.record_executions(
                some, consumer=self._context.name, lease=self._context.settings.lease
            )
            # Not repeated: what is extended is recorded as well.
            await self._context.retry.once(
                "record executions", self._context.redis.execute(command)
            )

"""Where claimed jobs come in: from claims, and from hand-overs."""

from collections.abc import Sequence

from heori_common.metrics import BATCH_JOBS, Histogram
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import whole_queue
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.precedence import Precedence


class Intake:
    """Holds their leases, gives them to the pool, and counts them.

    Attributes:
        batches: how many came at once.
        deliveries: jobs by queue; those of tenants with the queue whose tenants these are.
    """

    def __init__(
        self,
        context: Context,
        pool: Pool,
        precedence: Precedence,
    ) -> None:
        self._leases = context.leases
        self._pool = pool
        self._precedence = precedence
        self.batches = Histogram(BATCH_JOBS)
        self.deliveries = dict.fromkeys(context.queues, 0)

    def take(self, claims: Sequence[Claim]) -> None:
        """Take what was claimed for this consumer."""
        self._leases.add(claims)
        self._pool.dispatch(claims)
        self._precedence.claimed(claims)
        if not claims:
            return
        self.batches.observe(len(claims))
        for claim in claims:
            self.deliveries[whole_queue(claim.queue)] += 1

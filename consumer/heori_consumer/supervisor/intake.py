"""Where claimed jobs come in: from claims, and from hand-overs."""

from collections.abc import Callable, Collection, Sequence

from heori_common.metrics import BATCH_JOBS, Histogram
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import whole_queue
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.precedence import Precedence


class Intake:
    """Holds their leases, gives them to the pool, and counts them.

    Attributes:
        on_tenants: called with the queues of tenants from which jobs have come.
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
        self.on_tenants: Callable[[Collection[str]], None] | None = None
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
        tenants = set()
        for claim in claims:
            queue = claim.queue
            if queue not in self.deliveries:  # a tenant's; there may be any number of them
                tenants.add(queue)
                queue = whole_queue(queue)
            self.deliveries[queue] += 1
        if tenants and self.on_tenants:
            self.on_tenants(tenants)

"""Where claimed jobs come in: from claims, and from hand-overs."""

import logging
from collections import Counter
from collections.abc import Sequence

from heori_common.metrics import BATCH_JOBS, Histogram
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import whole_queue
from heori_consumer.between.failures import Failure
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.precedence import Precedence

GONE = "nothing is left of a job that waited: evicted, expired or deleted"


class Intake:
    """Holds their leases, gives them to the pool, and counts them.

    Attributes:
        batches: how many came at once.
        deliveries: jobs by queue; those of tenants with the queue whose tenants these are.
        gone: ids of which no job was left, likewise.
        expired: jobs that were not to begin any more, likewise.
    """

    def __init__(
        self,
        context: Context,
        pool: Pool,
        precedence: Precedence,
    ) -> None:
        self._failures = context.failures
        self._leases = context.leases
        self._refusals = context.refusals
        self._pool = pool
        self._precedence = precedence
        self.batches = Histogram(BATCH_JOBS)
        self.deliveries = dict.fromkeys(context.queues, 0)
        self.gone = dict.fromkeys(context.queues, 0)
        self.expired = dict.fromkeys(context.queues, 0)

    def take(self, claims: Sequence[Claim], *, can_wait: bool = False) -> None:
        """Take what was claimed for this consumer.

        Args:
            can_wait: whether their ends may wait for company; see `Rhythm`.
        """
        accepted = claims
        if self._refusals.reasons:  # of few consumers
            accepted = self._without_refused(claims)
        self._pool.dispatch(accepted, can_wait=can_wait)  # first: workers may have nothing else
        self._leases.add(claims)
        self._precedence.claimed(claims)
        claims = accepted
        if not claims:
            return
        self.batches.observe(len(claims))
        for queue, jobs in Counter([claim.queue for claim in claims]).items():
            self.deliveries[whole_queue(queue)] += jobs

    def _without_refused(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        if refused := [claim for claim in claims if claim.queue in self._refusals]:
            self._pool.give_back_unbegun(refused)
        return [claim for claim in claims if claim.queue not in self._refusals]

    def missed(self, gone: Sequence[tuple[str, str]], expired: Sequence[str]) -> None:
        """Tell of what was on queues and is not to run.

        Args:
            gone: queue and id of each of which no job was left.
            expired: the queue of each that had expired.
        """
        for queue in expired:
            self.expired[queue] += 1
        for queue, job_id in gone:
            self.gone[queue] += 1
            self._failures.add([Failure(GONE, "queue", queue, "", "", job_id, 1, logging.WARNING)])

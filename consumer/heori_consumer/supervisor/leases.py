"""The leases that a consumer holds: every claim from being made to being settled."""

import asyncio
from collections.abc import Collection, Iterable

from heori_common.protocol.job import Claim
from heori_common.protocol.keys import Keys
from heori_consumer.supervisor.job_locks import JobLocks


class Leases:
    """All claims under a lease of this consumer.

    Attributes:
        locks: what is seen of the locks of their jobs.
        recorded: the executions of those that may be recorded where rq's tools look for them.
        claiming: locked while a claim is under way, for those that must not miss what it brings.
    """

    def __init__(self, keys: Keys, *, strict: bool) -> None:
        """Prepare.

        Args:
            strict: whether claims record all executions.
        """
        self.locks = JobLocks(keys)
        self.recorded: set[str] = set()
        self._strict = strict
        self.claiming = asyncio.Lock()
        self._held: dict[str, Claim] = {}  # by execution
        self._settling: set[str] = set()  # the executions of those of them that are being ended

    def add(self, claims: Iterable[Claim]) -> None:
        """Hold leases from now on."""
        for claim in claims:
            self._held[claim.execution] = claim.delivered()
            if self._strict or claim.special:  # such as those with a rate limit
                self.recorded.add(claim.execution)
            if claim.locks or claim.problem:
                self.locks.claimed(claim)

    def settling(self, claims: Collection[Claim]) -> None:
        """Know that leases are about to end: from here on their end is no loss.

        They are extended all the same, as Redis may be away for long.
        """
        self._settling.update([claim.execution for claim in claims])

    def drop(self, claims: Collection[Claim]) -> None:
        """Let leases go: their jobs are settled."""
        executions = [claim.execution for claim in claims]
        for execution in executions:
            self._held.pop(execution, None)
        self._settling.difference_update(executions)
        self.recorded.difference_update(executions)
        for claim in claims:
            if claim.locks:
                self.locks.ended(claim)

    def lose(self, claims: Iterable[Claim]) -> list[Claim]:
        """Let leases go that Redis does not know any more; returns those whose loss matters."""
        lost = self._running(claims)
        for claim in lost:
            del self._held[claim.execution]
            self.recorded.discard(claim.execution)
            self.locks.lost(claim, expired=True)
        return lost

    def lose_locks(self, claims: Iterable[Claim]) -> list[Claim]:
        """Know that jobs have lost a lock; returns those whose loss matters."""
        lost = self._running(claims)
        for claim in lost:
            self.locks.lost(claim, expired=False)
        return lost

    def held(self) -> list[Claim]:
        """All claims, now."""
        return list(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def _running(self, claims: Iterable[Claim]) -> list[Claim]:
        running = self._held.keys() - self._settling
        return [claim for claim in claims if claim.execution in running]

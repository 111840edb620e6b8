"""What is seen of the locks that jobs declare: got with their claims, let go with their ends."""

import time

from heori_common.locks.statistics import Statistics
from heori_common.protocol.commands import DEADLOCK
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import Keys


class JobLocks:
    """Counts the waits and holds of one consumer's jobs.

    Workers count the locks that tasks take by themselves; these here no worker has taken.
    """

    def __init__(self, keys: Keys) -> None:
        self.statistics = Statistics()
        self._keys = keys
        self._since: dict[str, float] = {}  # time.monotonic() of the claim, by execution

    def claimed(self, claim: Claim) -> None:
        """A job has come with its locks, if it declares any."""
        if claim.locks:
            self._since[claim.execution] = time.monotonic()
            for key, _ in claim.locks:
                self.statistics.family(*self._keys.lock_name(key)).waited(claim.waited)
        elif claim.problem is not None and claim.problem.startswith(DEADLOCK):
            self.statistics.deadlocks += 1

    def ended(self, claim: Claim) -> None:
        """It holds them no more."""
        since = self._since.pop(claim.execution, None)
        if since is not None:
            for key, _ in claim.locks:
                family = self.statistics.family(*self._keys.lock_name(key))
                family.held(time.monotonic() - since)

    def lost(self, claim: Claim, *, expired: bool) -> None:
        """It has lost them while it ran: with its lease, when that was not renewed in time."""
        if claim.execution in self._since:
            self.statistics.lost += len(claim.locks)
            self.statistics.expired += len(claim.locks) * expired
            self.ended(claim)

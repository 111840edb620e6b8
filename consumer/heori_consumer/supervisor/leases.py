"""The leases that this consumer holds: extended until their jobs are settled."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog
from redis.exceptions import ResponseError

from heori_common.protocol.commands import Commands, Extended
from heori_common.protocol.job import Claim
from heori_common.redis.client import AsyncRedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_consumer.supervisor.job_locks import JobLocks
from heori_consumer.supervisor.redis_retry import RedisRetry

log = structlog.get_logger()

# Leases per call at most: a call of a thousand takes Redis a few milliseconds.
BATCH = 500


class Leases:
    """Every claim from being made to being settled, extended every third of a lease.

    Attributes:
        on_lost, on_unlocked: called with claims whose leases, or whose jobs' locks, are lost.
        locks: what is seen of those of the jobs.
        claiming: locked while a claim is under way, for who must not miss what it brings.
    """

    def __init__(
        self, client: AsyncRedisClient, commands: Commands, retry: RedisRetry, lease: float
    ) -> None:
        self._redis = client
        self._commands = commands
        self._retry = retry
        self._lease = lease
        self._held: dict[str, Claim] = {}  # by execution
        self._settling: set[str] = set()  # the executions of those of them that are being ended
        self.locks = JobLocks(commands.keys)
        self.claiming = asyncio.Lock()
        self.lost = 0
        self.late = 0
        self.on_lost: Callable[[list[Claim]], None] = lambda _: None
        self.on_unlocked: Callable[[list[Claim]], None] = lambda _: None

    def add(self, claims: Iterable[Claim]) -> None:
        """Hold leases from now on."""
        for claim in claims:
            self._held[claim.execution] = claim
            self.locks.claimed(claim)

    def settling(self, claims: Iterable[Claim]) -> None:
        """Know that leases are about to end: from here on their end is no loss.

        They are extended all the same, as Redis may be away for long.
        """
        self._settling.update(claim.execution for claim in claims)

    def drop(self, claims: Iterable[Claim]) -> None:
        """Let leases go: their jobs are settled."""
        for claim in claims:
            self._held.pop(claim.execution, None)
            self._settling.discard(claim.execution)
            self.locks.ended(claim)

    def held(self) -> list[Claim]:
        """All claims under a lease of ours, now."""
        return list(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    async def keep(self) -> None:
        """Extend all leases every third of their time, for ever."""
        while True:
            await asyncio.sleep(self._lease / 3)
            held = self.held()
            for first in range(0, len(held), BATCH):
                await self._extend(held[first : first + BATCH])

    async def _extend(self, claims: Sequence[Claim]) -> None:
        command = self._commands.extend_leases(claims, lease=self._lease)

        async def attempt() -> Extended:
            try:
                return await self._redis.execute(command)
            except RedisUnavailable:
                self.late += len(claims)
                raise

        try:
            # Not a third later: a failover takes about as long as a lease has left by then.
            lost, unlocked = await self._retry.persist(attempt)
        except ResponseError as error:
            self.late += len(claims)  # there is another third, and then the server decides
            log.error("leases not extended", leases=len(claims), reason=str(error))
            return
        missing = [claims[number] for number in lost]
        held = self._held.keys() - self._settling
        gone = [claim for claim in missing if claim.execution in held]
        for claim in gone:
            del self._held[claim.execution]
            self.lost += 1
            self.locks.lost(claim, expired=True)
            log.warning("lease lost; the job may run elsewhere", job=claim.job_id)
        if gone:
            self.on_lost(gone)
        self._without_locks([claims[number] for number in unlocked])

    def _without_locks(self, claims: list[Claim]) -> None:
        settled = self._settling
        bare = [claim for claim in claims if claim.execution in self._held.keys() - settled]
        for claim in bare:
            log.warning("a job has lost its locks, and is stopped", job=claim.job_id)
            self.locks.lost(claim, expired=False)
        if bare:
            self.on_unlocked(bare)

"""Answers those who ask whether jobs have begun here, or want them back.

A claimed job may still wait in a worker for a slot. Whoever has sent it can cancel it until then:
what is given back unbegun is cancelled by the script that takes it.
"""

import asyncio
from collections.abc import Collection

from heori_common.protocol.commands.builder import text
from heori_common.protocol.job import Claim
from heori_common.redis.errors import RedisRefused
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context

TELL = "tell whether jobs have begun"


class Recalls:
    """All such questions to one consumer."""

    def __init__(self, context: Context, pool: Pool) -> None:
        self._context = context
        self._pool = pool
        self._asked: dict[str, bool] = {}  # the jobs, by id, and whether they are wanted back
        self._work = asyncio.Event()

    def asked(self, ids: Collection[bytes], recalls: object) -> None:
        """Somebody has asked about these jobs, and perhaps for them."""
        for job_id in map(text, ids):
            self._asked[job_id] = self._asked.get(job_id, False) or bool(recalls)
        self._work.set()

    async def run(self) -> None:
        """Answer, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            # A claim that is under way may bring one of them.
            async with self._context.leases.claiming:
                asked, self._asked = self._asked, {}
                held = [each for each in self._context.leases.held() if each.job_id in asked]
            wanted = {claim.job_id for claim in held if asked[claim.job_id]}
            kept = await self._pool.ask_back(wanted) if wanted else set()
            begun = self._pool.begun()
            answers = [(claim, True) for claim in held if claim.job_id in kept]
            answers += [
                (claim, claim.job_id in begun) for claim in held if claim.job_id not in wanted
            ]
            if answers:
                await self._tell(answers)

    async def _tell(self, answers: list[tuple[Claim, bool]]) -> None:
        context = self._context
        command = context.commands.tell_begun(answers)
        try:
            await context.retry.persist(TELL, lambda: context.redis.execute(command))
        except RedisRefused as error:
            context.retry.failed(TELL, error)

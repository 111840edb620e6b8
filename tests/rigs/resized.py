"""`heori`, whose consumer has the size that it is told: three numbers in the list `size`.

Or in the list `apart`: how many jobs may stand aside, and the tasks that are to be kept apart.
The list `sized` tells when the pool knows it, and `settled` when it has just that. The number
`returned` counts deliveries that are given back.
"""

import asyncio
from typing import Any

from redis.asyncio import Redis

from heori.cli.start import run
from heori_common.protocol.job import Settled
from heori_consumer.auto.size import Size
from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.roles import Roles


class Resizing:
    """Has the pool do as it is told, for ever."""

    def __init__(self, context: Context, pool: Pool) -> None:
        self._url = context.settings.redis_url
        self._pool = pool
        self._returned = 0
        self._give = pool.giving_back._give
        pool.giving_back._give = self._count

    async def run(self) -> None:
        """See `Role`."""
        async with (
            Redis.from_url(self._url, socket_timeout=None) as redis,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._tell(redis))
            settling: asyncio.Task[None] | None = None
            while True:
                asked: Any = redis.blpop(["size", "apart"], 0)
                what, said = await asked
                if what == b"apart":
                    most, *tasks = said.decode().split()
                    self._pool.roster.keep_apart(tasks, int(most))
                    told: Any = redis.rpush("sized", said)
                    await told
                    continue
                if settling is not None:
                    settling.cancel()
                size = Size(*map(int, said.split()))
                self._pool.resize(size)
                told = redis.rpush("sized", said)
                await told
                settling = group.create_task(self._tell_settled(redis, said, size))

    async def _tell(self, redis: "Redis") -> None:
        while True:
            await redis.set("returned", self._returned)
            await asyncio.sleep(0.05)

    def _count(self, entries: list[Settled]) -> None:
        self._returned += len(entries)
        self._give(entries)

    async def _tell_settled(self, redis: "Redis", said: bytes, size: Size) -> None:
        while not self.is_settled(size):  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
        told: Any = redis.rpush("settled", said)
        await told

    def is_settled(self, size: Size) -> bool:
        """Whether all workers that take jobs are there, and know how large they are to be."""
        workers = self._pool.roster.open()
        return len(workers) == size.processes == self._pool.roster.places and all(
            (worker.table.slots, worker.coroutines) == (size.slots, size.coroutines)
            for worker in workers
        )


if __name__ == "__main__":
    create = Roles.create
    every = Roles.all
    resizing: list[Resizing] = []

    def create_with_one_more(context: Context) -> Roles:
        roles = create(context)
        resizing.append(Resizing(context, roles.pool))
        return roles

    Roles.create = create_with_one_more  # type: ignore[method-assign]
    Roles.all = lambda roles: (*every(roles), *resizing)  # type: ignore[method-assign, assignment]
    run()

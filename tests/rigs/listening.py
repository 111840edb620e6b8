"""Roles of a consumer on a real server, without the consumer: its listener, and what it hears."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from heori_common.protocol.commands import Commands
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.settings import Settings
from heori_consumer.supervisor.context import Context
from heori_consumer.supervisor.listener import Listener, RemoteCommand
from heori_consumer.supervisor.options import ConsumerOptions

ME = "consumer-1"


def context_of(redis_url: str, *queues: str, name: str = ME) -> Context:
    """What the roles of a consumer of that name share."""
    settings = Settings(redis_url=redis_url)
    return Context(settings, ConsumerOptions.create(queues, "threads"), name)


class Heard:
    """A listener on a real server, and what it has called back with."""

    def __init__(self, redis_client: AsyncRedisClient, *queues: str) -> None:
        self.canceled: asyncio.Queue[str] = asyncio.Queue()
        self.scheduled: asyncio.Queue[None] = asyncio.Queue()
        self.commands: asyncio.Queue[RemoteCommand] = asyncio.Queue()
        self.told: asyncio.Queue[Sequence[Any]] = asyncio.Queue()
        self.changed: set[str] = set()
        self._rung = asyncio.Event()
        self.listener = Listener(
            redis_client,
            Commands().keys,
            queues,
            ME,
            on_canceled=self.canceled.put_nowait,
            on_scheduled=lambda: self.scheduled.put_nowait(None),
            on_command=self.commands.put_nowait,
            on_told=self.told.put_nowait,
            on_changed=self._change,
            on_connected=self._rung.set,
        )

    def _change(self, queues: Collection[str]) -> None:
        self.changed.update(queues)
        self._rung.set()

    def _measure(self, queue: str, length: int) -> None:
        if length:
            self._change([queue])

    async def rings(self, *queues: str, seconds: float = 5.0) -> bool:
        """Whether it rings within seconds for a job that is in these, or comes, or for a change."""
        assert self.listener.watch_queues(queues, self._measure)
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        return True

    def arm(self) -> None:
        """Forget earlier rings."""
        self.changed.clear()
        self._rung.clear()

    async def connected(self, *queues: str) -> None:
        """Wait until it watches, which it tells as if jobs had been cancelled."""
        told = {await asyncio.wait_for(self.canceled.get(), 10) for _ in queues}
        assert told == set(queues)
        assert await self.rings(*queues), "something may have come before"
        self.arm()


async def ended(role: "asyncio.Task[None]") -> None:
    """Cancel until it takes effect: redis-py may swallow a cancellation while it sends."""
    while not role.done():
        role.cancel()
        await asyncio.wait([role], timeout=0.1)


@asynccontextmanager
async def listening(url: str, *queues: str) -> AsyncIterator[Heard]:
    redis_client = AsyncRedisClient(url)
    heard = Heard(redis_client, *queues)
    role = asyncio.create_task(heard.listener.run())
    try:
        await heard.connected(*queues)
        yield heard
    finally:
        await ended(role)
        await redis_client.close()

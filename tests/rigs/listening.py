"""Roles of a consumer on a real server, without the consumer: its listener, and what it hears."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
        self.listener = Listener(
            redis_client,
            Commands().keys,
            queues,
            ME,
            on_canceled=self.canceled.put_nowait,
            on_scheduled=lambda: self.scheduled.put_nowait(None),
            on_command=self.commands.put_nowait,
        )

    async def rings(self, *queues: str, suspended: bool = False) -> bool:
        """Whether it rings within seconds."""
        begin = time.monotonic()
        await self.listener.wait(5, queues, suspended=suspended)
        return time.monotonic() - begin < 4

    async def connected(self, *queues: str) -> None:
        """Wait until it watches, which it tells as if jobs had been cancelled."""
        told = {await asyncio.wait_for(self.canceled.get(), 10) for _ in queues}
        assert told == set(queues)
        assert await self.rings(*queues), "something may have come before"
        self.listener.arm()


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

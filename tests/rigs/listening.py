"""Roles of a consumer on a real server, without the consumer: its listener, and what it hears."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from heori_common.protocol.commands import Commands
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.retries import Backoff
from heori_common.settings import Settings
from heori_consumer.supervisor.context import Context, Role
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.listener import Listener, RemoteCommand
from heori_consumer.supervisor.options import ConsumerOptions

ME = "consumer-1"


def context_of(redis_url: str, *queues: str, name: str = ME) -> Context:
    """What the roles of a consumer of that name share."""
    settings = Settings(redis_url=redis_url)
    return Context(settings, ConsumerOptions.create(queues, "threads"), name)


class Heard:
    """A listener on a real server, and what it has called back with."""

    def __init__(self, redis_client: AsyncRedisClient) -> None:
        self.connections: asyncio.Queue[None] = asyncio.Queue()
        self.written: asyncio.Queue[str] = asyncio.Queue()
        self.told: asyncio.Queue[bytes] = asyncio.Queue()
        self.commands: asyncio.Queue[RemoteCommand] = asyncio.Queue()
        self.changed: set[str] = set()
        self._rung = asyncio.Event()
        self.listener = Listener(
            redis_client,
            Commands().keys,
            ME,
            on_connected=self._connect,
            on_told=self.told.put_nowait,
            on_command=self.commands.put_nowait,
            backoff=Backoff(),
        )

    def _connect(self) -> None:
        self.connections.put_nowait(None)
        self._rung.set()

    def _change(self, queues: Collection[str]) -> None:
        self.changed.update(queues)
        self._rung.set()

    def _measure(self, queue: str, length: object) -> None:
        if isinstance(length, int) and length:
            self._change([queue])

    async def rings(self, *queues: str, seconds: float = 60.0) -> bool:
        """Whether it rings within seconds for a job that is in these, or comes, or for a change."""
        keys = Commands().keys
        reads = [
            (words, partial(self._measure, queue), partial(self._change, [queue]))
            for queue in queues
            for words in (("LLEN", keys.queue(queue)), ("ZCARD", keys.turns(queue)))
        ]
        suspended = ("EXISTS", keys.suspended()), lambda _: None, partial(self._change, queues)
        assert await self.listener.track([suspended, *reads])
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

    async def track(self, key: str) -> bool:
        """Have it told when this key is written next."""
        return await self.listener.track(
            [(("EXISTS", key), lambda _: None, lambda: self.written.put_nowait(key))]
        )

    async def connected(self, *queues: str) -> None:
        """Wait until it is connected."""
        await asyncio.wait_for(self.connections.get(), 60)
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
    heard = Heard(redis_client)
    role = asyncio.create_task(heard.listener.run())
    try:
        await heard.connected(*queues)
        yield heard
    finally:
        await ended(role)
        await redis_client.close()


@dataclass(frozen=True)
class Leading:
    """A consumer that does nothing but lead its service, and may have other roles beside that."""

    context: Context
    leadership: Leadership
    heard: Heard
    _roles: list["asyncio.Task[None]"]

    def begin(self, role: Role) -> None:
        """Have it perform another role."""
        self._roles.append(asyncio.create_task(role.run()))


@asynccontextmanager
async def leading(url: str, *queues: str, name: str = ME) -> AsyncIterator[Leading]:
    context = context_of(url, *queues, name=name)
    leadership = Leadership(context)
    heard = Heard(context.redis)
    roles = [asyncio.create_task(role.run()) for role in (leadership, heard.listener)]
    try:
        await heard.connected()
        await asyncio.wait_for(leadership.gained(), 60)
        yield Leading(context, leadership, heard, roles)
    finally:
        for role in roles:
            await ended(role)
        await leadership.resign()
        await context.redis.close()

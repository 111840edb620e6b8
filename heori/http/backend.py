"""What all routes share: a producer, and a client that reads."""

import asyncio

from heori import AsyncProducer
from heori.inspect.reader import RedisReader
from heori_common.protocol.commands import Commands, WhenFull
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings


class Backend:
    """Shared by all requests, of any thread.

    Attributes:
        settings: of the service.
        producer: sends, and waits for results.
        redis: a client that reads and acts; its calls block.
        commands: for it.
        root: the path under which browsers see the service; empty for none.
        ending: set when the service is to end, and whoever waits is to be answered.

    Raises:
        ValueError: the URL of Redis is malformed.
    """

    def __init__(self, settings: Settings) -> None:
        # No request waits for room in a queue: the answer says when to try again.
        full: WhenFull = "drop_oldest" if settings.when_full == "drop_oldest" else "reject"
        self.settings = settings
        self.producer = AsyncProducer(settings=settings, when_full=full)
        self.redis = RedisClient(settings.redis_url)
        # What is read comes from the server that takes the producer's writes.
        self.producer.on_reconnect = self.redis.close
        self.commands = Commands(Keys(settings.key_prefix))
        self.root = settings.api_root.rstrip("/")
        self.ending = asyncio.Event()

    def reader(self) -> RedisReader:
        """A new one, which notes what it cannot read."""
        return RedisReader(self.redis, self.commands.keys)

    async def close(self) -> None:
        """Close its connections."""
        await self.producer.close()
        self.redis.close()

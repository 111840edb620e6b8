"""The producer of an event loop: it has the connections that its senders send on."""

from collections.abc import Callable, Sequence
from typing import Self

from heori_common.protocol.commands import Commands, WhenFull
from heori_common.protocol.keys import Keys
from heori_common.public import public
from heori_common.settings import PRODUCER, Settings
from heori_producer import recall
from heori_producer.async_link import AsyncLink
from heori_producer.async_sender import AsyncProducerParts, AsyncSender
from heori_producer.options import Options
from heori_producer.results import Results
from heori_producer.sending import Sending


@public
class AsyncProducer(AsyncSender):
    """Sends jobs to Redis from an event loop: the surface of `Producer`, with `await`.

    It has no thread, and nothing that it waits for blocks the loop: room in a queue, an outage, the
    end of jobs. It connects with its first call, and belongs to that loop until it is closed. One
    is enough for all coroutines; `async with AsyncProducer() as producer` closes it.

    Args:
        url: of the Redis server; by default HEORI_REDIS_URL.
        settings: by default read from the environment.
        when_full: as in `Options`, for all that it sends; by default HEORI_WHEN_FULL.
        full_timeout: likewise; by default HEORI_FULL_TIMEOUT.

    Attributes:
        results: awaits the ends of jobs, for what builds on this.
        on_reconnect: called when it has connected anew, perhaps to another server.

    Raises:
        InvalidSetting: a setting that a producer reads does not fit.
        ValueError: the URL or an option makes no sense.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        when_full: WhenFull | None = None,
        full_timeout: float | None = None,
    ) -> None:
        settings = settings or Settings()
        settings.check(PRODUCER)
        options = Options(when_full=when_full, full_timeout=full_timeout)
        commands = Commands(Keys(settings.key_prefix))
        link = AsyncLink(url or settings.redis_url)
        self.results = Results(link.watcher, commands)
        sending = Sending(settings, commands)
        super().__init__(AsyncProducerParts(link, commands, sending, self.results), options)

    @property
    def on_reconnect(self) -> Callable[[], object]:
        """Called when it has connected anew."""
        return self._parts.link.on_reconnect

    @on_reconnect.setter
    def on_reconnect(self, call: Callable[[], object]) -> None:
        self._parts.link.on_reconnect = call

    async def cancel(self, queue: str, ids: Sequence[str]) -> list[str]:
        """Cancel those of the jobs that have not begun, as `Handle.cancel`; returns these.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return await self._parts.link.run(recall.cancel(self._parts.commands, queue, ids))

    async def close(self) -> None:
        """Close the connections. What is still awaited is awaited in vain."""
        self.results.close()
        await self._parts.link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

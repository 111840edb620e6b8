"""The producer: it has the connections that its senders send on."""

from collections.abc import Sequence
from typing import Self

from heori_common.protocol.commands import Commands, WhenFull
from heori_common.protocol.keys import Keys
from heori_common.public import public
from heori_common.settings import PRODUCER, Settings
from heori_producer.options import Options
from heori_producer.recall import Recall
from heori_producer.results import Results
from heori_producer.sender import ProducerParts, Sender
from heori_producer.sending import Sending
from heori_producer.shared import share


@public
class Producer(Sender):
    """Sends jobs to Redis. Safe to share between threads.

    Args:
        url: of the Redis server; by default HEORI_REDIS_URL.
        settings: by default read from the environment.
        when_full: as in `Options`, for all that it sends; by default HEORI_WHEN_FULL.
        full_timeout: likewise; by default HEORI_FULL_TIMEOUT.

    Attributes:
        results: awaits the ends of jobs, for what builds on this.

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
        redis, watcher = share(url or settings.redis_url)
        self.results = Results(watcher, commands)
        recall = Recall(redis, commands, watcher)
        sending = Sending(settings, commands)
        super().__init__(
            ProducerParts(redis, watcher, commands, sending, self.results, recall), options
        )

    def cancel(self, queue: str, ids: Sequence[str]) -> list[str]:
        """Cancel those of the jobs that have not begun, as `Handle.cancel`; returns these.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return self._parts.recall.cancel(queue, ids)

    def close(self) -> None:
        """Close the connections, unless others use them, too.

        What is still awaited in a coroutine is awaited in vain. A producer that is only let go
        leaves nothing either, once the garbage is collected.
        """
        self.results.close()
        if not self._parts.watcher.is_used:
            self._parts.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

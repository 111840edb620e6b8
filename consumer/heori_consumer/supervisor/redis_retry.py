"""What to do while Redis is away: say it once, try again with backoff, say when it is back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.retries import Backoff

log = logs.get_logger(__name__)
T = TypeVar("T")

LONGEST_PAUSE_S = 2.0
# Consumers that come back, about, where a server was away for a moment. Each makes three
# connections and claims, and thousands at once would keep it from all else.
BACK_PER_S = 1000


class RedisRetry:
    """Shared by all roles of a consumer, so that one outage is one message.

    Attributes:
        consumers: how many there are, as far as this one knows: all try again after an outage.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self.consumers = 0

    def backoff(self) -> Backoff:
        """Pauses that spread all consumers."""
        return Backoff(LONGEST_PAUSE_S, lambda: self.consumers / BACK_PER_S)

    @property
    def away(self) -> bool:
        """Whether Redis could not be reached when it was last tried."""
        return self._since is not None

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt until Redis answers. Only for what may be done twice.

        A server that does not take the login has executed nothing, and is as good as away.

        Raises:
            Whatever the attempt raises other than that.
        """
        backoff = self.backoff()
        while True:
            try:
                result = await attempt()
            except RedisUnavailable as error:
                self.tell(error)
            except RedisRefused as error:
                if not error.is_login:
                    raise
                self.tell(error, "Redis refuses this login; trying again")
            else:
                self._end()
                return result
            await asyncio.sleep(backoff.pause())

    def tell(self, reason: object, what: str = "Redis is away; trying again") -> None:
        """Say that it cannot be used, and why, unless that is known already."""
        if self._since is None:
            self._since = time.monotonic()
            log.error(what, reason=str(reason))

    def _end(self) -> None:
        if self._since is not None:
            log.info("Redis is back", after_seconds=round(time.monotonic() - self._since, 1))
            self._since = None

"""What to do while Redis is away: say it once, try again with backoff, say when it is back."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from heori_common import logs
from heori_common.redis.errors import RedisUnavailable

log = logs.get_logger(__name__)
T = TypeVar("T")

FIRST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 2.0


class RedisRetry:
    """Shared by all roles of a consumer, so that one outage is one message."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def away(self) -> bool:
        """Whether Redis could not be reached when it was last tried."""
        return self._since is not None

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt until Redis answers. Only for what may be done twice.

        Raises:
            Whatever the attempt raises other than RedisUnavailable.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                result = await attempt()
            except RedisUnavailable as error:
                self._begin(error)
            else:
                self._end()
                return result
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(LONGEST_PAUSE, pause * 2)

    def _begin(self, error: RedisUnavailable) -> None:
        if self._since is None:
            self._since = time.monotonic()
            log.error("Redis is away; trying again", reason=str(error))

    def _end(self) -> None:
        if self._since is not None:
            log.info("Redis is back", after_seconds=round(time.monotonic() - self._since, 1))
            self._since = None

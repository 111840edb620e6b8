"""Tells people that Redis takes nothing for a while: a line at its begin, and one at its end."""

import time

from heori import formats
from heori.plain import say
from heori_common.redis.errors import RedisRefused, RedisUnavailable


class Outage:
    """One of a command that goes on through it.

    Attributes:
        since: when it began, as time.monotonic() tells it; None while there is none.
    """

    def __init__(self) -> None:
        self.since: float | None = None

    def note(self, error: RedisUnavailable | RedisRefused) -> None:
        """Redis has taken nothing, once more."""
        if self.since is None:
            self.since = time.monotonic()
            say(f"heori: {error}; trying again", error=True)

    def end(self) -> None:
        """Redis has taken something."""
        if self.since is not None:
            seconds = time.monotonic() - self.since
            say(f"heori: Redis is back after {formats.duration(seconds)}", error=True)
            self.since = None

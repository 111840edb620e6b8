"""What to do while Redis is away or refuses: try again with backoff, and say it once.

There is one line when it begins, and one when it is over. Three kinds of trouble are told apart:

- Redis is away, which ends with any answer;
- it refuses everybody for now, as a replica does, or the login: that ends when it has taken
  something that writes;
- it refuses one thing, such as a command that this user must not use: that ends when it takes it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from heori_common import logs
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.redis.retries import Backoff

log = logs.get_logger(__name__)
T = TypeVar("T")

# Between two attempts. Work goes on so soon after an outage, or later where consumers are many.
LONGEST_PAUSE_S, LONGEST_OF_MANY_S = 0.75, 2.0
# Consumers that come back, about, where a server was away for a moment. Each makes three
# connections and claims, and thousands at once would keep it from all else.
BACK_PER_S = 1000

AWAY = "Redis is away; trying again", "Redis is back"
LOGIN = "Redis refuses this login; trying again", "Redis is back"
REFUSED = "Redis refuses; trying again", "Redis does not refuse any more"


class Trouble:
    """What is the matter, since when, and how often it was tried in vain.

    Attributes:
        is_vital: whether something that must not be lost waits for its end.
    """

    def __init__(
        self, told: tuple[str, str], what: str, error: Exception, *, quiet: bool = False
    ) -> None:
        self.error = error
        self._quiet = quiet
        self.is_vital = False
        self.attempts = 0
        self._beginning, self._end = told
        self._about = {"what": what} if what else {}
        self._since = time.monotonic()
        self._over = asyncio.Event()
        if not quiet:
            log.error(self._beginning, **self._about, reason=str(error))

    async def rest(self, seconds: float) -> None:
        """Wait for its end, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    def end(self) -> None:
        """It is over."""
        self._over.set()
        if self._quiet:
            return
        log.info(
            self._end,
            **self._about,
            after_seconds=round(time.monotonic() - self._since, 1),
            failed_attempts=self.attempts,
        )


class RedisRetry:
    """Shared by all roles of a consumer, so that one outage is one message.

    What is tried has a name, which completes "cannot …".

    Attributes:
        consumers: how many there are, as far as this one knows: all try again after an outage.
        leaves: whether this consumer closes its connections. What was asked over them and is not
            answered fails then, and nobody is told that Redis is away.
        failed_at: time.monotonic() when Redis was last away, or refused everybody.
        on_other_server: what is called when a server takes writes again that was a replica: the
            address may lead to another one by then.
    """

    def __init__(self) -> None:
        self._away: Trouble | None = None
        self._refusals: dict[str, Trouble] = {}  # of everybody, by their code
        self._single: dict[str, Trouble] = {}  # by what is refused
        self.consumers = 0
        self.leaves = False
        self.failed_at = float("-inf")
        self.on_other_server: list[Callable[[], None]] = []

    def backoff(self) -> Backoff:
        """Pauses that spread all consumers."""
        return Backoff(
            lambda: min(LONGEST_OF_MANY_S, max(LONGEST_PAUSE_S, self.consumers / BACK_PER_S)),
            lambda: self.consumers / BACK_PER_S,
        )

    @property
    def away(self) -> bool:
        """Whether Redis could not be reached when it was last tried."""
        return self._away is not None

    @property
    def trouble(self) -> Exception | None:
        """Why this consumer cannot work; None when it can, as far as it knows."""
        general = [self._away, *self._refusals.values()]
        vital = (trouble for trouble in self._single.values() if trouble.is_vital)
        return next((trouble.error for trouble in (*general, *vital) if trouble), None)

    async def persist(
        self, what: str, attempt: Callable[[], Awaitable[T]], *, writes: bool = True
    ) -> T:
        """Repeat an attempt until Redis takes it. Only for what may be done twice.

        Args:
            writes: whether a server that takes no writes refuses it.

        Raises:
            RedisRefused: it is refused for what is in it.
        """
        backoff = self.backoff()
        while True:
            try:
                result = await attempt()
            except (RedisUnavailable, RedisRefused) as error:
                if isinstance(error, RedisRefused) and not error.is_general:
                    raise
                trouble = self.failed(what, error, vital=True)
            else:
                self.worked(what, writes=writes)
                return result
            await trouble.rest(backoff.pause())

    async def once(self, what: str, attempt: Awaitable[T], *, writes: bool = True) -> T | None:
        """What comes of one attempt; None when it fails. For what is tried again anyway.

        Args:
            writes: as in `persist`.
        """
        try:
            result = await attempt
        except (RedisUnavailable, RedisRefused) as error:
            self.failed(what, error)
            return None
        self.worked(what, writes=writes)
        return result

    def failed(
        self, what: str, error: RedisUnavailable | RedisRefused, *, vital: bool = False
    ) -> Trouble:
        """Redis was away, or has refused something; returns the trouble that this belongs to."""
        if isinstance(error, RedisUnavailable):
            self.failed_at = time.monotonic()
            trouble = self._away = self._away or self._trouble(AWAY, "", error)
        else:
            self._end_outage()
            general = error.is_passing or error.is_login
            if general:
                self.failed_at = time.monotonic()
            troubles, key = (self._refusals, error.code) if general else (self._single, what)
            if key not in troubles:
                told = LOGIN if error.is_login else REFUSED
                troubles[key] = self._trouble(told, "" if general else what, error)
            trouble = troubles[key]
        trouble.attempts += 1
        trouble.is_vital |= vital
        return trouble

    def worked(self, what: str, *, writes: bool = True) -> None:
        """Redis has taken something."""
        if self._away is None and not self._refusals and not self._single:
            return  # as nearly always
        self._end_outage()
        if (trouble := self._single.pop(what, None)) is not None:
            trouble.end()
        if writes and self._refusals:
            over, self._refusals = self._refusals, {}
            for trouble in over.values():
                trouble.end()
            if any(
                isinstance(each.error, RedisRefused) and each.error.needs_reconnect
                for each in over.values()
            ):
                for call_back in self.on_other_server:
                    call_back()

    def _trouble(self, told: tuple[str, str], what: str, error: Exception) -> Trouble:
        return Trouble(told, what, error, quiet=self.leaves)

    def _end_outage(self) -> None:
        if self._away is not None:
            over, self._away = self._away, None
            over.end()

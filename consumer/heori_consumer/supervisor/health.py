"""How a consumer is: for RQ's tools in a word, for probes in a report."""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from typing import Any

from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.claimer import Claimer
from heori_consumer.supervisor.context import Context

# Redis is asked when somebody asks, but no more often, and whoever asks waits no longer than that.
# An idle consumer may hear nothing of Redis for seconds.
ASK_EVERY_S = 0.25
ANSWER_S = 0.5
# For the event loop to turn once, on a machine that is short of CPU, too.
TURN_S = 5.0


class Health:
    """Looks at what a consumer is doing."""

    def __init__(self, context: Context, pool: Pool, claimer: Claimer) -> None:
        self._context = context
        self._pool = pool
        self._claimer = claimer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = float("-inf")  # time.monotonic()
        self._asking: concurrent.futures.Future[int | None] | None = None

    def begin(self) -> None:
        """Ask Redis from this event loop, from now on."""
        self._loop = asyncio.get_running_loop()

    def state(self) -> str:
        """As rq names the state of a worker."""
        if self._claimer.suspended or self._context.drain.is_on:
            return "suspended"
        return "busy" if self._pool.held() else "idle"

    def doing(self) -> str:
        """The same for people, who want to know of a drain, too. Any thread may ask."""
        if self._context.stop.drain.is_set():
            return "draining"
        if self._context.drain.is_on:
            return "draining" if self._pool.held() else "drained"
        return self.state()

    @property
    def drains(self) -> bool:
        """Whether it claims nothing, to end or because it was asked to."""
        return self._context.stop.drain.is_set() or self._context.drain.is_on

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and why. To be called from another thread than the event loop's."""
        self._ask()
        ready = len(self._pool.roster.open())
        workers = self._pool.roster.places
        retry = self._context.retry
        trouble = retry.trouble
        return trouble is None and ready == workers, {
            "consumer": self._context.name,
            "redis": "away" if retry.away else "refuses" if trouble else "up",
            "reason": None if trouble is None else str(trouble),
            "workers_ready": ready,
            "workers": workers,
            # Those that are ready go on, so this alone is no reason to restart the consumer.
            "cannot_start": self._pool.roster.trouble.reason,
            "draining": self.drains,
            "suspended": self._claimer.suspended,
            # To start it anew changes nothing, unless with another setting.
            "refuses": self._context.refusals.reasons.copy(),
        }

    def alive(self) -> bool:
        """Whether the event loop, which decides all, still turns. To be called as `report`."""
        turned = threading.Event()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(turned.set)
        return turned.wait(TURN_S)

    def _ask(self) -> None:
        """See whether Redis takes writes; without an answer in time, what is known stands."""
        now = time.monotonic()
        is_asking = self._asking is not None and not self._asking.done()
        if self._loop is None or is_asking or now - self._asked < ASK_EVERY_S:
            return
        self._asked = now
        probe = self._context.redis.execute(self._context.commands.probe())
        self._asking = asyncio.run_coroutine_threadsafe(
            self._context.retry.once("store more", probe), self._loop
        )
        with contextlib.suppress(
            concurrent.futures.TimeoutError, concurrent.futures.CancelledError
        ):
            self._asking.result(ANSWER_S)

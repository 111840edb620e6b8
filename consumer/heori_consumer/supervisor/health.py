"""How a consumer is: for RQ's tools in a word, for /healthz in a report."""

from typing import Any

from heori_consumer.pool.pool import Pool
from heori_consumer.supervisor.claimer import Claimer
from heori_consumer.supervisor.context import Context


class Health:
    """Looks at what a consumer is doing."""

    def __init__(self, context: Context, pool: Pool, claimer: Claimer) -> None:
        self._context = context
        self._pool = pool
        self._claimer = claimer

    def state(self) -> str:
        """As rq names the state of a worker."""
        if self._claimer.suspended:
            return "suspended"
        return "busy" if self._pool.held() else "idle"

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and why. Safe to call from another thread."""
        ready = len(self._pool.roster.open())
        workers = self._context.options.processes
        away = self._context.retry.away
        return not away and ready == workers, {
            "consumer": self._context.name,
            "redis": "away" if away else "up",
            "workers_ready": ready,
            "workers": workers,
            # Those that are ready go on, so this alone is no reason to restart the consumer.
            "cannot_start": self._pool.roster.trouble.reason,
            "draining": self._context.stop.drain.is_set(),
            "suspended": self._claimer.suspended,
        }

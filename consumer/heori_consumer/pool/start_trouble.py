"""Workers that end before they are ready, as when a file of the tasks was changed for the worse.

Those that are ready know nothing of it and go on. Each attempt costs the start of a process, so
attempts come less and less often. It is told when that begins, changes its reason, and is over.
"""

from heori_common import logs

log = logs.get_logger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class StartTrouble:
    """What stands in the way of new workers.

    Attributes:
        reason: why the latest could not start, in a line; None when all can.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._pauses: dict[str, float] = {}  # seconds, by the names of workers

    def happened(self, worker: str, reason: str, details: str = "") -> None:
        """A worker of that name has ended before it was ready.

        Args:
            reason: in a line.
            details: a traceback, if there is one.
        """
        self._pauses[worker] = min(LONGEST_PAUSE_S, 2 * self._pauses.get(worker, FIRST_PAUSE_S / 2))
        if reason != self.reason:
            self.reason = reason
            log.error(
                "a worker cannot start; it is tried again, less and less often",
                worker=worker,
                reason=reason,
                **({"error": details} if details else {}),
            )

    def over(self, worker: str) -> None:
        """A worker of that name is ready."""
        if self._pauses.pop(worker, None) and not self._pauses:
            self.reason = None
            log.info("workers can start again", worker=worker)

    def forget(self, worker: str) -> None:
        """There is to be no worker of that name any more."""
        if self._pauses.pop(worker, None) and not self._pauses:
            self.reason = None

    def pause(self, worker: str) -> float:
        """Seconds to wait before a worker of that name is started."""
        return self._pauses.get(worker, 0.0)

    def __len__(self) -> int:
        """Of how many names no worker can start."""
        return len(self._pauses)

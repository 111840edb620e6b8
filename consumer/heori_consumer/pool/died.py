"""Jobs that have failed without their worker's knowledge: another one's middleware hears of them.

Their worker has died, or did not end them in time; or Redis has said in the end that they failed.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from heori_common.protocol.job import CRASHED, FAILED, KILLED, RETRY, Claim, Outcome, Settled
from heori_common.protocol.payload import decode_failure
from heori_consumer.pool.handle import WorkerHandle

# That wait for a worker, should none be there; of more, the latest.
MOST_WAITING = 1000


class DiedJobs:
    """Those of one consumer.

    Args:
        workers: that run jobs side by side. A suspect, alone in its own, may take along what that
            is told.
        heard: whether there is any middleware to hear of them.
    """

    def __init__(self, workers: Callable[[], Iterable[WorkerHandle]], *, heard: bool) -> None:
        self._workers = workers
        self._heard = heard
        self._untold: deque[tuple[Claim, str, str, str]] = deque(maxlen=MOST_WAITING)

    def add(self, settled: Iterable[Settled], tasks: Mapping[str, str] | None = None) -> None:
        """Those of these that have failed.

        Args:
            tasks: the names of those that were at work, by execution.
        """
        if self._heard:
            self._untold += [
                (claim, _task(claim, outcome, tasks or {}), outcome.status, _reason(claim, outcome))
                for claim, outcome in settled
                if outcome.status in (CRASHED, KILLED, FAILED, RETRY) and not claim.phase
            ]
            self.tell()

    def tell(self) -> None:
        """Have a worker hear of all, if there is one."""
        if self._untold:
            for worker in (each for each in self._workers() if each.ready):
                while self._untold:
                    worker.tell_died(*self._untold.popleft())


def _task(claim: Claim, outcome: Outcome, tasks: Mapping[str, str]) -> str:
    return outcome.task or tasks.get(claim.execution, "")


def _reason(claim: Claim, outcome: Outcome) -> str:
    """In a line; as in a dead letter, the last one sums it up."""
    if outcome.body is None:
        return f"it ran for longer than its timeout of {claim.timeout} s; its worker was killed"
    return decode_failure(outcome.body).rstrip().rpartition("\n")[2]

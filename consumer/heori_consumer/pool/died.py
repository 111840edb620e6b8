"""Jobs that have failed without their worker's knowledge: another one's middleware hears of them.

Their worker has died, or did not end them in time; or Redis has said in the end that they failed;
or their whole consumer has vanished with them once too often.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from heori_common.protocol.job import CRASHED, FAILED, KILLED, RETRY, Claim, Job, Outcome, Settled
from heori_common.protocol.payload import BadPayload, decode_call, decode_failure
from heori_consumer.pool.handle import WorkerHandle

# That wait for a worker, should none be there; of more, the latest.
MOST_WAITING = 1000
MOST_BYTES = 1_000_000  # of a call that is read


class DiedJobs:
    """Those of one consumer.

    Args:
        workers: that run jobs side by side. A suspect, alone in its own, may take along what that
            is told.
        heard: whether there is any middleware to hear of them.

    Attributes:
        heard: likewise.
    """

    def __init__(self, workers: Callable[[], Iterable[WorkerHandle]], *, heard: bool) -> None:
        self._workers = workers
        self.heard = heard
        self._untold: deque[tuple[Claim, str, str, str, str]] = deque(maxlen=MOST_WAITING)

    def add(self, settled: Iterable[Settled], tasks: Mapping[str, str] | None = None) -> None:
        """Those of these that have failed.

        Args:
            tasks: the names of those that were at work, by execution.
        """
        if self.heard:
            for claim, outcome in settled:
                if outcome.status in (CRASHED, KILLED, FAILED, RETRY) and not claim.phase:
                    task = outcome.task or (tasks or {}).get(claim.execution, "")
                    self._untold.append((claim, task, outcome.status, _reason(claim, outcome), ""))
            self.tell()

    def vanished(self, job: Job) -> None:
        """A dead letter of another consumer, which is no more."""
        task = ""
        with contextlib.suppress(BadPayload):
            task = decode_call(job.data, ("json",), MOST_BYTES).function
        claim = Claim(job.id, job.queue, "", job.deliveries or 1, 0.0, None, -1, None, None, b"")
        reason = "delivered too often; its last consumer has vanished with it"
        self._untold.append((claim, task, FAILED, reason, job.consumer))
        self.tell()

    def tell(self) -> None:
        """Have a worker hear of all, if there is one."""
        if self._untold:
            for worker in (each for each in self._workers() if each.ready):
                while self._untold:
                    worker.tell_died(*self._untold.popleft())


def _reason(claim: Claim, outcome: Outcome) -> str:
    """In a line; as in a dead letter, the last one sums it up."""
    if outcome.body is None:
        return f"it ran for longer than its timeout of {claim.timeout} s; its worker was killed"
    return decode_failure(outcome.body).rstrip().rpartition("\n")[2]

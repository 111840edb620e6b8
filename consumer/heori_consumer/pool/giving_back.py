"""Gives jobs back in the order in which they were claimed, whoever returns them first.

What is given back goes to the front of its queue. So what one worker returns waits for that of the
others, to go there with it.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from heori_common.protocol.job import Settled
from heori_consumer.pool.handle import WorkerHandle

# How long workers may take to say what they have not begun, also where others keep the cores busy:
# one that hangs in C cannot answer, and the jobs of the others must not wait for it for ever.
RECALL_WAIT_S = 2.0
# How long jobs of a refused queue wait for each other at most: each is read before it is known.
CLEARING_S = 10.0


class GivingBack:
    """Holds what is returned until all has come that is to go with it.

    Args:
        give: called with what is given back, in the order of the claims.
        claiming: held while a claim is under way, which may bring more.
    """

    def __init__(self, give: Callable[[list[Settled]], None], claiming: asyncio.Lock) -> None:
        self._give = give
        self._claiming = claiming
        self._back: list[Settled] = []
        self._recalled: set[WorkerHandle] = set()  # that have yet to answer
        self._clearing: set[str] = set()  # queues of which nothing is to be left here
        self._workers: Sequence[WorkerHandle] = ()  # that may have some of them
        self._timer: asyncio.TimerHandle | None = None  # of the queue that came last

    def __len__(self) -> int:
        return len(self._back)

    def recall(self, workers: Iterable[WorkerHandle]) -> None:
        """Ask these workers for all that they have not begun, and wait for their answers."""
        self._recalled = set(workers)
        for worker in self._recalled:
            worker.recall()
        asyncio.get_running_loop().call_later(RECALL_WAIT_S, self.end_recall)

    def answered(self, worker: WorkerHandle) -> None:
        """A worker has, or is no more."""
        self._recalled.discard(worker)

    def end_recall(self) -> None:
        """Wait no longer."""
        self._recalled.clear()
        self.look()

    def clear(self, queues: Collection[str], workers: Sequence[WorkerHandle]) -> None:
        """Have all jobs of these queues back that have not begun, and wait for them."""
        if self._clearing.issuperset(queues):
            return
        self._clearing.update(queues)
        self._workers = workers
        for worker in workers:
            if numbers := worker.unbegun(queues):
                worker.recall_some(numbers)  # what else it has stays, and so in its order
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(CLEARING_S, self._end_clearing)

    def add(self, entries: Sequence[Settled]) -> None:
        """These are to be given back."""
        self._back += entries
        self.look()

    def look(self) -> None:
        """Give back what there is, if nothing more is to come."""
        if self._clearing and not (
            self._claiming.locked()
            or any(worker.unbegun(self._clearing) for worker in self._workers)
        ):
            self._clearing.clear()
        if self._back and not self._recalled and not self._clearing:
            back, self._back = self._back, []
            self._give(sorted(back, key=_order))

    def _end_clearing(self) -> None:
        self._clearing.clear()
        self.look()


def _order(entry: Settled) -> tuple[float, str]:
    """In which order jobs were claimed: a claim numbers its executions."""
    claim, _ = entry
    return claim.claimed_at, claim.execution

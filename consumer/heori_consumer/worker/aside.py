"""Jobs that would only wait for each other, for the GIL: one runs, and the others stand aside.

So their slots are free for jobs that wait for other things, which would have to ask for the GIL
beside all of them each time that they go on.
"""

from collections import deque
from collections.abc import Callable, Collection

from heori_common.protocol.job import Claim
from heori_consumer.worker.slots import Numbered


class Aside:
    """Those of one worker; whoever calls holds its lock.

    Args:
        is_lent: whether the job of a slot waits for other jobs.

    Attributes:
        tasks: whose jobs run one at a time.
        most: how many of them may stand aside beside the jobs that slots have.
    """

    def __init__(self, is_lent: Callable[[int], bool]) -> None:
        self._is_lent = is_lent
        self.tasks: frozenset[str] = frozenset()
        self.most = 0
        self._at_work: dict[int, int] = {}  # slots, by numbers of jobs
        self._waiting: deque[Numbered] = deque()
        self._next: int | None = None  # the number of the one that was called and has yet to come

    def __len__(self) -> int:
        return len(self._waiting)

    def may_begin(self, slot: int, number: int, claim: Claim) -> bool:
        """Whether a job of these tasks may begin; else it stands aside until it is called."""
        if number == self._next:
            self._next = None
        # Others may wait for the locks that a job got when it was claimed.
        elif not claim.locks and (self._next is not None or self._waiting or self._is_taken()):
            self._waiting.append((number, claim))
            return False
        self._at_work[number] = slot
        return True

    def is_at_work(self, number: int) -> bool:
        """Whether a job is one of them; of its own, whoever runs it may ask without the lock."""
        return number in self._at_work

    def ended(self, number: int) -> None:
        """Note that one of them has ended."""
        del self._at_work[number]

    def call(self) -> list[Numbered]:
        """The one that is to begin now, if any."""
        if not self._waiting or self._next is not None or self._is_taken():
            return []
        job = self._waiting.popleft()
        self._next = job[0]
        return [job]

    def take_back(self, only: Collection[int] | None = None) -> list[Numbered]:
        """All that stand aside, or those of these numbers, in their order."""
        jobs = [job for job in self._waiting if only is None or job[0] in only]
        self._waiting = deque(job for job in self._waiting if job not in jobs)
        if only is None or self._next in only:
            self._next = None
        return jobs

    def _is_taken(self) -> bool:
        return not all(map(self._is_lent, self._at_work.values()))

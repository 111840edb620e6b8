"""Writes that are refused when the lock was lost and another holder has written since.

A lease alone cannot prevent that a holder that was paused goes on after its end. What it writes to
can: it keeps the highest fence that has written and refuses a lower one. (M. Kleppmann, "How to do
distributed locking", 2016.) In Redis that is `Fence`; in SQL it is a column and a condition::

    UPDATE account SET balance = :balance, fence = :fence WHERE id = :id AND fence <= :fence

which changes no row when the writer is too late; `require` makes that an exception.
"""

from typing import Any

from heori_common.errors import short
from heori_common.locks.arguments import check_words
from heori_common.locks.errors import FencedOut
from heori_common.locks.lock import Lock
from heori_common.names import check_name
from heori_common.protocol.commands import Word
from heori_common.public import public


@public
class Fence:
    """Guards one thing in Redis: commands that come too late are refused.

    Every write to the thing must go through a fence of the same name, on the server of the lock.
    Who wrote last is remembered for a year after that write.

    Args:
        resource: a name for what is guarded.
        lock: which the thread or task that executes holds, or held last.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(self, resource: str, lock: Lock) -> None:
        check_name("resource", resource)
        if not isinstance(lock, Lock):
            raise TypeError(f"{short(lock)} is no Mutex and no Semaphore")
        self.resource = resource
        self._lock = lock

    def execute(self, *words: Word) -> Any:
        """Execute a Redis command, such as ``execute("SET", "balance:5", 100)``, in one step with
        the check; returns its reply.

        Raises:
            TypeError, ValueError: a word cannot be sent.
            FencedOut: a later holder of the lock has written already.
            NotHeld: the lock was never acquired.
            RedisUnavailable: Redis cannot be reached.
            RedisRefused: Redis refuses the command, as it would without a fence.
        """
        check_words(words)
        hold = self._lock.hold
        session = self._lock.session()
        fenced, _ = session.execute(
            session.commands.fenced(self.resource, hold.fence, hold.id, words)
        )
        if fenced.by is not None:
            session.statistics.note("fenced_out")
            raise FencedOut(hold.fence, fenced.by)
        return fenced.reply


@public
def require(rows: int, fence: int) -> None:
    """Check that an ``UPDATE … WHERE fence <= :fence`` has found its row.

    Args:
        rows: the cursor's rowcount.

    Raises:
        FencedOut: it has not.
    """
    if rows < 1:
        raise FencedOut(fence)

"""What a worker does about the locks of a job.

It runs the function inside those that the task declares where the claim has not got them, and
releases what the function has taken and not released.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from heori_common.current_job import CurrentJob
from heori_common.locks.lock import Mutex, Semaphore, acquire_all
from heori_common.locks.lockable import Lockable
from heori_common.locks.session import sessions
from heori_common.protocol.job import LockName


def holding(locks: Sequence[LockName], url: str, function: Callable[[], Any]) -> Any:
    """Call a function with these locks held, as the claim would have got them."""
    with _all(locks, url):
        return function()


async def holding_async(
    locks: Sequence[LockName], url: str, function: Callable[[], Awaitable[Any]]
) -> Any:
    """As `holding`, for a coroutine function."""
    async with _all(locks, url):
        return await function()


def end_job(job: CurrentJob) -> None:
    """Release what a job that has ended has taken and not released."""
    for session in sessions():
        session.end_job(job)


def _all(locks: Sequence[LockName], url: str) -> Lockable:
    return acquire_all(
        [
            Mutex(lock.name, url) if lock.limit is None else Semaphore(lock.name, lock.limit, url)
            for lock in locks
        ]
    )

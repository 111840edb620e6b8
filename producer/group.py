"""Several jobs as one: waited for together, counted as they end."""

import threading
import time
from collections.abc import Generator, Iterable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from producer.handle import Handle
from producer.results import End

R = TypeVar("R")


class GroupProgress(NamedTuple):
    """How far a group is."""

    done: int  # jobs that have ended well
    failed: int  # that have ended otherwise: failed, cancelled or gone
    total: int


class Group(Generic[R]):
    """Jobs that were sent, as one. In a coroutine, ``await group`` is what `results` is elsewhere.

    All of them are waited for over the producer's one connection, and none is polled. The group
    is known to this program alone: an rq.group.Group is a set in Redis that only rq's own workers
    ever clear away.

    Attributes:
        handles: of the jobs, in the order given.
    """

    def __init__(self, handles: Iterable[Handle[R]]) -> None:
        self.handles = list(handles)
        self._ends: dict[int, End] = {}
        self._changed = threading.Condition()
        for number, handle in enumerate(self.handles):
            handle.when_ended(partial(self._ended, number))

    def __len__(self) -> int:
        return len(self.handles)

    def progress(self) -> GroupProgress:
        """How many have ended so far, and how; asks nobody."""
        with self._changed:
            failed = sum(isinstance(end, Exception) for end in self._ends.values())
            return GroupProgress(len(self._ends) - failed, failed, len(self.handles))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended, one way or another; returns whether they have.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.
        """
        with self._changed:
            return self._changed.wait_for(self._all_ended, timeout)

    def results(self, timeout: float | None = None) -> list[R]:
        """What all have returned, in the order of the handles.

        As with the results of several futures, the first failure in that order is raised as soon
        as all before it have ended; the other jobs go on.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: not all have ended in time. They go on.
            JobFailed, JobCanceled, JobNotFound: as `Handle.result`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return [
            handle.load(self._end_of(number, deadline))
            for number, handle in enumerate(self.handles)
        ]

    def cancel(self) -> int:
        """Keep those from running that no consumer has claimed; returns how many.

        Raises:
            BrokerUnavailable: Redis cannot be reached.
        """
        return sum(handle.cancel() for handle in self.handles)

    def __await__(self) -> Generator[Any, None, list[R]]:
        """Wait as `results` does, and let the event loop go on."""
        return self._in_order().__await__()

    async def _in_order(self) -> list[R]:
        return [await handle for handle in self.handles]

    def _end_of(self, number: int, deadline: float | None) -> bytes:
        with self._changed:
            left = None if deadline is None else deadline - time.monotonic()
            if not self._changed.wait_for(lambda: number in self._ends, left):
                ended = len(self._ends)
                raise TimeoutError(f"{len(self.handles) - ended} of {len(self.handles)} jobs go on")
            end = self._ends[number]
        if isinstance(end, Exception):
            raise end
        return end

    def _all_ended(self) -> bool:
        return len(self._ends) == len(self.handles)

    def _ended(self, number: int, end: End) -> None:
        with self._changed:
            self._ends[number] = end
            self._changed.notify_all()


def group(handles: Iterable[Handle[R]]) -> Group[R]:
    """Make one of several jobs: ``group(producer.submit_many(resize, files)).results()``.

    They may be of different tasks and queues, and sent in any way.
    """
    return Group(handles)

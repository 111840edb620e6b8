"""Several jobs as one: waited for together, counted as they end."""

import concurrent.futures
from collections.abc import Generator, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from heori_common import clock
from heori_common.duration import LONGEST_S, check_wait
from heori_common.public import public
from heori_common.values.results import Stored
from heori_producer.errors import JobCanceled, JobFailed, JobNotFound
from heori_producer.handle import Handle
from heori_producer.job_future import AwaitedFuture
from heori_producer.recall import Recall
from heori_producer.results import End

R_co = TypeVar("R_co", covariant=True)


@public
class GroupProgress(NamedTuple):
    """How far a group is."""

    done: int  # jobs that have ended well
    failed: int  # that have ended otherwise: failed, cancelled or gone
    total: int


@public
class Group(Generic[R_co]):
    """Jobs that were sent, as one. In a coroutine, ``await group`` is what `results` is elsewhere.

    All of them are waited for over their producer's one connection, for as long as it is open, and
    none is polled. The group is known to this program alone: an rq.group.Group is a set in Redis
    that only rq's own workers ever clear away.

    Attributes:
        handles: of the jobs, in the order given.
    """

    def __init__(self, handles: Iterable[Handle[R_co]]) -> None:
        self.handles = list(handles)
        self._ends = [_end_of(handle) for handle in self.handles]

    def __len__(self) -> int:
        return len(self.handles)

    def progress(self) -> GroupProgress:
        """How many have ended so far, and how; asks nobody."""
        ended = [end for end in self._ends if end.done()]
        failed = sum(end.exception() is not None for end in ended)
        return GroupProgress(len(ended) - failed, failed, len(self._ends))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended, one way or another; returns whether they have.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.
        """
        check_wait("timeout", timeout, least=-LONGEST_S)
        if not concurrent.futures.wait(self._ends, timeout).not_done:
            return True
        jobs = zip(self.handles, self._ends, strict=True)
        return all(end.done() or _has_ended(handle) for handle, end in jobs)

    def results(self, timeout: float | None = None) -> list[R_co]:
        """What all have returned, in the order of the handles.

        As with the results of several futures, the first failure in that order is raised as soon
        as all before it have ended; the other jobs go on.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: not all have ended in time. They go on.
            JobFailed, JobCanceled, JobNotFound: as `Handle.result`.
        """
        check_wait("timeout", timeout, least=-LONGEST_S)
        deadline = None if timeout is None else clock.now() + timeout
        results = []
        for handle, end in zip(self.handles, self._ends, strict=True):
            try:
                try:
                    stored = end.result(None if deadline is None else deadline - clock.now())
                except TimeoutError:
                    stored = handle.stored(0)  # it may have ended before it was waited for
            except TimeoutError as error:
                message = f"not all of {len(self)} jobs have ended after {timeout} s"
                raise TimeoutError(message) from error
            results.append(handle.load(stored))
        return results

    def cancel(self) -> int:
        """Keep those from running that no slot has begun, as `Handle.cancel`; returns how many.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        together: dict[tuple[Recall, str], list[str]] = {}
        for handle in self.handles:
            together.setdefault((handle.recall, handle.queue), []).append(handle.id)
        return sum(len(recall.cancel(queue, ids)) for (recall, queue), ids in together.items())

    def __await__(self) -> Generator[Any, None, list[R_co]]:
        """Wait as `results` does, and let the event loop go on; asyncio.timeout limits it."""
        return self._in_order().__await__()

    async def _in_order(self) -> list[R_co]:
        results = []
        for handle, end in zip(self.handles, self._ends, strict=True):
            # What has ended costs the event loop no turn.
            results.append(handle.load(end.result()) if end.done() else await handle)
        return results


def _end_of(handle: Handle[Any]) -> AwaitedFuture[Stored]:
    future = _JobEnd(handle.queue, handle.id)
    handle.tell(future)
    return future


def _has_ended(handle: Handle[Any]) -> bool:
    """Whether it has, as Redis knows it now."""
    try:
        handle.stored(0)
    except TimeoutError:
        return False
    except (JobFailed, JobCanceled, JobNotFound):
        return True
    return True


class _JobEnd(AwaitedFuture[Stored]):
    """A result as it is stored."""

    def end(self, end: End) -> None:
        if isinstance(end, Exception):
            self.set_exception(end)
        else:
            self.set_result(end)

"""Futures of jobs, and events, that a job may wait for.

In a job, waiting for others must end when the job's timeout does, which no exception does to a
thread that is blocked in C; and the job's slot is lent meanwhile. Outside of jobs all this is
what it is in `concurrent.futures` and `threading`.
"""

import concurrent.futures
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from heori_common import clock
from heori_common.current_job import BLOCKED_AT_MOST_S, running_job, waiting_for_jobs
from heori_producer.results import Awaited, End, Results

R = TypeVar("R")

_to_call_back: set["AwaitedFuture[Any]"] = set()  # those that are to call somebody back


class JobEvent(threading.Event):
    """An event that jobs make happen.

    Args:
        queue: whose jobs; without it, those of `futures`.

    Attributes:
        futures: of those jobs.
    """

    def __init__(self, queue: str | None = None) -> None:
        super().__init__()
        self.futures: list[AwaitedFuture[Any]] = []
        self._jobs = [] if queue is None else [(queue, "")]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it; in a job, in steps.

        Args:
            timeout: seconds; None for as long as it takes.
        """
        if running_job() is None or self.is_set():
            return super().wait(timeout)
        end = float("inf") if timeout is None else clock.now() + timeout
        with waiting_for_jobs(self._awaited):
            while not super().wait(max(0.0, min(BLOCKED_AT_MOST_S, end - clock.now()))):
                if clock.now() >= end:
                    return False
        return True

    def _awaited(self) -> list[tuple[str, str]]:
        return self._jobs + [job for each in self.futures for job in each.pending()]


class AwaitedFuture(concurrent.futures.Future[R], Generic[R]):
    """A future of a job, which another job may wait for.

    It is kept by those who have it, and by those whom it is to call back. When there are none, the
    end of the job is not awaited any more.

    Attributes:
        job: the queue and the id of its job.
        awaited: its end, once somebody waits for that.
    """

    def __init__(self, queue: str, job_id: str) -> None:
        super().__init__()
        self.job = queue, job_id
        self.awaited: Awaited | None = None
        if running_job() is not None:
            self._waiters: list[Any] = _Waiters(self)

    def pending(self) -> list[tuple[str, str]]:
        """Its job, unless that has ended; for `waiting_for_jobs`."""
        return [] if self.done() else [self.job]

    def wait_for_end(self, results: Results) -> None:
        """Have `end` called when the job has ended."""
        me = weakref.ref(self)

        def ended(end: End) -> None:
            if (future := me()) is not None:
                future.end(end)

        self.awaited = results.wait(self.job[1], ended)
        weakref.finalize(self, results.drop, self.awaited).atexit = False

    def end(self, end: End) -> None:
        """Become what came of the job."""
        raise NotImplementedError

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[R]], object]) -> None:
        """As `Future.add_done_callback`."""
        if self not in _to_call_back:
            _to_call_back.add(self)
            super().add_done_callback(_to_call_back.discard)
        super().add_done_callback(fn)

    def result(self, timeout: float | None = None) -> R:
        """As `Future.result`."""
        return super().result(self._left(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `Future.exception`."""
        return super().exception(self._left(timeout))

    def _left(self, timeout: float | None) -> float | None:
        """Wait if this is a job; returns what is left to be waited for in C."""
        if running_job() is None or self.done():
            return timeout
        concurrent.futures.wait([self], timeout)
        return 0


class _Waiters(list[Any]):
    """Those who wait for a future, as `concurrent.futures.wait` and `as_completed` enter them.

    They wait for an event without end, or until their timeout. A private part of the standard
    library, unchanged since Python 3.2; `tests/consumer/test_waiting_jobs.py` sees that it works.
    """

    def __init__(self, future: AwaitedFuture[Any]) -> None:
        super().__init__()
        self._future = future

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, JobEvent):
            waiter.event = JobEvent()
        waiter.event.futures.append(self._future)
        super().append(waiter)

"""A ``concurrent.futures.Executor`` whose futures are jobs.

    submit ──▶ job on the queue ──▶ any consumer ──▶ its result stream
      │                                                    │ one connection for all
      └── JobFuture ◀── result, exception, cancelled ◀── Results (the watcher's thread)

Arguments and results travel as everywhere in Heori: as what they are, or not at all.
"""

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, overload

from pydantic_core import from_json, to_json

from heori_common import clock, resolution, tasks
from heori_common.chunks import run_chunk
from heori_common.current_job import (
    BLOCKED_AT_MOST_S,
    JobStopped,
    JobTimeout,
    running_job,
    waiting_for_jobs,
)
from heori_common.duration import LONGEST_S, check_wait
from heori_common.protocol.job import NewJob
from heori_common.public import public
from heori_common.settings import Settings
from heori_common.tasks import Task
from heori_common.values.results import Stored
from heori_producer.client import Producer
from heori_producer.errors import JobCanceled, JobFailed, original
from heori_producer.handle import Handle
from heori_producer.job_future import AwaitedFuture
from heori_producer.options import Options, OptionsOfMany
from heori_producer.results import End

P = ParamSpec("P")
R = TypeVar("R")


@public
class JobFuture(AwaitedFuture[R], Generic[R]):
    """The future of a job.

    Attributes:
        handle: the job; None until it is sent.
    """

    def __init__(
        self, executor: "RedisExecutor", queue: str, job_id: str, load: Callable[[Stored], R]
    ) -> None:
        super().__init__(queue, job_id)
        self.handle: Handle[Any] | None = None
        self._executor = executor
        self._load = load

    def cancel(self) -> bool:
        """Keep the job from running, as `Handle.cancel`; returns whether it will not run.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return self.cancelled() or (not self.done() and bool(self._executor.cancel([self])))

    def running(self) -> bool:
        """Whether a slot runs the job, as `Handle.running`.

        Raises:
            RedisUnavailable: Redis cannot be reached.
        """
        return not self.done() and self.handle is not None and self.handle.running()

    def end(self, end: End) -> None:
        """Become what came of the job."""
        if isinstance(end, JobCanceled):
            super().cancel()
            self.set_running_or_notify_cancel()
        elif isinstance(end, JobFailed):
            self.set_exception(original(end))
        elif isinstance(end, Exception):
            self.set_exception(end)
        else:
            try:
                self.set_result(self._load(end))
            except Exception as error:  # another version of the task wrote it
                self.set_exception(error)
        self._executor.ended(self)


@public
class RedisExecutor(Executor):
    """Runs functions in whatever consumers serve a queue. Safe to share between threads.

    Any function of a module that consumers can import will do: a task, or one under a prefix in
    their HEORI_ALLOW. Leaving the ``with`` block waits for all futures; jobs go on without the
    program that sent them.

    Args:
        url: of the Redis server; by default HEORI_REDIS_URL.
        settings: by default read from the environment.
        options: what `Options` tells of, but for what only one job can have, such as a key. By
            default the queue is "default", whatever the tasks say.

    Raises:
        TypeError, ValueError: an option makes no sense, alone or beside the others.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        **options: Unpack[OptionsOfMany],
    ) -> None:
        given = Options().but(**options)
        given.check_many()
        self._producer = Producer(url, settings=settings)
        self._queue = given.queue_for("default")
        self._sender = self._producer.options(**options).options(queue=given.queue or "default")
        self._tasks: dict[Callable[..., Any], Task[..., Any]] = {}
        self._changed = threading.Condition()
        self._pending: dict[JobFuture[Any], None] = {}
        self._shut_down = False

    @overload
    def submit(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobFuture[R]: ...
    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobFuture[R]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture[Any]:
        """Send one call.

        Raises:
            RuntimeError: the executor was shut down.
            UnknownTask: no consumer could import the function.
            InvalidArguments, PayloadTooLarge, QueueFull, RedisUnavailable: as
                `Producer.submit`.
        """
        task = self._task(fn)
        job = self._sender.encode(task, args, kwargs)
        [future] = self._send(task, [job], task.load_result)
        return future

    @overload
    def map(
        self,
        fn: Callable[..., Awaitable[R]],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]: ...
    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Like the builtin ``map``, with the calls sent at once, hundreds in one round trip.

        Args:
            timeout: seconds from now until the last result must be there.
            chunksize: how many calls make one job; that many results come, or fail, together.

        Raises:
            As `submit`; the iterator raises what a call has raised, or TimeoutError.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        check_wait("timeout", timeout, least=-LONGEST_S)
        end = None if timeout is None else clock.now() + timeout
        task = self._task(fn)
        calls = zip(*iterables, strict=False)
        if chunksize == 1:
            jobs = [self._sender.encode(task, args, {}) for args in calls]
            return self._in_order(self._send(task, jobs, lambda end: [task.load_result(end)]), end)
        many = tasks.find(run_chunk)
        jobs = [
            self._sender.encode(many, (task.name, *self._chunk(task, chunk)), {})
            for chunk in iter(lambda: list(islice(calls, chunksize)), [])
        ]
        return self._in_order(self._send(many, jobs, partial(_load_chunk, task)), end)

    def _chunk(
        self, task: Task[..., Any], calls: list[tuple[Any, ...]]
    ) -> tuple[list[Any], list[str | None]]:
        sent = [self._sender.check(task, args, {}) for args in calls]
        types = [None if each.types is None else each.types.decode() for each in sent]
        return [list(each.json[0]) for each in sent], types

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as Executor's
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no further calls.

        Args:
            wait: for all futures to be done. Without, they become so all the same, as long as
                this program runs.
            cancel_futures: cancel what no slot has begun.
        """
        with self._changed:
            self._shut_down = True
            pending = list(self._pending)
        if cancel_futures:
            self.cancel(pending)
        if wait and pending:
            self._wait_for_all()
        with self._changed:
            done = not self._pending
        if done:
            self._producer.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A job that has been ended must not wait for others before it does so.
        self.shutdown(wait=not isinstance(error, JobTimeout | JobStopped))

    def _awaited(self) -> list[tuple[str, str]]:
        return [each.job for each in list(self._pending)]

    def _wait_for_all(self) -> None:
        step = None if running_job() is None else BLOCKED_AT_MOST_S
        with waiting_for_jobs(self._awaited), self._changed:
            while self._pending:
                self._changed.wait(step)

    def cancel(self, futures: Iterable["JobFuture[Any]"]) -> int:
        """Cancel those of the futures whose jobs no slot has begun; returns how many."""
        waiting = {
            future.handle.id: future
            for future in futures
            if future.handle is not None and not future.done()
        }
        canceled = self._producer.cancel(self._queue, list(waiting))
        for job_id in canceled:
            future = waiting[job_id]
            if future.awaited is not None and self._producer.results.forget(future.awaited):
                future.end(JobCanceled(job_id))
        return len(canceled)

    def _task(self, function: Callable[..., Any]) -> Task[..., Any]:
        if function not in self._tasks:
            self._tasks[function] = resolution.find_or_make(function)
        return self._tasks[function]

    def _send(
        self, task: Task[..., Any], jobs: list[NewJob], load: Callable[[Stored], Any]
    ) -> list[JobFuture[Any]]:
        futures = [JobFuture(self, self._queue, job.id, load) for job in jobs]
        with self._changed:
            if self._shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._pending.update(dict.fromkeys(futures))
        try:
            handles = self._sender.send_jobs(task, jobs)
        except BaseException:
            with self._changed:
                for future in futures:
                    del self._pending[future]
                self._changed.notify_all()
            raise
        for future, handle in zip(futures, handles, strict=True):
            handle.tell(future)
            future.handle = handle
        return futures

    def ended(self, future: JobFuture[Any]) -> None:
        """Know that a future is done."""
        with self._changed:
            self._pending.pop(future, None)
            self._changed.notify_all()
            done = self._shut_down and not self._pending
        if done:
            self._producer.close()

    def _in_order(self, futures: list[JobFuture[list[R]]], end: float | None) -> Iterator[R]:
        futures.reverse()
        try:
            while futures:
                left = None if end is None else end - clock.now()
                values = futures[-1].result(left)  # what is late is cancelled with the others
                futures.pop()
                values.reverse()
                while values:  # no reference is kept to what was handed out
                    yield values.pop()
        finally:
            if futures:
                self.cancel(futures)


def _load_chunk(task: Task[..., R], end: Stored) -> list[R]:
    return [
        task.load_result(Stored(to_json(value), None if types is None else types.encode()))
        for value, types in from_json(end.json)
    ]

"""Runs jobs where they are sent, from their payload to their result, without a server."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Generic, NamedTuple, TypeVar

from heori_common import tasks
from heori_common.current_job import CurrentJob, set_current_job
from heori_common.protocol.commands import Progress
from heori_common.protocol.job import NewJob
from heori_common.protocol.meta import decode_meta, encode_meta
from heori_common.protocol.payload import decode_call, decode_result, encode_result
from heori_common.tasks import Task
from heori_common.values.results import Stored
from heori_consumer.worker.failures import as_it_travels, describe
from heori_producer.async_flow_handle import AsyncFlowHandle
from heori_producer.async_handle import AsyncHandle
from heori_producer.errors import JobFailed
from heori_producer.handle import Handle
from heori_producer.job_future import AwaitedFuture
from heori_producer.recall import Recall
from heori_producer.results import End

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _CurrentInlineJob(CurrentJob):
    """The running job.

    Attributes:
        field: its meta, as it was sent or saved last; the next try begins with that.
    """

    field: bytes | None = None

    def _read_meta(self) -> dict[str, Any]:
        return decode_meta(self.field)

    def _write_meta(self, meta: dict[str, Any]) -> None:
        self.field = encode_meta(meta)


class InlineEnd(NamedTuple):
    """What came of a job."""

    end: End
    status: str
    progress: Progress | None
    deliveries: int
    cause: str = ""  # the id of the job whose failure has cancelled it


class _Nothing:
    """Stands for a first argument that nobody hands on."""


NOTHING = _Nothing()


class InlineJob(NamedTuple):
    """A job that has ended."""

    id: str
    queue: str
    task: Task[..., Any]
    ended: InlineEnd
    first: Any = NOTHING  # its first argument, as it was handed on to it


def registered(name: str) -> Task[..., Any]:
    """A task by its name.

    Raises:
        UnknownTask: its module is not imported here.
    """
    found = tasks.registered().get(name)
    if found is None:
        raise tasks.UnknownTask(f"{name} cannot run here: no module that is imported has that task")
    return found


def run(job: NewJob, task: Task[..., Any], queue: str, first: Any = NOTHING) -> InlineEnd:
    """Run a job to its end, its retries at once.

    Args:
        first: its first argument, where that is handed on to it.

    Raises:
        BaseException: what is no failure of a job, such as KeyboardInterrupt or what pytest raises.
    """
    progress: Progress | None = None

    def report(fraction: float, text: str) -> None:
        nonlocal progress
        progress = Progress(fraction, text)

    meta = job.meta
    for delivery in range(1, len(job.retry_delays) + 2):
        current = _CurrentInlineJob(job.id, task.name, queue, delivery, task.timeout, report)
        current.field = meta
        try:
            stored = copy_context().run(_run_once, job, task, current, first)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            meta = current.field
            if delivery <= len(job.retry_delays) and _is_tried_again(task, error):
                continue
            failed = JobFailed(job.id, describe(error), as_it_travels(error))
            return InlineEnd(failed, "failed", progress, delivery)
        return InlineEnd(stored, "finished", progress, delivery)
    raise AssertionError("the last delivery ends the job")


def _is_tried_again(task: Task[..., Any], error: BaseException) -> bool:
    return not isinstance(error, tasks.InvalidResult) and task.retries(error)


def _run_once(job: NewJob, task: Task[..., Any], current: CurrentJob, first: Any) -> Stored:
    set_current_job(current)
    call = decode_call(job.data, ("json",), sys.maxsize)
    if first is NOTHING:
        args, kwargs = task.receive(call.args, call.kwargs, job.types)
    else:
        args, kwargs = task.receive_after(first, call.args, call.kwargs, job.types)
    try:
        value = task.function(*args, **kwargs)
        if task.is_async:
            value = _wait_for(value)
    finally:
        if current.owner is not None:  # it has used locks
            from heori_common.locks.around import end_job  # noqa: PLC0415 - few need it

            end_job(current)
    stored = task.dump_result(value)
    if stored is None:
        return Stored(b"null")
    return Stored(decode_result(encode_result(stored.json, "json")), stored.types)


def _wait_for(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run it to its end, in a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, "inline") as thread:  # this one's loop has sent it, and runs
        run_it: Callable[..., R] = copy_context().run
        return thread.submit(run_it, asyncio.run, coroutine).result()


class InlineHandle(Handle[R_co], Generic[R_co]):
    """A handle of a job that has ended."""

    def __init__(self, job: InlineJob) -> None:
        self.id, self.queue, self._task, self._ended_so, self.first = job
        self.recall = _NothingToRecall()
        self.deliveries = self._ended_so.deliveries

    def status(self) -> str:
        """How it has ended."""
        return self._ended_so.status

    def progress(self) -> Progress | None:
        """What its task has told last."""
        return self._ended_so.progress

    def running(self) -> bool:
        """It has ended."""
        return False

    def stored(self, timeout: float | None = None) -> Stored:  # noqa: ARG002 - it has ended
        """Its result, or what it has failed with."""
        end = self._ended_so.end
        if isinstance(end, Exception):
            raise end
        return end

    def tell(self, future: AwaitedFuture[Any]) -> None:
        """Have a future become what came of the job."""
        future.end(self._ended_so.end)

    async def _ended(self) -> R_co:
        return self._task.load_result(self.stored())


class AsyncInlineHandle(AsyncHandle[R_co], Generic[R_co]):
    """Likewise, of an `AsyncProducer`."""

    def __init__(self, job: InlineJob) -> None:
        self.id, self.queue, self._task, self._ended_so, self.first = job
        self.deliveries = self._ended_so.deliveries

    async def status(self) -> str:
        """How it has ended."""
        return self._ended_so.status

    async def progress(self) -> Progress | None:
        """What its task has told last."""
        return self._ended_so.progress

    async def cancel(self) -> bool:
        """It has ended."""
        return False

    async def running(self) -> bool:
        """It has ended."""
        return False

    async def result(self, timeout: float | None = None) -> R_co:  # noqa: ARG002 - it has ended
        """What its task has returned, or what it has failed with."""
        end = self._ended_so.end
        if isinstance(end, Exception):
            raise end
        return self._task.load_result(end)

    async def _ended(self) -> R_co:
        return await self.result()


class AsyncInlineFlowHandle(AsyncFlowHandle[R_co], Generic[R_co]):
    """A flow of an `AsyncProducer` that has ended."""

    def __init__(self, handles: list[AsyncHandle[Any]], end: Any) -> None:
        self.handles = handles
        self._end = end

    async def cancel(self) -> int:
        """It has ended."""
        return 0


class _NothingToRecall(Recall):
    """Jobs that have ended cannot be cancelled."""

    def __init__(self) -> None:
        pass

    def cancel(self, queue: str, ids: Any) -> list[str]:  # noqa: ARG002 - it has ended
        return []

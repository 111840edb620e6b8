"""Runs one job: straight from raw bytes to an outcome value.

Nothing that a task does raises out of here; what it did is in the outcome.
"""

import asyncio
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

from heori_common import logs, tasks
from heori_common.current_job import CurrentJob, JobStopped, JobTimeout, set_current_job
from heori_common.errors import summary
from heori_common.protocol.job import Assignment, LockName, MalformedJob, Retries, next_delay
from heori_common.protocol.payload import (
    BadPayload,
    Serializer,
    decode_call,
    encode_failure,
    encode_result,
)
from heori_consumer.between.options import Policy
from heori_consumer.between.outcome import FAILED, FINISHED, RETRY, STOPPED, Outcome
from heori_consumer.between.slot_table import RetryLater, SlotTable
from heori_consumer.worker import interrupt
from heori_consumer.worker.interrupt import CoroutineCall, ThreadCalls
from heori_consumer.worker.middleware import Chain

log = logs.get_logger(__name__)

# The label of jobs whose task is not known: a payload may name anything, and a label that
# follows it would never stop growing.
UNKNOWN = "(unknown)"
# What is kept of an error's text, in characters: its beginning and its end.
LONGEST_TEXT = 100_000


class Work(NamedTuple):
    """One job on its way through a worker."""

    number: int
    job_id: str
    queue: str
    delivery: int
    claimed_at: float
    problem: str | None
    values: bytes
    fences: Sequence[int] = ()  # of the locks that it holds, in the order in which it declares them


class _Prepared(NamedTuple):
    slot: int
    number: int
    queue_time: float
    job: CurrentJob
    task: tasks.Task[..., Any]
    function: Callable[[], Any]
    serializer: Serializer
    retries: Retries | None


class Runner:
    """Runs the jobs of one worker process, whatever its slots are.

    Args:
        report: called with a job's number, and how far it is, by tasks that tell.
        introduce: called with a number and a task's name before its first job runs: the slot
            table has room for numbers only.
        threads: how many plain functions may run beside an event loop.
    """

    def __init__(
        self,
        policy: Policy,
        table: SlotTable,
        report: Callable[[int, float, str], None],
        introduce: Callable[[int, str], None],
        threads: int,
    ) -> None:
        self._policy = policy
        self._pid = os.getpid()
        self._table = table
        self._report = report
        self._introduce = introduce
        self._tasks: dict[str, int] = {}  # the number of each that was introduced
        self._in_slots: set[str] = set()  # those whose jobs were seen to get their locks themselves
        self._chain = Chain(policy.middleware)
        self._jobs: dict[int, CurrentJob] = {}  # that run now
        self._stops: dict[int, Callable[[], None]] = {}  # how to end each of them
        self._own = threading.local()
        self._threads: list[ThreadCalls] = []  # all that ever ran a job
        self._beside = ThreadPoolExecutor(threads, "plain")

    # In a slot

    def run(self, slot: int, work: Work) -> Outcome:
        """Run one job to its outcome, in this thread."""
        ready = self._begin(slot, work)
        return ready if isinstance(ready, Outcome) else self._run(ready)

    async def run_on_loop(self, slot: int, work: Work) -> Outcome:
        """Run one job to its outcome, on this event loop; a plain function beside it."""
        ready = self._begin(slot, work)
        if isinstance(ready, Outcome):
            return ready
        if not ready.task.is_async:
            # The outcome is made there: a future cannot carry a StopIteration.
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(self._beside, self._run_beside, ready)
            return outcome._replace(beside_loop=True)
        return await self._run_later(ready)

    # From the worker's main thread

    def watch(self, now: float) -> None:
        """End what is late; coroutines look after themselves.

        Args:
            now: time.monotonic().
        """
        for thread in self._threads.copy():
            thread.interrupt_if_late(now)

    def stop(self, number: int) -> None:
        """End a job, if it runs."""
        if stop := self._stops.get(number):
            stop()

    def lease_lost(self, numbers: Iterable[int]) -> None:
        """Let those jobs know that they have lost their lease."""
        for number in numbers:
            if job := self._jobs.get(number):
                job.lose()

    # Inside

    def _run(self, ready: _Prepared) -> Outcome:
        try:
            if ready.task.is_async:
                return self._thread().run(self._run_later(ready))
            return self._succeeded(ready, copy_context().run(self._call, ready))
        except BaseException as error:  # a task may raise anything, SystemExit included
            return self._failed(ready, error)
        finally:
            self._end(ready)

    def _run_beside(self, ready: _Prepared) -> Outcome:
        loop = self._table.thread(ready.slot)
        self._table.sit(ready.slot, threading.get_native_id())
        try:
            return self._run(ready)
        finally:
            self._table.sit(ready.slot, loop)

    async def _run_later(self, ready: _Prepared) -> Outcome:
        # To its outcome, too: what asyncio does not expect of an error may stop its loop.
        try:
            return self._succeeded(ready, await self._await(ready))
        except BaseException as error:  # as above
            return self._failed(ready, error)
        finally:
            self._end(ready)

    def _begin(self, slot: int, work: Work) -> _Prepared | Outcome:
        job: CurrentJob | None = None
        queue_time = 0.0
        try:
            if work.problem:
                raise MalformedJob(work.problem)
            assignment = Assignment.from_values(work.values, work.claimed_at)
            queue_time = assignment.queue_time
            call = decode_call(assignment.data, self._policy.accept, self._policy.max_payload)
            task = tasks.resolve(call.function, self._policy.allow)
            job = CurrentJob(
                work.job_id,
                task.name,
                work.queue,
                work.delivery,
                assignment.timeout,
                partial(self._report, work.number),
                self._policy.redis_url,
                _fences(assignment.locks, work.fences) if assignment.locks else None,
            )
            args, kwargs = task.bind(call.args, call.kwargs)
            missing = task.locks_of(args, kwargs) if task.needs and not assignment.locks else ()
        except BaseException as error:  # reading a payload runs others' code: pickle, validators
            job = job or CurrentJob(work.job_id, UNKNOWN, work.queue, work.delivery, 0, _nobody)
            self._chain.on_failure(job, error)
            self_explaining = issubclass(type(error), _SELF_EXPLAINING)
            text = _bounded(f"{error}\n") if self_explaining else describe(error)
            body = encode_failure(text)
            return Outcome(work.number, FAILED, body, job.task, 0.0, 0.0, queue_time, None, False)
        retries = assignment.retries
        if retries is None and task.retry is not None:
            retries = Retries(task.retry.max, task.retry.delays())
        at_timeout = _retry(task, retries, JobTimeout()) if retries and job.timeout > 0 else None
        self._table.begin(slot, self._tasks.get(task.name) or self._number(task.name), at_timeout)
        self._jobs[work.number] = job
        function: Callable[[], Any] = partial(task.function, *args, **kwargs)
        if missing:
            function = self._in_slot(task, missing, function)
        return _Prepared(
            slot, work.number, queue_time, job, task, function, call.serializer, retries
        )

    def _in_slot(
        self, task: tasks.Task[..., Any], locks: Sequence[LockName], function: Callable[[], Any]
    ) -> Callable[[], Any]:
        """Have a job get its locks itself, because whoever sent it has not said that it needs any.

        It waits for them in its slot: nobody knew of them when it was claimed.
        """
        from heori_common.locks.around import holding, holding_async  # noqa: PLC0415 - few need it

        if task.name not in self._in_slots:
            self._in_slots.add(task.name)
            log.warning(
                "a job was sent without the locks that its task declares, as rq sends it; it waits "
                "for them in its slot",
                task=task.name,
            )
        hold = holding_async if task.is_async else holding
        return partial(hold, locks, self._policy.redis_url, function)

    def _end(self, ready: _Prepared) -> None:
        self._jobs.pop(ready.number, None)
        self._stops.pop(ready.number, None)

    def _number(self, task: str) -> int:
        number = self._tasks[task] = len(self._tasks) + 1
        self._introduce(number, task)
        return number

    def _thread(self) -> ThreadCalls:
        thread: ThreadCalls | None = getattr(self._own, "calls", None)
        if thread is None:
            thread = self._own.calls = ThreadCalls()
            self._threads.append(thread)
        return thread

    def _call(self, ready: _Prepared) -> Any:
        set_current_job(ready.job)
        thread = self._thread()
        self._stops[ready.number] = partial(thread.stop, ready.number)
        self._chain.before(ready.job)
        began = time.thread_time()
        try:
            return thread.call(ready.number, ready.job.deadline, ready.function)
        finally:
            ready.job.cpu_time = time.thread_time() - began
            self._end_copy()

    async def _await(self, ready: _Prepared) -> Any:
        set_current_job(ready.job)
        slot = ready.slot
        call = CoroutineCall(lambda at: self._table.step(slot if at else -1))
        self._stops[ready.number] = call.stop
        self._chain.before(ready.job)
        try:
            return await call.call(ready.job.timeout, ready.function())
        finally:
            ready.job.cpu_time = call.cpu_time
            self._end_copy()

    def _end_copy(self) -> None:
        """End this process if it is a copy that a task has forked and let return.

        It must not say a second time what came of the job.
        """
        if os.getpid() != self._pid:
            os._exit(0)

    def _succeeded(self, ready: _Prepared, value: Any) -> Outcome:
        body = self._encode(ready, value)
        self._chain.after(ready.job, value)
        return self._outcome(ready, FINISHED, body)

    def _failed(self, ready: _Prepared, error: BaseException) -> Outcome:
        self._chain.on_failure(ready.job, error)
        if issubclass(type(error), JobStopped):  # its __class__ may be anything
            return self._outcome(ready, STOPPED, encode_failure(f"{error}\n"))
        if retry := _retry(ready.task, ready.retries, error):
            return self._outcome(ready, RETRY, None, retry)
        return self._outcome(ready, FAILED, encode_failure(describe(error)))

    def _outcome(
        self, ready: _Prepared, status: str, body: bytes | None, retry: RetryLater | None = None
    ) -> Outcome:
        return Outcome(
            ready.number,
            status,
            body,
            ready.task.name,
            max(0.0, ready.job.run_time),
            ready.job.cpu_time,
            ready.queue_time,
            retry,
            False,
        )

    def _encode(self, ready: _Prepared, value: Any) -> bytes | None:
        dumped = ready.task.dump_result(value)
        if dumped is None:
            return None
        if len(dumped) > self._policy.max_payload:
            raise tasks.InvalidResult(
                f"{ready.task.name} returned {len(dumped)} bytes, over the limit of "
                f"{self._policy.max_payload} (HEORI_MAX_PAYLOAD); store it and return where"
            )
        return encode_result(dumped, ready.serializer)


# Errors whose message says all that there is to say; a traceback would show our code only.
_SELF_EXPLAINING = (MalformedJob, BadPayload, tasks.UnknownTask, tasks.InvalidArguments)
_OURS = {__file__, interrupt.__file__}


def _fences(locks: Sequence[LockName], fences: Sequence[int]) -> dict[tuple[str, str], int]:
    named = ((lock.kind, lock.name) for lock in locks)
    return dict(zip(named, fences, strict=True))


def _nobody(fraction: float, text: str) -> None:
    """A job that could not be read tells no progress."""


def _retry(
    task: tasks.Task[..., Any], retries: Retries | None, error: BaseException
) -> RetryLater | None:
    """Whether and when a job that has failed so is to run again."""
    if retries is None or retries.left < 1:
        return None
    if issubclass(type(error), tasks.InvalidResult) or not task.retries(error):
        return None
    delay = next_delay(retries)
    return RetryLater(task.retry.with_jitter(delay) if task.retry else delay, retries.left - 1)


def describe(error: BaseException) -> str:
    """A traceback as RQ keeps it, less our own frames at its top."""
    trace = theirs = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in _OURS:
            theirs = trace.tb_next
        trace = trace.tb_next
    theirs = theirs or error.__traceback__
    try:
        text = "".join(traceback.format_exception(type(error), error, theirs))
    except BaseException:  # printing what a task has raised may run anything
        text = "".join(traceback.format_tb(theirs)) + summary(error) + "\n"
    return _bounded(text)


def _bounded(text: str) -> str:
    """Both ends of a text that is too long to be kept."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"

"""Runs one job: straight from raw bytes to an outcome value.

Nothing that a task does raises out of here; what it did is in the outcome.
"""

import asyncio
import contextlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from heori_common import logs, tasks
from heori_common.current_job import JobStopped, JobTimeout, set_current_job
from heori_common.errors import PerhapsElsewhere, summary
from heori_common.protocol.job import (
    FAILED,
    FINISHED,
    RETRY,
    STOPPED,
    SUSPECT,
    UNKNOWN_HERE,
    Claim,
    MalformedJob,
    Outcome,
    RetryLater,
    begun_and_returned,
    next_delay,
)
from heori_common.protocol.payload import BadPayload, encode_failure, encode_result
from heori_consumer.between.options import Policy, own_threads
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker import interrupt, running_job
from heori_consumer.worker.failures import FailureNotes, as_it_travels
from heori_consumer.worker.interrupt import CoroutineCall, ThreadCalls
from heori_consumer.worker.lending import Lending
from heori_consumer.worker.loops import explain
from heori_consumer.worker.middleware import Chain
from heori_consumer.worker.running_job import RunningJob
from heori_consumer.worker.spent import what_is_spent

log = logs.get_logger(__name__)

# What is kept of an error's text, in characters: its beginning and its end.
LONGEST_TEXT_CHARS = 100_000
# What is remembered to be told already, so that it is told once.
MOST_UNKNOWN = 1000


class Runner:
    """Runs the jobs of one worker process, whatever its slots are.

    Args:
        report: called with a job's number, and how far it is, by tasks that tell.
        introduce: called with a number and a task's name before its first job runs: the slot
            table has room for numbers only.
        wear_out: called with what a task has left so that no other is to run in this process.
        wake: has `lending` settled soon.

    Attributes:
        lending: which jobs wait for other jobs.
        failures: what has failed and is still to be told.
    """

    def __init__(
        self,
        policy: Policy,
        table: SlotTable,
        report: Callable[[int, float, str], None],
        introduce: Callable[[int, str], None],
        wear_out: Callable[[str], None],
        wake: Callable[[], object],
    ) -> None:
        self._policy = policy
        self._pid = os.getpid()
        self._table = table
        self._report = report
        self._introduce = introduce
        self._wear_out = wear_out
        self._tasks: dict[str, int] = {}  # the number of each that was introduced
        self._unknown: set[str] = set()  # what was told to be unknown here
        self._in_slots: set[str] = set()  # those whose jobs were seen to get their locks themselves
        self.failures = FailureNotes()
        self._chain = Chain(policy.middleware, self.failures)
        self._jobs: dict[int, RunningJob] = {}  # that run now
        self._stops: dict[int, Callable[[], None]] = {}  # how to end each of them
        self._own = threading.local()
        self._threads: list[ThreadCalls] = []  # all that ever ran a job
        self._beside = ThreadPoolExecutor(table.most, "plain")
        self.lending = Lending(self._jobs, table.most - table.slots, table, wake)

    # In a slot

    def run(self, slot: int, number: int, claim: Claim) -> Outcome:
        """Run one job to its outcome, in this thread."""
        job = self._begin(slot, number, claim)
        return job if isinstance(job, Outcome) else self._run(job)

    async def run_on_loop(self, slot: int, number: int, claim: Claim) -> Outcome:
        """Run one job to its outcome, on this event loop; a plain function beside it."""
        job = self._begin(slot, number, claim)
        if isinstance(job, Outcome):
            return job
        if not job.definition.is_async:
            # The outcome is made there: a future cannot carry a StopIteration.
            loop = asyncio.get_running_loop()
            outcome = await loop.run_in_executor(self._beside, self._run_beside, job)
            return outcome._replace(beside_loop=True)
        return await self._run_later(job)

    def end_thread(self) -> None:
        """Let go of what this thread, which is about to end, has needed."""
        thread: ThreadCalls | None = getattr(self._own, "calls", None)
        if thread is not None:
            self._threads.remove(thread)
            thread.close()

    # From the worker's main thread

    @property
    def is_idle(self) -> bool:
        """Whether no job runs."""
        return not self._jobs

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

    def _run(self, job: RunningJob) -> Outcome:
        try:
            if job.definition.is_async:
                return self._thread().run(self._run_later(job))
            return self._succeeded(job, copy_context().run(self._call, job))
        except BaseException as error:  # a task may raise anything, SystemExit included
            return self._failed(job, error)
        finally:
            self._end(job)

    def _run_beside(self, job: RunningJob) -> Outcome:
        loop = self._table.thread(job.slot)
        self._table.sit(job.slot, threading.get_native_id())
        try:
            return self._run(job)
        finally:
            self._table.sit(job.slot, loop)

    async def _run_later(self, job: RunningJob) -> Outcome:
        # To its outcome, too: what asyncio does not expect of an error may stop its loop.
        try:
            return self._succeeded(job, await self._await(job))
        except BaseException as error:  # as above
            with contextlib.suppress(Exception):  # an error of a task may raise at every question
                explain(error)
            return self._failed(job, error)
        finally:
            self._end(job)

    def _begin(self, slot: int, number: int, claim: Claim) -> RunningJob | Outcome:
        job = RunningJob(slot, number, claim, self._report, self._policy.redis_url, self.lending)
        try:
            job.prepare(claim, self._policy)
        except BaseException as error:  # reading a payload runs others' code: pickle, validators
            return self._not_begun(job, error)
        self._end_copy()
        at_timeout = _retry(job, JobTimeout()) if job.retries and job.timeout > 0 else None
        self._table.begin(slot, self._tasks.get(job.task) or self._number(job.task), at_timeout)
        self._jobs[number] = job
        if job.missing:
            job.function = self._in_slot(job)
        return job

    def _not_begun(self, job: RunningJob, error: BaseException) -> Outcome:
        self._end_copy()
        if elsewhere := self._unknown_here(job, error) or self._spent(job, error):
            return elsewhere
        self._chain.on_failure(job, error)
        # A producer that is newer than this worker sends other arguments.
        if issubclass(type(error), tasks.InvalidArguments) and (retry := _retry(job, error)):
            return self._outcome(job, RETRY, None, retry)
        self_explaining = issubclass(type(error), _SELF_EXPLAINING)
        text = _bounded(f"{error}\n") if self_explaining else describe(error)
        return self._outcome(job, FAILED, encode_failure(text))._replace(error=as_it_travels(error))

    def _unknown_here(self, job: RunningJob, error: BaseException) -> Outcome | None:
        """What comes of a job that needs code which this worker does not have, if it may wait."""
        wait = self._policy.unknown_wait
        is_elsewhere = issubclass(type(error), PerhapsElsewhere) and getattr(
            error, "elsewhere", False
        )
        if not wait or not is_elsewhere:
            return None
        reason = _bounded(str(error))
        if reason not in self._unknown:
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown.add(reason)
            log.warning(
                "a job waits for a consumer whose code knows its task; this is told once",
                job=job.id,
                error=reason,
            )
        text = (
            f"{reason}; no consumer of {job.queue} that has had this job knows it "
            f"(HEORI_UNKNOWN_WAIT={wait:g})\n"
        )
        return self._outcome(job, UNKNOWN_HERE, encode_failure(text))

    def _spent(self, job: RunningJob, error: BaseException) -> Outcome | None:
        """What comes of a job that found no file or thread left, if others may have taken them."""
        spent = what_is_spent(error, own_threads(self._table.slots))
        if spent is None:
            return None
        self._wear_out(spent)
        if job.claim.is_suspect:  # it was alone in this process
            return None
        log.warning(
            "a job runs again in a process of its own, as this one has nothing left for it",
            job=job.id,
            reason=spent,
            error=summary(error),
        )
        return begun_and_returned(SUSPECT)

    def _in_slot(self, job: RunningJob) -> Callable[[], Any]:
        """Have a job get its locks itself, because whoever sent it has not said that it needs any.

        It waits for them in its slot: nobody knew of them when it was claimed.
        """
        from heori_common.locks.around import holding, holding_async  # noqa: PLC0415 - few need it

        if job.task not in self._in_slots:
            self._in_slots.add(job.task)
            log.warning(
                "a job was sent without the locks that its task declares, as rq sends it; it waits "
                "for them in its slot",
                task=job.task,
            )
        hold = holding_async if job.definition.is_async else holding
        return partial(hold, job.missing, self._policy.redis_url, job.function)

    def _end(self, job: RunningJob) -> None:
        self._end_copy()
        self._jobs.pop(job.number, None)
        self._stops.pop(job.number, None)
        if job.owner is not None:  # it has used locks
            from heori_common.locks.around import end_job  # noqa: PLC0415 - few need it

            end_job(job)
        if job.ended_in_import:
            self._wear_out("ended in an import")
        if job.has_waited:
            self.lending.look()

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

    def _call(self, job: RunningJob) -> Any:
        set_current_job(job)
        thread = self._thread()
        self._stops[job.number] = partial(thread.stop, job.number)
        self._chain.before(job)
        began = time.thread_time()
        try:
            return thread.call(job.number, job.deadline, job.function)
        finally:
            job.cpu_time = time.thread_time() - began
            self._end_copy()

    async def _await(self, job: RunningJob) -> Any:
        set_current_job(job)
        slot = job.slot
        call = CoroutineCall(lambda at: self._table.step(slot if at else -1))
        self._stops[job.number] = call.stop
        self._chain.before(job)
        try:
            return await call.call(job.timeout, job.function())
        except (JobTimeout, JobStopped):
            for programs in tuple(job.programs):
                programs.end()
            raise
        finally:
            job.cpu_time = call.cpu_time
            self._end_copy()

    def _end_copy(self) -> None:
        """End this process if it is a copy that a task has forked and let return.

        Middleware, payloads and results run the code of others, too. It must not say a second time
        what came of the job.
        """
        if os.getpid() != self._pid:
            os._exit(0)

    def _succeeded(self, job: RunningJob, value: Any) -> Outcome:
        body, types = self._encode(job, value)
        self._chain.after(job, value)
        return self._outcome(job, FINISHED, body)._replace(types=types)

    def _failed(self, job: RunningJob, error: BaseException) -> Outcome:
        # Unknown is a chunk of calls of such a function.
        if elsewhere := self._unknown_here(job, error) or self._spent(job, error):
            return elsewhere
        self._chain.on_failure(job, error)
        if issubclass(type(error), JobStopped):  # its __class__ may be anything
            return self._outcome(job, STOPPED, encode_failure(f"{error}\n"))
        if retry := _retry(job, error):
            return self._outcome(job, RETRY, None, retry)
        outcome = self._outcome(job, FAILED, encode_failure(describe(error)))
        return outcome._replace(error=as_it_travels(error))

    def _outcome(
        self, job: RunningJob, status: str, body: bytes | None, retry: RetryLater | None = None
    ) -> Outcome:
        return Outcome(
            status,
            body,
            job.task,
            max(0.0, job.run_time),
            job.cpu_time,
            job.queue_time,
            retry,
        )

    def _encode(self, job: RunningJob, value: Any) -> tuple[bytes | None, bytes | None]:
        stored = job.definition.dump_result(value, strict=self._policy.strict)
        if stored is None:
            return None, None
        size = len(stored.json) + len(stored.types or b"")
        if size > self._policy.max_payload:
            raise tasks.InvalidResult(
                f"{job.task} returned {size} bytes, over the limit of "
                f"{self._policy.max_payload} (HEORI_MAX_PAYLOAD); store it and return where"
            )
        return encode_result(stored.json, job.serializer), stored.types


# Errors whose message says all that there is to say; a traceback would show our code only.
_SELF_EXPLAINING = (MalformedJob, BadPayload, tasks.UnknownTask, tasks.InvalidArguments)
_OURS = {__file__, interrupt.__file__, running_job.__file__}


def _retry(job: RunningJob, error: BaseException) -> RetryLater | None:
    """Whether and when a job that has failed so is to run again."""
    retries, task = job.retries, job.definition
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
    if len(text) <= LONGEST_TEXT_CHARS:
        return text
    half = LONGEST_TEXT_CHARS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"

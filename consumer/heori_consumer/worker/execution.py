"""Runs one job: straight from raw bytes to an outcome value.

Nothing that a task does raises out of here; what it did is in the outcome.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from heori_common import logs, tasks
from heori_common.current_job import JobStopped, JobTimeout, set_current_job
from heori_common.errors import NotNow, summary
from heori_common.importing import import_apart
from heori_common.metrics import MOST_TASKS, bounded
from heori_common.process_id import process_id
from heori_common.protocol.job import (
    FAILED,
    FINISHED,
    RETRIED,
    RETRY,
    RETURNED,
    STOPPED,
    SUSPECT,
    Claim,
    MalformedJob,
    Outcome,
    RetryLater,
    begun_and_returned,
)
from heori_common.protocol.payload import BadPayload, Serializer, encode_failure, encode_result
from heori_common.rq import calling
from heori_common.rq.calling import Stranger
from heori_common.rq.timeouts import job_timeout
from heori_consumer.between.options import Policy, own_threads
from heori_consumer.between.slot_table import AtStop, SlotTable
from heori_consumer.worker import as_rq, rq_horse
from heori_consumer.worker.callbacks import Callbacks, Within
from heori_consumer.worker.ended_elsewhere import tell
from heori_consumer.worker.failures import (
    FailureNotes,
    as_it_travels,
    bounded_text,
    describe,
)
from heori_consumer.worker.interrupt import CoroutineCall, ThreadCalls
from heori_consumer.worker.lending import Lending
from heori_consumer.worker.loops import explain
from heori_consumer.worker.middleware import Chain
from heori_consumer.worker.refusal import Refusal
from heori_consumer.worker.running_job import RunningJob
from heori_consumer.worker.spent import what_is_spent
from heori_consumer.worker.told_failures import tell_died, tell_failed

log = logs.get_logger(__name__)

AROUND = "heori_common.locks.around"  # by name: few jobs have locks

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Runner:
    """Runs the jobs of one worker process, whatever its slots are.

    Args:
        report: called with a job's number, and how far it is, by tasks that tell.
        save: called with a job's number and the field of its meta, by tasks that save that.
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
        save: Callable[[int, bytes], None],
        introduce: Callable[[int, str], None],
        wear_out: Callable[[str], None],
        wake: Callable[[], object],
    ) -> None:
        self._policy = policy
        self._process = process_id()
        self._table = table
        self._told = report, save
        self._introduce = introduce
        self._wear_out = wear_out
        self._tasks: dict[str, int] = {}  # the number of each that was introduced
        self._introducing = threading.Lock()  # two at once are not to get the same number
        self._refusal = Refusal(policy)
        self._in_slots: set[str] = set()  # those whose jobs were seen to get their locks themselves
        self.failures = FailureNotes()
        self._chain = Chain(policy.middleware, self.failures)
        self._callbacks = Callbacks(policy)
        self._own_serializer = policy.own_serializer
        self._jobs: dict[int, RunningJob] = {}  # that run now
        self._calls: dict[int, ThreadCalls | CoroutineCall] = {}  # by which to end each of them
        self._own = threading.local()
        self._threads: list[ThreadCalls] = []  # all that ever ran a job
        self._beside = ThreadPoolExecutor(table.most, "plain")
        self.lending = Lending(self._jobs, table.lend, table, wake)

    # In a slot

    def run(self, slot: int, number: int, claim: Claim) -> Outcome:
        """Run one job to its outcome, in this thread."""
        if claim.phase:
            return self._tell(slot, number, claim)
        if rq_horse.takes(claim):
            outcome = rq_horse.run(claim, slot, self._table, self._number)
            self._end_copy()
            return outcome
        job = self._begin(slot, number, claim)
        outcome = job if isinstance(job, Outcome) else self._run(job)
        rq_horse.tell(claim, outcome)
        return outcome

    async def run_on_loop(self, slot: int, number: int, claim: Claim) -> Outcome:
        """Run one job to its outcome, on this event loop; a plain function beside it."""
        if claim.phase:
            return await self._aside(self._tell, slot, number, claim)
        # Callbacks are plain functions. Those of a job that cannot even begin run there, too.
        # A step of a flow reads there what it gets.
        has_callbacks = bool(claim.rest) or claim.special
        if has_callbacks:
            job = await self._aside(self._begin, slot, number, claim)
        else:
            job = self._begin(slot, number, claim)
        if isinstance(job, Outcome):
            return job
        if not job.definition.is_async:
            # The outcome is made there: a future cannot carry a StopIteration.
            outcome = await self._aside(self._run_beside, job)
            return outcome._replace(beside_loop=True)
        return await self._run_async(job)

    def end_thread(self) -> None:
        """Let go of what this thread, which is about to end, has needed."""
        thread: ThreadCalls | None = getattr(self._own, "calls", None)
        if thread is not None:
            self._threads.remove(thread)
            thread.close()

    async def _run_async(self, job: RunningJob) -> Outcome:
        """Run a job that has a seat on this event loop."""
        try:
            ended = await self._run_later(job)
            if job.claim.rest or job.claim.special:
                return await self._aside(self._finish, job, ended)
            return self._finish(job, ended)
        finally:
            self._end(job)

    # From the thread that receives

    @property
    def is_idle(self) -> bool:
        """Whether no job runs."""
        return not (self._jobs or rq_horse.running)

    def watch(self, now: float) -> None:
        """End what is late.

        Args:
            now: time.monotonic().
        """
        for thread in self._threads.copy():
            thread.interrupt_if_late(now)
        # A timer of the loop for each of them takes longer than all else that is done for it.
        for number, job in self._jobs.copy().items():
            if job.deadline < now and isinstance(call := self._calls.get(number), CoroutineCall):
                call.time_out()

    def stop(self, number: int) -> None:
        """End a job, if it runs."""
        if call := self._calls.get(number):
            call.stop(number)

    def lease_lost(self, numbers: Iterable[int]) -> None:
        """Let those jobs know that they have lost their lease."""
        for number in numbers:
            if job := self._jobs.get(number):
                job.lose()

    # Inside

    def _aside(self, function: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call a plain function beside the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._beside, function, *args)

    def _run(self, job: RunningJob) -> Outcome:
        try:
            if job.definition.is_async:
                return self._finish(job, self._thread().run(self._run_later(job)))
            return self._succeeded(job, copy_context().run(self._call, job))
        except BaseException as error:  # a task may raise anything, SystemExit included
            return self._failed(job, error)
        finally:
            self._end(job)

    def _finish(self, job: RunningJob, ended: "_Ended") -> Outcome:
        """The outcome of a coroutine."""
        try:
            if ended.error is None:
                return self._succeeded(job, ended.value)
            return self._failed(job, ended.error)
        except BaseException as error:  # as above
            return self._failed(job, error)

    def _tell(self, slot: int, number: int, claim: Claim) -> Outcome:
        """Run the callback of a job that has ended elsewhere, and nothing else of it."""
        job = RunningJob(slot, number, claim, *self._told, self._policy.redis_url, self.lending)
        with contextlib.suppress(BaseException):  # its function may be what is not to be had
            job.prepare(claim, self._policy)
        self._table.begin(slot, self._number(job.task), None)
        self._jobs[number] = job
        try:
            status, words, error = tell(job, self._callbacks, self._within(job))
        finally:
            self._end(job)
        if error is not None and (retry := job.retry_after(error)):
            return self._outcome(job, RETRY, None, retry)
        return self._outcome(job, status, encode_failure(words))

    def _run_beside(self, job: RunningJob) -> Outcome:
        loop = self._table.thread(job.slot)
        self._table.sit(job.slot, threading.get_native_id())
        try:
            return self._run(job)
        finally:
            self._table.sit(job.slot, loop)

    async def _run_later(self, job: RunningJob) -> "_Ended":
        # It raises nothing: what asyncio does not expect of an error may stop its loop.
        call = self._calls[job.number] = CoroutineCall(job.slot, self._table.step)
        try:
            set_current_job(job)
            self._chain.before(job)
            began = time.thread_time()
            self._table.call(job.slot, began)
            return _Ended(await call.call(job.function(), began))
        except BaseException as error:  # as above
            if issubclass(type(error), (JobTimeout, JobStopped)):  # its __class__ may be anything
                for programs in tuple(job.programs):
                    programs.end()
            with contextlib.suppress(Exception):  # an error of a task may raise at every question
                explain(error)
            return _Ended(None, error)
        finally:
            job.cpu_time = call.cpu_time
            self._end_copy()
            _release_locks(job)  # here, as its asyncio task may own them and ends with this

    def _begin(self, slot: int, number: int, claim: Claim) -> RunningJob | Outcome:
        job = self._prepare(slot, number, claim)
        if not isinstance(job, Outcome):
            self._take_seat(job)
        return job

    def _prepare(self, slot: int, number: int, claim: Claim) -> RunningJob | Outcome:
        """Read a job, which may come to its end with that."""
        job = RunningJob(slot, number, claim, *self._told, self._policy.redis_url, self.lending)
        try:
            job.prepare(claim, self._policy)
        except BaseException as error:  # reading a payload runs others' code: pickle, validators
            return self._not_begun(job, error)
        self._end_copy()
        return job

    def _take_seat(self, job: RunningJob) -> None:
        """Tell that a job which is ready runs in its slot."""
        at_timeout = job.retry_after(job_timeout()()) if job.retries and job.timeout > 0 else None
        task = self._tasks.get(job.task) or self._number(job.task)
        self._table.begin(job.slot, task, at_timeout)
        self._jobs[job.number] = job
        if job.missing:
            job.function = self._in_slot(job)

    def _not_begun(self, job: RunningJob, error: BaseException) -> Outcome:
        self._end_copy()
        if elsewhere := self._not_here(job, error):
            return elsewhere
        error = self._handled(job, error)
        # A producer that is newer than this worker sends other arguments, and what fails to be
        # imported now may be there later.
        retry = job.retry_after(error)
        self._tell_failed(job, error, retry)
        if retry:
            return self._outcome(job, RETRY, None, retry)
        self_explaining = issubclass(type(error), _SELF_EXPLAINING)
        text = bounded_text(f"{error}\n") if self_explaining else describe(error)
        return self._outcome(job, FAILED, encode_failure(text))._replace(error=as_it_travels(error))

    def _not_here(self, job: RunningJob, error: BaseException) -> Outcome | None:
        """What comes of a job that is not to fail for this, but to run elsewhere."""
        if issubclass(type(error), NotNow):  # its __class__ may be anything
            log.warning("a job goes back to its queue", job=job.id, reason=str(error))
            return Outcome(RETURNED)
        if (refusal := self._refusal.of(job, error)) is None:
            return self._spent(job, error)
        # Nobody may know it in the end; that is a failure as any.
        return self._outcome(job, *refusal, retry=job.retry_after(error))

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
        around = import_apart(AROUND)
        if job.task not in self._in_slots:
            self._in_slots.add(job.task)
            log.warning(
                "a job was sent without the locks that its task declares, as rq sends it; it waits "
                "for them in its slot",
                task=job.task,
            )
        hold = around.holding_async if job.definition.is_async else around.holding
        return partial(hold, job.missing, self._policy.redis_url, job.function)

    def _end(self, job: RunningJob) -> None:
        self._end_copy()
        self._jobs.pop(job.number, None)
        self._calls.pop(job.number, None)
        _release_locks(job)
        if job.ended_in_import:
            self._wear_out("ended in an import")
        if job.has_waited:
            self.lending.look()

    def _number(self, task: str) -> int:
        task = bounded(task, self._tasks, MOST_TASKS)
        with self._introducing:
            number = self._tasks.get(task)
            if number is None:
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
        is_stranger = isinstance(job.definition, Stranger)
        if not (is_stranger and thread.is_main):  # else it is killed, as in rq
            self._calls[job.number] = thread
        self._chain.before(job)
        began = time.thread_time()
        self._table.call(job.slot, began)
        try:
            if is_stranger:
                return as_rq.call(job, thread, self._table)
            return thread.call(job.number, job.deadline, job.function)
        finally:
            job.cpu_time = time.thread_time() - began
            self._end_copy()

    def _end_copy(self) -> None:
        """End this process if it is a copy that a task has forked and let return.

        Middleware, payloads and results run the code of others, too. It must not say a second time
        what came of the job.
        """
        if process_id() != self._process:  # as Python has noted: to ask the system takes longer
            os._exit(0)

    def _succeeded(self, job: RunningJob, value: Any) -> Outcome:
        if isinstance(job.definition, Stranger):
            body, types = calling.encode_result(value, job.serializer, self._own_serializer), None
            if (again := calling.returned_retry(value)) is not None:
                self._chain.after(job, value)
                return self._outcome(job, RETRIED, body)._replace(again=again)
        else:
            body, types = self._encode(job.definition, job.serializer, value)
        if job.claim.rest:
            self._callbacks.on_success(job, value, self._within(job))
        self._chain.after(job, value)
        outcome = self._outcome(job, FINISHED, body)
        return outcome if types is None else outcome._replace(types=types)

    def _failed(self, job: RunningJob, error: BaseException) -> Outcome:
        # Unknown is a chunk of calls of such a function.
        if elsewhere := self._not_here(job, error):
            return elsewhere
        if issubclass(type(error), JobStopped):  # its __class__ may be anything
            self._chain.on_failure(job, error)
            if job.claim.rest:
                self._calls.pop(job.number, None)  # it has heard
                self._callbacks.on_stopped(job, self._within(job, AtStop.HAS_ENDED))
            words = calling.STOPPED_WORDS if isinstance(job.definition, Stranger) else f"{error}\n"
            return self._outcome(job, STOPPED, encode_failure(words))
        error = self._handled(job, error)
        retry = job.retry_after(error)
        self._tell_failed(job, error, retry)
        if retry:
            return self._outcome(job, RETRY, None, retry)
        outcome = self._outcome(job, FAILED, encode_failure(describe(error)))
        return outcome._replace(error=as_it_travels(error))

    def _handled(self, job: RunningJob, error: BaseException) -> BaseException:
        """What is to be told of as the failure, once all who want to know of it do.

        In rq's order (``rq.worker.BaseWorker._finalize_failure``): a failure callback that raises
        puts its own error in the place of the job's, and the exception handlers get to see that.
        """
        if job.claim.rest or self._policy.exception_handlers:
            error = self._callbacks.on_failure(job, error, self._within(job))
        self._chain.on_failure(job, error)
        self._callbacks.handle_exception(job, error)
        return error

    def _tell_failed(self, job: RunningJob, error: BaseException, retry: RetryLater | None) -> None:
        outcome = FAILED if retry is None else RETRY
        tell_failed(self._chain, job, self._policy.consumer, outcome, error)

    def died(self, claim: Claim, task: str, status: str, reason: str, consumer: str) -> None:
        """Have middleware hear of a job whose own worker cannot speak any more."""
        tell_died(self._chain, claim, task, consumer or self._policy.consumer, status, reason)

    def _within(self, job: RunningJob, at_stop: AtStop = AtStop.ENDS) -> Within:
        """Calls callbacks of a job."""
        as_rq.before_callbacks(job, self._table, at_stop)

        def within(seconds: float, function: Callable[[], T]) -> T:
            return as_rq.call_within(seconds, job, self._thread(), self._table, function, at_stop)

        return within

    def _outcome(
        self, job: RunningJob, status: str, body: bytes | None, retry: RetryLater | None = None
    ) -> Outcome:
        run_time = max(0.0, job.run_time)
        outcome = Outcome(status, body, job.task, run_time, job.cpu_time, job.queue_time, retry)
        return outcome._replace(called=job.called) if job.called else outcome

    def _encode(
        self, task: tasks.Task[..., Any], serializer: Serializer, value: Any
    ) -> tuple[bytes | None, bytes | None]:
        stored = task.dump_result(value, strict=self._policy.strict)
        if stored is None:
            return None, None
        size = len(stored.json) + len(stored.types or b"")
        if size > self._policy.max_payload:
            raise tasks.InvalidResult(
                f"{task.name} returned {size} bytes, over the limit of "
                f"{self._policy.max_payload} (HEORI_MAX_PAYLOAD); store it and return where"
            )
        return encode_result(stored.json, serializer, self._own_serializer), stored.types


class _Ended(NamedTuple):
    """How a coroutine has ended."""

    value: Any
    error: BaseException | None = None


def _release_locks(job: RunningJob) -> None:
    """Release what it has taken and not released."""
    if job.owner is not None:  # it has used locks
        import_apart(AROUND).end_job(job)


# Errors whose message says all that there is to say; a traceback would show our code only.
_SELF_EXPLAINING = (MalformedJob, BadPayload, tasks.UnknownTask, tasks.InvalidArguments)

"""Runs one job: straight from raw bytes to an outcome value.

Nothing that a task does raises out of here; what it did is in the outcome.
"""

import asyncio
import ctypes
import threading
import time
import traceback
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, NamedTuple

from common import tasks
from common.protocol.job import Assignment, MalformedJob
from common.protocol.payload import (
    BadPayload,
    Serializer,
    decode_call,
    encode_failure,
    encode_result,
)
from consumer.totals import Outcome

# The label of jobs whose task is not known: a payload may name anything, and a label that
# follows it would never stop growing.
UNKNOWN = "(unknown)"


_current = threading.local()  # the job that this thread runs: job_id, timeout


class JobTimeout(Exception):
    """Raised inside a task that has run for longer than its timeout.

    Attributes:
        job_id: which job.
        timeout: its limit, in seconds.
    """

    def __init__(self) -> None:  # CPython makes it, from the class alone, in the job's thread
        self.job_id: str = getattr(_current, "job_id", "?")
        self.timeout: int = getattr(_current, "timeout", 0)
        super().__init__(f"job {self.job_id} ran for longer than its timeout of {self.timeout} s")


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be run, from the settings."""

    tasks: tuple[str, ...]  # modules to import
    allow: tuple[str, ...]
    accept: tuple[Serializer, ...]
    max_payload: int  # bytes


class Work(NamedTuple):
    """One job on its way through a worker."""

    number: int
    job_id: str
    claimed_at: float
    problem: str | None
    values: bytes


class _Prepared(NamedTuple):
    task: tasks.Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    serializer: Serializer
    timeout: int  # seconds, -1 for none


class Runner:
    """Runs jobs one after the other in the thread that made it; each slot has its own."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._loop: asyncio.Runner | None = None
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        # time.monotonic() when the current plain function is late, until it has been interrupted
        self._deadline = self._armed = float("inf")

    def run(self, work: Work) -> Outcome:
        """Run one job to its outcome."""
        started = time.perf_counter()
        task, queue_time = UNKNOWN, 0.0

        def outcome(body: bytes | None, error: str = "") -> Outcome:
            run_time = time.perf_counter() - started
            return Outcome(work.number, not error, body, task, run_time, queue_time, error)

        def failed(text: str) -> Outcome:
            summary = text.strip().rpartition("\n")[2][:300]
            return outcome(encode_failure(text), summary or "it failed without a message")

        try:
            if work.problem:
                raise MalformedJob(work.problem)
            assignment = Assignment.from_values(work.values, work.claimed_at)
            queue_time = assignment.queue_time
            prepared = self._prepare(assignment)
        except (MalformedJob, BadPayload, tasks.UnknownTask, tasks.InvalidArguments) as error:
            return failed(f"{error}\n")
        except BaseException as error:  # reading a payload runs others' code: pickle, validators
            return failed(describe(error))
        task = prepared.task.name
        started = time.perf_counter()
        _current.job_id, _current.timeout = work.job_id, prepared.timeout
        try:
            try:
                value = self._call(prepared)
            finally:
                self._disarm()
            return outcome(self._encode(prepared, value))
        except BaseException as error:  # a task may raise anything, SystemExit included
            return failed(describe(error))

    def interrupt_if_late(self, now: float) -> None:
        """Raise JobTimeout in the slot's thread when its job is late; called by another thread.

        Args:
            now: time.monotonic().
        """
        with self._lock:
            if now > self._deadline:
                self._deadline = float("inf")
                _raise_in(self._thread, JobTimeout)

    def _prepare(self, assignment: Assignment) -> _Prepared:
        call = decode_call(assignment.data, self._policy.accept, self._policy.max_payload)
        task = tasks.resolve(call.function, self._policy.allow)
        args, kwargs = task.bind(call.args, call.kwargs)
        return _Prepared(task, args, kwargs, call.serializer, assignment.timeout)

    def _call(self, prepared: _Prepared) -> Any:
        function = prepared.task.function
        if prepared.task.is_async:
            if self._loop is None:
                self._loop = asyncio.Runner()
            return self._loop.run(
                _limited(function(*prepared.args, **prepared.kwargs), prepared.timeout)
            )
        if prepared.timeout > 0:
            self._deadline = self._armed = time.monotonic() + prepared.timeout
        return function(*prepared.args, **prepared.kwargs)

    def _disarm(self) -> None:
        """From here on no JobTimeout is raised in this thread, not even one that is on its way."""
        with self._lock:
            late = self._deadline != self._armed
            self._deadline = self._armed = float("inf")
            if late:
                _raise_in(self._thread, None)

    def _encode(self, prepared: _Prepared, value: Any) -> bytes | None:
        dumped = prepared.task.dump_result(value)
        if dumped is None:
            return None
        if len(dumped) > self._policy.max_payload:
            raise tasks.InvalidResult(
                f"{prepared.task.name} returned {len(dumped)} bytes, over the limit of "
                f"{self._policy.max_payload} (HEORI_MAX_PAYLOAD); store it and return where"
            )
        return encode_result(dumped, prepared.serializer)


async def _limited(coroutine: Awaitable[Any], timeout: int) -> Any:
    """Await with a limit; an exception thrown into a thread would hit the loop, not the task."""
    limit = asyncio.timeout(timeout if timeout > 0 else None)
    try:
        async with limit:
            return await coroutine
    except TimeoutError as error:
        if limit.expired():
            raise JobTimeout from error
        raise


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    """CPython's way to raise in another thread; None takes back what has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(exception) if exception else None
    )


def describe(error: BaseException) -> str:
    """A traceback as RQ keeps it, less our own frames at its top."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
    except Exception as unprintable:
        return f"{type(error).__name__} (whose text raises {type(unprintable).__name__})\n"

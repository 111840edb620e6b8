"""Calls that can be ended from outside: of plain functions in a thread, of coroutines on a loop.

rq's TimerDeathPenalty patches the exception's class for the whole process, and signals reach
the main thread only; neither is of use where many jobs run side by side.
"""

import asyncio
import contextlib
import ctypes
import signal
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import copy_context
from typing import Any, TypeVar

from heori_common.current_job import JobStopped, JobTimeout
from heori_common.given_back import lock_given_back
from heori_common.rq.calling import wake
from heori_common.rq.timeouts import job_timeout
from heori_consumer.worker.loops import SlotLoop
from heori_consumer.worker.programs import end_programs_of

T = TypeVar("T")
# Which exception ends a call that is late; asked for only then.
Late = Callable[[], type[JobTimeout]]

# Ends what the main thread waits for. No program has a use of its own for it, as of SIGALRM. A
# system that has none gets one that is ignored: there a wait in C is not interrupted.
INTERRUPT = getattr(signal, "SIGRTMAX", signal.SIGURG)


class ThreadCalls:
    """The calls of one thread, one after the other; made by that thread itself.

    Another thread can raise an exception in the call that is under way, and in nothing else:
    none is raised after the call has ended, not even one that was on its way. The programs that the
    call has started end with it then: it may be waiting for one, where no exception reaches it.
    In the main thread a signal raises it, which interrupts what waits in C, too: a sleep, a socket.

    Attributes:
        is_main: whether it is the main thread.
    """

    def __init__(self) -> None:
        self.is_main = threading.current_thread() is threading.main_thread()
        self._thread = threading.get_ident()
        self._native = threading.get_native_id()
        self._lock = lock_given_back()
        self._number = 0
        self._stopped = 0  # the number that was stopped last: a job is stopped once
        self._deadline = float("inf")
        self._late: Late = job_timeout
        self._began = 0.0  # time.monotonic()
        self._raised = False
        self._on_its_way: type[BaseException] | None = None  # by a signal
        self._loop: asyncio.Runner | None = None
        if self.is_main:
            signal.signal(INTERRUPT, self._interrupted)

    def call(
        self, number: int, deadline: float, function: Callable[[], T], late: Late = job_timeout
    ) -> T:
        """Call a function.

        Args:
            number: for `stop`.
            deadline: time.monotonic() after which `interrupt_if_late` ends it.
            late: tells what to raise in it then.

        Raises:
            JobTimeout, JobStopped: it was ended.
        """
        self._raised = False
        self._began = time.monotonic()
        self._late = late
        self._number, self._deadline = number, deadline
        try:
            return function()
        finally:
            with self._lock:
                self._number, self._deadline = 0, float("inf")
                if self._raised:
                    self._take_back()
                    self._end_programs()  # that it has started meanwhile

    def interrupt_if_late(self, now: float) -> None:
        """End the call if its deadline has passed."""
        with self._lock:
            if now > self._deadline:
                self._raise(self._late())

    def stop(self, number: int) -> None:
        """End the call of that number, if it is still under way.

        What is called for that number afterwards, as a callback is, goes on.
        """
        with self._lock:
            if self._number == number != self._stopped:
                self._stopped = number
                self._raise(JobStopped)

    def _raise(self, exception: type[BaseException]) -> None:
        if not self._raised:
            self._raised = True
            self._deadline = float("inf")
            self._send(exception)
            wake(self._thread)
            self._end_programs()

    def _send(self, exception: type[BaseException]) -> None:
        """Have it raised in that thread."""
        if not self.is_main:
            _raise_in(self._thread, exception)
            return
        self._on_its_way = exception
        signal.pthread_kill(self._thread, INTERRUPT)

    def _take_back(self) -> None:
        """Have what has not been raised yet never be; called by that thread itself.

        CPython can take one back, but until 3.13 it looks for one ever after; and in 3.11 a thread
        that a debugger or coverage traces is then stuck at the beginning of its next function. So
        another takes its place, and is raised here.
        """
        if self.is_main:
            self._on_its_way = None
            return
        with contextlib.suppress(_TakenBack):
            while True:  # again where it is lost, as in a finalizer, which raises nothing
                _raise_in(self._thread, _TakenBack)

    def _interrupted(self, *_: object) -> None:
        exception, self._on_its_way = self._on_its_way, None
        if exception is not None:
            raise exception

    def _end_programs(self) -> None:
        end_programs_of(self._native, time.monotonic() - self._began)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, in an event loop of this thread's own.

        What it leaves behind in that loop ends with it, as with ``asyncio.run``.
        """
        if self._loop is None or self._loop.get_loop().is_closed():
            self._loop = asyncio.Runner(loop_factory=SlotLoop)
        try:
            # Not in the runner's own context, which would carry variables to the next coroutine.
            return self._loop.run(coroutine, context=copy_context())
        finally:
            # The loop stays: what a module keeps from one job to the next is bound to it.
            if left := asyncio.all_tasks(self._loop.get_loop()):
                self._loop.run(_end(left))

    def close(self) -> None:
        """Close its event loop, if it has one; called by the thread itself, which makes no more."""
        if self._loop is not None:
            self._loop.close()


class CoroutineCall:
    """One call of a coroutine function, on whichever loop awaits it.

    An exception thrown into a thread would hit the loop and not the task; so this one is
    cancelled, as coroutines are: once, as what it does then may have to wait.

    Attributes:
        cpu_time: seconds that its steps have taken, without what ran between them.
    """

    __slots__ = ("_end", "_slot", "_step", "_task", "cpu_time")

    def __init__(self, slot: int, step: Callable[[int], None]) -> None:
        """Prepare.

        Args:
            slot: that it runs in.
            step: called with the slot before each step of the coroutine, and with -1 after it.
        """
        self.cpu_time = 0.0
        self._slot = slot
        self._step = step
        self._task: asyncio.Task[Any] | None = None  # while it is under way
        self._end: type[BaseException] | None = None  # what is raised in the place of its end

    @types.coroutine
    def call(self, coroutine: Coroutine[Any, Any, T], began: float) -> Generator[Any, Any, T]:
        """Await a coroutine, as `yield from` would (PEP 380), with a clock around each step.

        Args:
            began: time.thread_time() by now.

        Raises:
            JobTimeout, JobStopped: it was ended.
        """
        self._task = asyncio.current_task()
        step, clock, steps = self._step, time.thread_time, coroutine.__await__()
        value: Any = None
        error: BaseException | None = None
        try:
            while True:
                step(self._slot)
                try:
                    awaited = steps.send(value) if error is None else steps.throw(error)
                except StopIteration as end:
                    result: T = end.value
                    return result
                finally:
                    self.cpu_time += clock() - began
                    step(-1)
                    error = None
                try:
                    value = yield awaited
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as thrown:
                    error = thrown
                began = clock()
        except asyncio.CancelledError as cancelled:
            if self._end is None:  # by itself
                raise
            raise self._end from (None if self._end is JobStopped else cancelled)
        finally:
            self._task = None

    def stop(self, number: int) -> None:  # noqa: ARG002
        """End it, from any thread; as of `ThreadCalls`."""
        self._have_end(JobStopped)

    def time_out(self) -> None:
        """End it because it is late, from any thread."""
        self._have_end(job_timeout())

    def _have_end(self, exception: type[BaseException]) -> None:
        if (task := self._task) is not None:
            task.get_loop().call_soon_threadsafe(self._cancel, exception)

    def _cancel(self, exception: type[BaseException]) -> None:
        if self._task is not None and self._end is None:
            self._end = exception
            self._task.cancel()


async def _end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _TakenBack(BaseException):
    """What takes the place of an exception that is not to be raised any more."""


def _raise_in(thread: int, exception: type[BaseException]) -> None:
    """CPython's way to raise in another thread; of several before it looks, the last counts."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))

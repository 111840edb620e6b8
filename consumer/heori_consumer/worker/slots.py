"""The two kinds of slots: threads, and coroutines on one event loop.

Each takes work from an inbox, runs it and hands the outcome on. The difference between all
execution models is this file, and two numbers; `mixed` has threads and a loop in one worker.
"""

import asyncio
import contextlib
import selectors
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from select import select as wait_finely  # as it is now: gevent, say, puts its own in its place
from typing import Any, Protocol

from heori_common import logs
from heori_common.platform import WAITS_FOR_MILLISECONDS
from heori_common.protocol.job import Claim, Outcome
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker.execution import Runner
from heori_consumer.worker.inbox import Inbox, take_all
from heori_consumer.worker.loops import JobLoop
from heori_consumer.worker.restore import SharedState

log = logs.get_logger(__name__)
# For another thread to take what the main thread leaves to it.
YIELD_S = 0.005
# `select` knows files below this number (FD_SETSIZE).
_MOST_SELECTED = 1024
# A coroutine takes its first step where it is made, which saves a turn of the loop; Python 3.11 has
# no such thing.
_AT_ONCE: Any = {"eager_start": True} if sys.version_info >= (3, 12) else {}
Numbered = tuple[int, Claim]  # a job, by the number that the supervisor has given it
# Runs a job in a slot; returns None of one that is not to run there and has not begun.
Run = Callable[[int, int, Claim], Outcome | None]
RunLater = Callable[[int, int, Claim], Awaitable[Outcome | None]]


class Handover(Protocol):
    """Where outcomes go."""

    def __call__(self, number: int, outcome: Outcome, *, more: bool) -> None:
        """Take what came of a job; `more` tells whether another job is at hand."""


class Slots(Protocol):
    """What the thread of a worker that receives sees of its slots."""

    def put(self, jobs: Sequence[Numbered]) -> None:
        """Have jobs run, in this order, as slots get free."""

    def recall(self, only: Collection[int] | None = None) -> list[int]:
        """Take back what no slot has taken yet, or what of these numbers; returns the numbers."""

    def watch(self) -> None:
        """See, every now and then, how responsive they are."""

    def lend(self, slots: int) -> None:
        """Have so many slots more from now on, as the jobs of as many wait for other jobs.

        It is called by one thread at a time. Fewer than before means that as many end once they
        have nothing to do: what waited goes on at once, so that one slot too many may be at work.
        """


class _Common:
    """What both kinds do around a job."""

    def __init__(
        self,
        runner: Runner,
        table: SlotTable,
        hand_over: Handover,
        worn: Callable[[str], None],
        broken: Callable[[], None],
        shared_state: SharedState,
    ) -> None:
        self._runner = runner
        self._table = table
        self._hand_over = hand_over
        self._worn = worn
        self._broken = broken
        self._shared_state = shared_state

    def _clean_up(self, slot: int) -> None:
        """Put back what the task has changed; before its outcome is told, and the next begins."""
        if reason := self._shared_state.restore():
            self._worn(reason)
        self._table.finish(slot)

    def _break_down(self) -> None:
        """A task has ruined something that we stand on: only another process can go on."""
        with contextlib.suppress(Exception):
            log.critical("a slot has broken down", exc_info=True)  # noqa: LOG014 - in a handler
        self._broken()


class ThreadSlots(_Common):
    """S threads that take turns at one inbox.

    Daemon threads, though a job is no background work: the process must be able to end while
    a job hangs where no exception reaches it.
    """

    def __init__(
        self,
        runner: Runner,
        table: SlotTable,
        hand_over: Handover,
        worn: Callable[[str], None],
        broken: Callable[[], None],
        *,
        shared_state: SharedState | None = None,
        run: Run | None = None,
        most: int | None = None,
        first_is_main: bool = False,
        restores_handlers: bool = False,
    ) -> None:
        """Prepare.

        Args:
            shared_state: as this process had it before its first job; as it is now unless given.
            run: runs a job; the runner's own `run` unless given.
            most: slots, from the first; all of the table unless given.
            first_is_main: whether the first slot is the main thread, which calls `run_main`.
            restores_handlers: whether what jobs do to the handlers of signals is undone.
        """
        shared_state = shared_state or SharedState(handlers=restores_handlers)
        super().__init__(runner, table, hand_over, worn, broken, shared_state)
        # None ends the thread that takes it, if there is one too many.
        self._inbox: Inbox[Numbered | None] = Inbox()
        self._resizing = threading.Lock()
        self._threads = self._wanted = int(first_is_main)
        self._main = 0 if first_is_main else None
        most = table.most if most is None else most
        self._unused = list(range(self._threads, most))  # slots that have no thread
        self._run: Run = run or runner.run
        self._closed = False
        self.lend(0)

    def run_main(self) -> None:
        """Run jobs in this thread until `close`."""
        self._slot(0)

    def close(self) -> None:
        """Have `run_main` return, when it has run what was put before."""
        self._closed = True
        self._inbox.put([None])

    def put(self, jobs: Sequence[Numbered]) -> None:
        """See `Slots`."""
        self._inbox.put(jobs)

    def put_first(self, jobs: Sequence[Numbered]) -> None:
        """Have jobs run before those that were put and have not begun."""
        self._inbox.put_first(jobs)

    def recall(self, only: Collection[int] | None = None) -> list[int]:
        """See `Slots`."""

        def is_asked(job: Numbered | None) -> bool:
            return job is not None and (only is None or job[0] in only)

        return [job[0] for job in self._inbox.take_back(is_asked) if job is not None]

    def watch(self) -> None:
        """See `Slots`. Threads are looked at from outside."""

    @property
    def at_work(self) -> int:
        """How many of them have a job, about."""
        return max(0, self._threads - len(self._inbox.waiting))

    def lend(self, slots: int) -> None:
        """See `Slots`."""
        with self._resizing:
            self._wanted = self._table.slots + slots
            while self._threads < self._wanted:
                slot = _take_first(self._unused)
                self._table.use(slot + 1)
                threading.Thread(
                    target=self._slot, args=(slot,), name=f"slot-{slot}", daemon=True
                ).start()
                self._threads += 1
            self._inbox.put([None] * (self._threads - self._wanted))

    def _leave(self, slot: int) -> bool:
        """End a slot's thread, if there is one too many; returns whether it is to end."""
        with self._resizing:
            if self._threads <= self._wanted:
                return False
            if slot == self._main:  # another one is to
                self._inbox.put([None])
                time.sleep(YIELD_S)
                return False
            self._threads -= 1
            self._table.sit(slot, 0)
            self._unused.append(slot)
            return True

    def _slot(self, slot: int) -> None:
        try:
            self._table.sit(slot, threading.get_native_id())
            seat = self._inbox.seat()
            while True:
                job = seat.get()
                if job is None:
                    if self._closed or self._leave(slot):
                        break
                    continue
                number, claim = job
                self._table.take(slot, number, time.monotonic())
                outcome = self._run(slot, number, claim)
                self._clean_up(slot)
                if outcome is not None:
                    self._hand_over(number, outcome, more=bool(self._inbox))
                del job, claim, outcome  # they may be large, and this slot idle from now on
            self._runner.end_thread()
        except BaseException:
            self._break_down()


class CoroutineSlots(_Common):
    """S coroutines at most on one event loop, each with a context of its own."""

    def __init__(
        self,
        runner: Runner,
        table: SlotTable,
        hand_over: Handover,
        worn: Callable[[str], None],
        broken: Callable[[], None],
        *,
        hand_on: Callable[[], None],
        shared_state: SharedState | None = None,
        run: RunLater | None = None,
        rows: Sequence[int] | None = None,
    ) -> None:
        """Begin.

        Args:
            hand_on: has what was handed over with `more` wait no longer.
            shared_state: as this process had it before its first job; as it is now unless given.
            run: runs a job; the runner's own `run_on_loop` unless given.
            rows: of the table, from which it lends; without them it has all, and uses as many as
                the table has slots from the start.

        Raises:
            OSError, RuntimeError: no file or thread is left for its loop.
        """
        super().__init__(runner, table, hand_over, worn, broken, shared_state or SharedState())
        self._hand_on = hand_on
        self._is_to_go_on = False
        self._inbox: deque[Numbered] = deque()
        self._run: RunLater = run or runner.run_on_loop
        self._free = list(range(table.slots)) if rows is None else []
        self._unused = list(range(table.slots, table.most) if rows is None else rows)
        self._lent = 0
        self._too_many = 0  # slots at work that are to end with their jobs
        self._running: dict[int, asyncio.Task[None]] = {}  # by slot; a loop alone lets go of them
        self._loop = JobLoop(TimedSelector(table))
        threading.Thread(target=self._run_loop, name="loop", daemon=True).start()

    def put(self, jobs: Sequence[Numbered]) -> None:
        """See `Slots`."""
        self._inbox.extend(jobs)
        self._loop.call_soon_threadsafe(self._fill)

    def recall(self, only: Collection[int] | None = None) -> list[int]:
        """See `Slots`. Needs no turn of the loop, which a task may hold."""
        jobs = take_all(self._inbox)
        if only is not None and (stay := [job for job in jobs if job[0] not in only]):
            self._inbox.extendleft(reversed(stay))
            self._loop.call_soon_threadsafe(self._fill)  # it may have seen none
        return [number for number, _ in jobs if only is None or number in only]

    def watch(self) -> None:
        """See `Slots`. Asks the loop to answer, unless it has yet to do so."""
        if self._table.ask_loop():
            self._loop.call_soon_threadsafe(self._table.loop_answers)

    def lend(self, slots: int) -> None:
        """See `Slots`."""
        self._loop.call_soon_threadsafe(self._resize, slots)

    def _resize(self, lent: int) -> None:
        more, self._lent = lent - self._lent, lent
        for _ in range(more):
            if self._too_many:
                self._too_many -= 1
            else:
                slot = _take_first(self._unused)
                self._table.use(slot + 1)
                self._table.sit(slot, threading.get_native_id())
                self._free.append(slot)
        for _ in range(-more):
            if self._free:
                self._unused.append(self._free.pop())
            else:
                self._too_many += 1
        self._fill()

    def _run_loop(self) -> None:
        self._table.tell_loop(threading.get_native_id())
        for slot in self._free:
            self._table.sit(slot, threading.get_native_id())
        while not self._loop.is_closed():  # a task may stop it, or leave a SystemExit in it
            try:
                self._loop.run_forever()
            except BaseException:
                log.critical("the event loop was left", exc_info=True)
        self._broken()

    def _fill(self) -> None:
        with contextlib.suppress(IndexError):  # a recall may have been faster
            # Once for each slot: other jobs are to have their turn, though these end at once.
            for _ in range(len(self._free)):
                job = self._inbox.popleft()
                slot = self._free.pop()
                # An empty context: this may run in that of the job before.
                task = asyncio.Task(
                    self._slot(slot, *job), loop=self._loop, context=Context(), **_AT_ONCE
                )
                if not task.done():
                    self._running[slot] = task

    async def _slot(self, slot: int, number: int, claim: Claim) -> None:
        try:
            self._table.take(slot, number, time.monotonic())
            outcome = await self._run(slot, number, claim)
            self._clean_up(slot)
            self._running.pop(slot, None)
            if self._too_many:
                self._too_many -= 1
                self._unused.append(slot)
            else:
                self._free.append(slot)
            # Many end in one turn of the loop, and go on together after it.
            if outcome is not None:
                self._hand_over(number, outcome, more=True)
            if not self._is_to_go_on:
                self._is_to_go_on = True
                self._loop.call_soon(self._after_turn)
        except BaseException:
            self._break_down()

    def _after_turn(self) -> None:
        self._is_to_go_on = False
        if len(self._inbox) <= len(self._free):  # else more will end soon
            self._hand_on()
        self._fill()


def _take_first(slots: list[int]) -> int:
    """The lowest, so that the slot table is in use no further than need be."""
    first = min(slots)
    slots.remove(first)
    return first


class TimedSelector(selectors.DefaultSelector):
    """Where an event loop waits for events; tells when it does.

    On Linux it would wait for whole milliseconds, rounded up, so that each timer of a job would be
    up to one late. `select` can wait for the selector's own file, and counts microseconds; so do
    the selectors of other systems.
    """

    def __init__(self, table: SlotTable) -> None:
        super().__init__()
        self._table = table
        file = self.fileno() if WAITS_FOR_MILLISECONDS else _MOST_SELECTED
        self._own_file = (file,) if file < _MOST_SELECTED else ()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._table.loop_waits()
        try:
            if self._own_file and timeout is not None and timeout > 0:
                if not wait_finely(self._own_file, (), (), timeout)[0]:
                    return []
                timeout = 0
            return super().select(timeout)
        finally:
            self._table.loop_works()

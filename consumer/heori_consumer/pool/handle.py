"""One worker, as the supervisor knows it: what it holds, and what comes of that.

It alone says which claims it has. Each of them leaves it once: ended, given back, or buried with
the worker.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import psutil

from heori_common.locks.statistics import Statistics, total
from heori_common.platform import shared_memory
from heori_common.protocol.job import (
    RETURNED,
    STOPPED,
    SUSPECT,
    Claim,
    Outcome,
    Settled,
    begun_and_returned,
)
from heori_consumer.between import frames
from heori_consumer.between.failures import Failure
from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.slot_table import AtStop, SlotState, SlotTable
from heori_consumer.between.totals import TaskTotals, Totals, count
from heori_consumer.gil.states import GilFutex, Tally
from heori_consumer.gil.usage import core_use, known_state
from heori_consumer.pool.endings import (
    crashed_outcome,
    killed_outcome,
    late_outcome,
    stopped_outcome,
)
from heori_consumer.pool.forkserver import Forkserver
from heori_consumer.pool.host import Death, Host, InlineHost, ProcessHost
from heori_consumer.pool.lateness import Lateness, Sentence
from heori_consumer.pool.link import Link

# A worker silent for this long with jobs waiting behind running ones gives those back.
STALL_S = 0.1
# The label of jobs whose worker died before it could say of which task they are.
UNKNOWN = "(unknown)"


class WorkerEvents(Protocol):
    """What a worker tells the pool that has it."""

    def ready(self, worker: "WorkerHandle") -> None:
        """It has imported the tasks."""

    def broken(self, worker: "WorkerHandle", reason: str, details: str) -> None:
        """It cannot take jobs: a module of tasks cannot be imported, say."""

    def worn(self, worker: "WorkerHandle", reason: str) -> None:
        """A task has left it so that no other is to run in it."""

    def ended(self, worker: "WorkerHandle", settled: list[Settled]) -> None:
        """Jobs have come to an end."""

    def stopped(self, settled: list[Settled]) -> None:
        """Jobs were stopped, and have not begun or cannot speak for themselves."""

    def failed(self, failures: Iterable[Failure]) -> None:
        """Something has failed, and is to be logged."""

    def returned(self, worker: "WorkerHandle", claims: list[Claim], *, all_of_it: bool) -> None:
        """These it has not begun; it has answered a recall of all, if there are no others."""

    def again(self, settled: list[Settled]) -> None:
        """Jobs have begun that are to be run by another worker."""

    def noted(self, notes: Sequence[tuple[Claim, frames.Note]]) -> None:
        """Jobs that run have told something of themselves."""

    def gone(self, worker: "WorkerHandle") -> None:
        """Its process is no more."""

    def heard(self, worker: "WorkerHandle") -> None:
        """It has said something, and that is dealt with."""


class WorkerHandle:
    """One worker, from being started to being buried.

    Attributes:
        name: for people; the number of its place, or what it was started for.
        host: what it runs in.
        table: what its slots are doing.
        tasks: the names of those it has run, by the numbers in its slot table.
        process_id: of its process, see `heori_common.process_id`; empty until it is ready.
        importing: the module of tasks that it imports, until it is ready.
        published: what is to be published of the tasks, if it was asked to tell.
        libraries: the modules of others that it has imported for them.
        empty: a sentence for each module that should have tasks, and has none.
        entries: name and packed `ScheduleEntry` of the periodic jobs that it knows.
        finished: how many jobs it has ended.
        gil: how its threads that wait for the GIL are known, if they are.
        seen: what it has seen of its own threads, if it was asked to; None if it cannot.
        began: time.monotonic() when it was started.
        ready: whether it has imported the tasks.
        stalled: whether jobs waited in it behind long ones when last looked at.
        worn: whether a task has left it so that no other is to run in it.
        waiting, asking: how many of its jobs wait for other jobs, or ask after them.
        waits_for: the queues of those others.
        run_first: queue and id of those that are to run before all others, as few slots are left.
        lent: how many slots it has more because jobs wait.
        beside, coroutines: of a mixed worker: how many jobs it may have beside those of its slots,
            below 0 where its loop has no room for what probably comes next; and the most there.
        aside: how many more it may have, as so many are kept apart from others.
        dismissed: whether it is to end: no more jobs, no successor.
        totals, locks: what it has counted: of its tasks, and of the locks that they took.
        gil_waits: seconds for which its jobs were seen to wait for the GIL, by their number.
        in_line: by number of a job: kind and name of locks that it stands in line for, and since.
    """

    def __init__(
        self,
        name: str,
        forkserver: Forkserver,
        options: WorkerOptions,
        events: WorkerEvents,
        *,
        inline: bool,
        call: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self.name = name
        with contextlib.ExitStack() as undo:  # where a descriptor is missing, the others go back
            size = options.slots, options.lend, options.room
            memory = shared_memory(SlotTable.bytes_of(*size))
            undo.callback(os.close, memory)
            self.table = SlotTable(memory, *size)
            ours, theirs = (undo.enter_context(end) for end in socket.socketpair())
            self.host: Host = (
                InlineHost(name, theirs, options, self.table, call)
                if inline
                else ProcessHost(forkserver, theirs, options, memory)
            )
            undo.pop_all()
        if inline:
            os.close(memory)
        self._link = Link(ours, self._received, self._lost, lambda: events.heard(self))
        self.coroutines = options.coroutines
        self.tasks: dict[int, str] = {}
        self.finished = 0
        self.gil: GilFutex | None = None
        self.seen: Tally | None = Tally()
        self.process_id = ""
        self.importing: str | None = None
        self.published: dict[str, bytes] = {}
        self.libraries: list[str] = []
        self.empty: list[str] = []
        self.entries: list[tuple[str, bytes]] = []
        self.ready = False
        self.stalled = False
        self.worn = False
        self.waiting = self.asking = self.lent = self.beside = self.aside = 0
        self.waits_for: frozenset[str] = frozenset()
        self.run_first: list[tuple[str, str]] = []
        self.dismissed = False
        self.totals: Totals = {}
        self.locks = Statistics()
        self.gil_waits: dict[int, float] = {}
        self.in_line: Mapping[int, Sequence[tuple[str, str, float]]] = {}
        self._events = events
        self._claims: dict[int, Claim] = {}  # by number, in the order in which they were sent
        self._asked_to_stop: dict[int, float] = {}  # by number, time.monotonic()
        self._sentence: Sentence | None = None  # once it was killed for late jobs
        self._killed = False  # because a person has asked for it
        self._sent = 0
        self._lateness = Lateness(self.table, self.thread_state, lambda: core_use(self.process))
        self.began = self._heard = self._recalled = time.monotonic()

    @property
    def process(self) -> psutil.Process | None:
        """Its process, if it has one of its own."""
        return self.host.process

    @property
    def clogged(self) -> bool:
        """Whether it has not read what it was sent before, so that it should get no job."""
        return self._link.clogged

    def pause(self) -> None:
        """Read nothing from it for now."""
        self._link.pause()

    def resume(self) -> None:
        """Read on."""
        self._link.resume()

    @property
    def slots(self) -> int:
        """How many jobs it can hold that all get a slot."""
        return self.table.slots + self.lent + self.beside + self.aside

    # What it holds

    def __len__(self) -> int:
        return len(self._claims)

    def holds(self, job_ids: Collection[str]) -> bool:
        """Whether it holds one of these jobs."""
        return any(claim.job_id in job_ids for claim in self._claims.values())

    def unbegun(self, queues: Collection[str]) -> list[int]:
        """The numbers of jobs of these queues that it holds and whose functions have not begun."""
        begun = {state.taken for state in self.table.read() if state.task}
        return [
            number
            for number, claim in self._claims.items()
            if claim.queue in queues and number not in begun
        ]

    def begun(self) -> set[str]:
        """The jobs that its slots have begun, by id; some may have ended."""
        taken = self.table.all_taken()
        return {claim.job_id for number, claim in self._claims.items() if number in taken}

    def in_slots(self) -> list[tuple[int, SlotState, Claim]]:
        """Each slot that runs a job, by its number, and the job. Any thread may ask."""
        claims = self._claims.copy()
        return [
            (slot, state, claims[state.taken])
            for slot, state in enumerate(self.table.read())
            if state.running and state.taken in claims
        ]

    def send(self, claims: Iterable[Claim], *, can_wait: bool = False) -> None:
        """Send jobs to its inbox; it may tell of their ends later if these can wait."""
        if not self._claims:
            self._heard = time.monotonic()  # it was idle until now, not silent
        jobs = dict(enumerate(claims, self._sent + 1))
        self._sent += len(jobs)
        self._claims.update((number, claim.delivered()) for number, claim in jobs.items())
        self._link.send(frames.JOBS, jobs, can_wait)

    def recall(self) -> None:
        """Ask back what no slot has taken yet."""
        self._recalled = time.monotonic()
        self._link.send(frames.RECALL)

    def recall_some(self, numbers: Sequence[int]) -> None:
        """Ask back what of these no slot has taken yet."""
        self._link.send(frames.RECALL, numbers)

    def stop_job(self, job_id: str) -> bool:
        """Ask it to end a job, whether it runs or waits; returns whether it has the job."""
        for number, claim in self._claims.items():
            if claim.job_id == job_id:
                self.recall()  # first, so that it is either back or taken when the other arrives
                self._stop(number)
                return True
        return False

    def kill_running(self) -> bool:
        """End the process and the jobs that it has begun; returns whether there are any."""
        self._killed = self.process is not None and bool(self.begun())
        if self._killed:
            self.host.kill()
        return self._killed

    def leases_lost(self, executions: Collection[str]) -> None:
        """Let jobs know that their leases are lost; end those that have locks."""
        lost = [n for n, claim in self._claims.items() if claim.execution in executions]
        if lost:
            self._link.send(frames.LOST, lost)
        for number in lost:
            if self._claims[number].locks:  # what it has locked may be another's by now
                self._stop(number)

    def watch(self, now: float) -> bool:
        """Kill it if jobs are too late, and ask back what waits behind long ones.

        Returns whether a job may be late, by time.monotonic(): it is to be looked at again soon.
        """
        if self._sentence is None:
            self._kill_if_late(now)
        # More than once, as a claim that was under way may have sent it more meanwhile.
        if self._has_waiting() and now - max(self._heard, self._recalled) > STALL_S:
            self.stalled = True
            self.recall()
        return self._lateness.is_close

    def _has_waiting(self) -> bool:
        """Whether it holds jobs that no slot has taken."""
        held = len(self._claims)
        # The table is worth reading only where a slot too many may be at work.
        return held > self.slots and not self._link.paused and held > self.table.running()

    def at_work(self) -> dict[str, str]:
        """The tasks of the jobs that its slots have begun, by execution."""
        return {
            self._claims[state.taken].execution: self.tasks.get(state.task, "")
            for state in self.table.read()
            if state.taken in self._claims
        }

    def tell_died(self, claim: Claim, task: str, status: str, reason: str, consumer: str) -> None:
        """Have its middleware hear of a job of another worker, which is no more.

        Args:
            consumer: of that worker, if it is another one.
        """
        self._link.send(frames.DIED, claim, task, status, reason, consumer)

    def resize(self, slots: int, coroutines: int) -> None:
        """Have so many threads and coroutines from now on; it is a mixed worker."""
        self.table.slots, self.coroutines = slots, coroutines
        self._link.send(frames.RESIZE, slots, coroutines)

    def keep_apart(self, tasks: Collection[str], most: int) -> None:
        """Have it run one job of these tasks at a time; so many more may stand aside."""
        self._link.send(frames.APART, list(tasks), most)

    def look_inside(self) -> None:
        """Ask it to sample its own threads."""
        self._link.send(frames.LOOK)

    # From start to end

    async def start(self) -> None:
        """Have it begin, and listen to it."""
        await self.host.start()
        await self._link.connect()

    async def said_all(self) -> None:
        """Wait until everything that it had sent has been read."""
        self._link.resume()
        await asyncio.shield(self._link.closed)
        await self.host.said_all()

    def dismiss(self) -> None:
        """Close the socket: the worker takes it as its end."""
        self.dismissed = True
        self._link.close()

    def bury(self, death: Death | None) -> list[Settled]:
        """Say what comes of the jobs that it will not finish.

        A delivery counts for those that may have killed it: what its slots took last. What was
        finished before and not reported yet is innocent, and so is what only waited for other jobs
        while one was at work. When it was killed for late jobs, it is known which these are; they
        end, and the others are given back uncounted.

        Args:
            death: how it ended; None if it was ended on purpose.
        """
        taken = {state.taken: state for state in self.table.read()}
        settled: list[Settled] = []
        at_work = any(not taken[n].waits for n in taken.keys() & self._claims.keys())
        for number, claim in self._claims.items():
            if (state := taken.get(number)) is None:
                outcome = Outcome(RETURNED)
            elif self._killed:
                outcome = killed_outcome()
            elif self._sentence is not None and number in self._sentence.ends:
                outcome = self._outcome_of_late(claim, state)
                if state.at_stop is AtStop.HAS_ENDED:
                    claim = claim._replace(phase=STOPPED)  # noqa: PLW2901 - its callback has begun
            elif self._sentence is not None:
                outcome = begun_and_returned(SUSPECT if number in self._sentence.apart else 1)
            elif death is not None and not (state.waits and at_work):
                outcome = crashed_outcome(claim, death)
            else:
                outcome = begun_and_returned()
            settled.append((claim, outcome))
        self._claims.clear()
        return settled

    def death(self) -> Death:
        """How it ended; it has."""
        if self._sentence is None:
            return self.host.death(None)
        only_stopped = self._sentence.ends and self._sentence.ends <= self._asked_to_stop.keys()
        return self.host.death("stop" if only_stopped else "timeout")

    # Inside

    def _stop(self, number: int) -> None:
        self._asked_to_stop.setdefault(number, time.monotonic())
        self._link.send(frames.STOP, number)

    def _lost(self) -> None:
        if not self.dismissed:
            self.host.kill()  # it cannot be spoken to any more: a task has closed its files, say

    def _received(self, frame: list[Any]) -> None:
        kind, *rest = frame
        self._heard = time.monotonic()
        if kind == frames.OUTCOMES:
            self._ended(*rest)
        elif kind == frames.FAILURES:
            self._events.failed(map(Failure._make, rest[0]))
        elif kind == frames.UNBEGUN:
            self._returned(*rest)
        elif kind == frames.AGAIN:
            self._again(*rest)
        elif kind in (frames.PROGRESS, frames.META):
            told = [(self._claims.get(number), note) for number, note in rest[0].items()]
            self._events.noted([(claim, note) for claim, note in told if claim is not None])
        elif kind == frames.TASK:
            number, name = rest
            self.tasks[number] = name
        elif kind == frames.LOCKS:
            self.locks = total([Statistics.from_wire(wire) for wire in rest[0]])
        elif kind == frames.IN_LINE:
            [self.in_line] = rest
        elif kind == frames.SEEN:
            self.seen = Tally(*rest) if rest else None
        else:
            self._told_of_itself(kind, rest)
        self._events.heard(self)

    def _told_of_itself(self, kind: str, rest: list[Any]) -> None:
        if kind == frames.IMPORTING:
            [self.importing] = rest
        elif kind == frames.PUBLISHED:
            [self.published] = rest
        elif kind == frames.READY:
            self.importing = None
            memory, gil, self.libraries, self.empty, self.process_id, entries = rest
            self.host.peak_memory = memory
            self.gil = gil and GilFutex(*gil)
            self.entries = [(name, bytes(entry)) for name, entry in entries]
            self.ready = True
            self._events.ready(self)
        elif kind == frames.WORN:
            self.worn = True
            self._events.worn(self, *rest)
        elif kind == frames.BROKEN:
            self._events.broken(self, *rest)
        elif kind == frames.WAITS:
            self.waiting, self.asking, queues, first, self.lent, self.beside, self.aside = rest
            self.waits_for = frozenset(queues)
            self.run_first = [(queue, job_id) for queue, job_id in first]

    def _ended(self, outcomes: Mapping[int, Sequence[Any]], totals: Mapping[str, Any]) -> None:
        self.stalled = False
        self.finished += len(outcomes)
        for name, wire in totals.items():
            self.totals[name] = TaskTotals.from_wire(wire)
        settled = [
            (self._claims.pop(number), Outcome._make(wire)) for number, wire in outcomes.items()
        ]
        if self.gil_waits:
            settled = [
                (claim, outcome._replace(gil_time=self.gil_waits.pop(number, 0.0)))
                for number, (claim, outcome) in zip(outcomes, settled, strict=True)
            ]
            waits = self.gil_waits.copy().items()  # of jobs that had just ended, too
            self.gil_waits = {n: seconds for n, seconds in waits if n in self._claims}
        for number in self._asked_to_stop.keys() & outcomes.keys():
            del self._asked_to_stop[number]
        self._events.ended(self, settled)

    def _returned(self, numbers: Sequence[int], all_of_it: bool) -> None:  # noqa: FBT001 - a frame's
        back: list[Claim] = []
        stopped: list[Settled] = []
        for number in numbers:
            claim = self._claims.pop(number)
            if self._asked_to_stop.pop(number, None) is None:
                back.append(claim)
            else:
                stopped.append((claim, stopped_outcome(claim)))
        if stopped:
            self._events.stopped(stopped)
        self._events.returned(self, back, all_of_it=all_of_it)

    def _again(self, number: int, wire: Sequence[Any]) -> None:
        self.gil_waits.pop(number, None)
        claim = self._claims.pop(number)
        if self._asked_to_stop.pop(number, None) is None:
            self._events.again([(claim, Outcome._make(wire))])
        else:
            self._events.stopped([(claim, stopped_outcome(claim))])

    def _kill_if_late(self, now: float) -> None:
        for number in self._asked_to_stop:
            self._link.send(frames.STOP, number)  # it may not have been interruptible
        self._sentence = self._lateness.look(now, self._claims, self._asked_to_stop)
        if self._sentence is not None:
            self.host.kill()

    def thread_state(self, thread: int) -> str | None:
        """What one of its threads does, as any thread may ask; None when there is no telling."""
        return known_state(self.process.pid, thread, self.gil, self.table) if self.process else None

    def _outcome_of_late(self, claim: Claim, state: SlotState) -> Outcome:
        """The end of a job that it had to be killed for, which it cannot count itself."""
        outcome = late_outcome(claim, state, stopped=state.taken in self._asked_to_stop)
        outcome = outcome._replace(task=self.tasks.get(state.task, UNKNOWN))
        count(self.totals, [outcome])
        return outcome

"""Looks at the workers from outside, adds up what their threads do, and says what the GIL costs.

In the supervisor's event loop: a thread would have to take the GIL from it, and costs more. For
each worker the best source that there is:

external: this process reads what the worker's threads do.
internal: the worker does so itself, where the system does not let another process look.
estimate: CPU time and how many slots run are all there is.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import psutil

from heori_common.metrics import MOST_TASKS, bounded
from heori_common.platform import TELLS_OF_THREADS
from heori_consumer.beat import Beat
from heori_consumer.between.slot_table import SlotTable, Work
from heori_consumer.gil.states import (
    GIL_WAIT,
    LOOKS_PER_S,
    READS_PER_S,
    WAIT,
    GilFutex,
    Tally,
    pause,
    state_of,
)
from heori_consumer.gil.usage import ThreadUse, cpu_seconds, line_of, thread_use

Source = Literal["external", "internal", "estimate"]

# How often figures are renewed, and over how long ratios are taken.
RENEW_EVERY_S = 1.0
WINDOW_S = 15.0
# What a ratio is not taken from: fewer seconds of threads than this say nothing.
LEAST_SEEN_S = 0.5
# By how much less often workers are looked at that have one thread for jobs, and no more than that:
# it waits for no other job, and each look wakes this process.
ALONE_LESS_OFTEN = 4
# Threads whose use is read at each look: it takes three times as long as their states.
USES_PER_LOOK = 2

States = Mapping[str, float]  # seconds by state


@dataclass(frozen=True, slots=True)
class Use:
    """What the workers of one place have used so far; counters of Prometheus."""

    cpu: float = 0.0  # seconds
    runqueue: float = 0.0  # seconds
    voluntary: int = 0  # context switches
    involuntary: int = 0
    loop_busy: float = 0.0  # seconds
    states: States = field(default_factory=dict)

    def __add__(self, other: "Use") -> "Use":
        return Use(
            self.cpu + other.cpu,
            self.runqueue + other.runqueue,
            self.voluntary + other.voluntary,
            self.involuntary + other.involuntary,
            self.loop_busy + other.loop_busy,
            _sum(self.states, other.states),
        )

    def since(self, before: "Use") -> "Use":
        """What of it was used after so much."""
        return Use(
            self.cpu - before.cpu,
            self.runqueue - before.runqueue,
            self.voluntary - before.voluntary,
            self.involuntary - before.involuntary,
            self.loop_busy - before.loop_busy,
            _difference(before.states, self.states),
        )


class Place(NamedTuple):
    """What the worker of a place is like now."""

    source: Source
    gil_enabled: bool
    gil_wait: float  # of the time of its busy threads
    parallelism: float  # CPU seconds a second
    gil_loss: float  # of the throughput that would be possible
    loop_lag: float | None  # seconds, of its event loop if it has one


@dataclass(frozen=True, slots=True)
class GilReport:
    """All figures, as of one moment.

    Attributes:
        uses: by place, of all workers that it has had.
        places: those that have a worker.
        tasks: seconds by state of the threads that had a job of each.
        speedups: how many times as many jobs of a task processes would do than these threads.
        at: the time.monotonic() of that moment; 0 before the first.
    """

    uses: dict[str, Use] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    tasks: dict[str, States] = field(default_factory=dict)
    speedups: dict[str, float] = field(default_factory=dict)
    at: float = 0.0


class Watched(Protocol):
    """What the sampler asks of a worker; `pool.handle` says what each of them is."""

    name: str
    table: SlotTable
    tasks: dict[int, str]
    gil: GilFutex | None
    seen: Tally | None
    gil_waits: dict[int, float]
    ready: bool

    @property
    def process(self) -> psutil.Process | None:
        """Its process, if it has one of its own."""

    def look_inside(self) -> None:
        """Have it sample its own threads."""


class Sampler:
    """Watches all workers that have a process of their own.

    Args:
        workers: returns those that there are now.
        best: the source to begin with; the others follow where it does not work.
        occupied: set while any of them has jobs; when none has, there is next to nothing to see.

    Attributes:
        report: the latest; replaced as a whole, so that another thread can read it.
        cpu: seconds that all this has cost so far.
    """

    def __init__(
        self,
        workers: Callable[[], Iterable[Watched]],
        cores: float,
        best: Source,
        occupied: asyncio.Event,
        beat: Beat,
    ) -> None:
        self._workers = workers
        self._cores = cores
        self._best = best
        self._occupied = occupied
        self._beat = beat
        self._subjects: dict[Watched, _Subject] = {}
        self._uses: dict[str, Use] = {}  # of the workers that are gone
        self._tasks: dict[str, States] = {}  # likewise
        self._turns: deque[tuple[_Subject, int]] = deque()  # threads whose use is to be read
        self._past: deque[tuple[float, GilReport]] = deque()
        self._looked = time.monotonic()
        self._less_often = 1
        self._next_renewal = beat.within(RENEW_EVERY_S)
        self.report = GilReport()
        self.cpu = 0.0

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            if not self._occupied.is_set() and await self._beat.wait(self._occupied, RENEW_EVERY_S):
                self._looked = time.monotonic()  # there was nothing to see before
            if self._occupied.is_set():
                await asyncio.sleep(pause() * self._less_often)
            began = time.thread_time()
            self._look(time.monotonic())
            self.cpu += time.thread_time() - began

    def _look(self, now: float) -> None:
        self._follow()
        seconds = min(now - self._looked, 1.0)  # after a stop nobody knows what has been
        self._looked = now
        busy = [(each, each.worker.table.busy()) for each in self._subjects.values()]
        threads = sum(len(work) for _, work in busy)
        alone = all(each.worker.table.has_one_thread() for each in self._subjects.values())
        self._less_often = ALONE_LESS_OFTEN if alone else 1
        for each, work in busy:
            each.look_at_loop()
            if work:
                each.look(
                    work, share=min(1.0, READS_PER_S / LOOKS_PER_S / threads), seconds=seconds
                )
        self._read_uses()
        if now >= self._next_renewal:
            self._next_renewal = self._beat.within(RENEW_EVERY_S)
            self._renew(now)

    def _follow(self) -> None:
        """Watch those workers that are there now, and keep what the others have left."""
        workers = {each for each in self._workers() if each.ready and each.process}
        for worker in self._subjects.keys() - workers:
            subject = self._subjects.pop(worker)
            subject.measure()
            self._uses[worker.name] = self._uses.get(worker.name, Use()) + subject.use()
            for name, states in subject.tasks():
                _add(self._tasks, name, states)
        for worker in workers - self._subjects.keys():
            self._subjects[worker] = _Subject(worker, self._best)

    def _read_uses(self) -> None:
        """Read the use of some threads; all have had their turn before one has another."""
        for _ in range(min(USES_PER_LOOK, len(self._turns))):
            subject, thread = self._turns.popleft()
            subject.read_use(thread)

    def _renew(self, now: float) -> None:
        if not self._turns:
            for subject in self._subjects.values():
                self._turns += [(subject, thread) for thread in subject.threads()]
        uses, tasks = self._uses.copy(), self._tasks.copy()
        on_loops: set[str] = set()  # where coroutines wait for each other, and not for the GIL
        for subject in self._subjects.values():
            subject.measure()
            name = subject.worker.name
            uses[name] = uses.get(name, Use()) + subject.use()
            for task, states in subject.tasks():
                _add(tasks, task, states)
            on_loops |= subject.tasks_on_loop()
        while self._past and now - self._past[0][0] > WINDOW_S:
            self._past.popleft()
        then, before = (
            self._past[0] if self._past else (now - RENEW_EVERY_S, GilReport(uses, {}, tasks))
        )
        recent = {name: use.since(before.uses.get(name, Use())) for name, use in uses.items()}
        parallelism = {name: use.cpu / (now - then) for name, use in recent.items()}
        # What is lost is at most what is idle. Cores that other workers use are not.
        idle = max(0.0, 1.0 - sum(parallelism.values()) / self._cores)
        places = {}
        for subject in self._subjects.values():
            name = subject.worker.name
            enabled = subject.worker.table.gil_enabled()
            waits = _gil_wait(recent[name].states, parallelism[name]) if enabled else 0.0
            places[name] = Place(
                subject.source,
                enabled,
                waits,
                parallelism[name],
                min(waits, idle),
                subject.lag(),
            )
        speedups = {}
        none_has_gil = bool(places) and not any(place.gil_enabled for place in places.values())
        mean = sum(parallelism.values()) / max(1, len(places))
        for name in tasks.keys() - on_loops:
            states = tasks[name]
            lately = _difference(before.tasks.get(name, {}), states)
            if sum(lately.values()) >= LEAST_SEEN_S:
                waits = 0.0 if none_has_gil else _gil_wait(lately, mean)
                speedups[name] = 1 / (1 - min(waits, idle, 0.99))
        self.report = GilReport(uses, places, tasks, speedups, now)
        self._past.append((now, self.report))


class _Subject:
    """One worker under observation."""

    def __init__(self, worker: Watched, best: Source) -> None:
        assert worker.process is not None
        self.worker = worker
        self._process = worker.process
        self._best = best
        self._asked = False  # the worker, to look by itself
        self._tally = Tally()
        self._unsplit = Tally()  # what an estimate is to be made of
        self._uses: dict[int, ThreadUse] = {}  # by thread
        self._cpu = cpu_seconds(self._process) or 0.0
        self._lags: deque[tuple[float, float]] = deque()  # each with its time
        self._loop_busy = 0.0
        self._on_loop: set[int] = set()  # tasks that its event loop was seen to run

    @property
    def source(self) -> Source:
        """The best that works."""
        known = self.worker.gil is not None or not self.worker.table.gil_enabled()
        readable = TELLS_OF_THREADS and self.worker.seen is not None
        return self._best if known and readable else "estimate"

    def threads(self) -> list[int]:
        """Those that run its jobs."""
        return self.worker.table.threads()

    def look(self, busy: Mapping[Work, int], *, share: float, seconds: float) -> None:
        """Add what its threads do now."""
        at = self.worker.table.at_work()
        if loop := self.worker.table.loop():  # beside it there may be threads
            self._on_loop.update(task for thread, task in busy if thread == loop)
        if self.source == "external":
            states, seconds = self._tally.look(
                busy, at, self._states_of, share=share, seconds=seconds
            )
            if GIL_WAIT in states.values():
                self._note_waits(states, seconds)
        elif self.source == "estimate":
            self._unsplit.look(busy, at, _waiting, share=1.0, seconds=seconds)
        elif not self._asked:
            self._asked = True
            self.worker.look_inside()

    def _note_waits(self, states: Mapping[int, str], seconds: float) -> None:
        """Note which jobs wait for the GIL; of those that share a thread, nobody can say."""
        table, waits = self.worker.table, self.worker.gil_waits
        waiting = {thread for thread, state in states.items() if state == GIL_WAIT}
        for _, number in table.taken_in(waiting - {table.loop()}):
            waits[number] = waits.get(number, 0.0) + seconds

    def look_at_loop(self) -> None:
        """Note how much its event loop is behind."""
        if self._loop_busy:
            now = time.monotonic()
            self._lags.append((now, self.worker.table.loop_lag()))
            while now - self._lags[0][0] > WINDOW_S:
                self._lags.popleft()

    def read_use(self, thread: int) -> None:
        """Renew what is known of one thread."""
        if use := thread_use(self._process.pid, thread):
            self._uses[thread] = use

    def measure(self) -> None:
        """Renew what is known of the process."""
        table = self.worker.table
        self._loop_busy = max(self._loop_busy, table.loop_busy())
        cpu = cpu_seconds(self._process) or self._cpu
        used, self._cpu = cpu - self._cpu, cpu
        busy = sum(self._unsplit.threads.values())
        if busy:
            self._tally.add_estimate(self._unsplit, min(1.0, used / busy))
            self._unsplit = Tally()

    def use(self) -> Use:
        """What it has used."""
        uses = self._uses.values()
        return Use(
            self._cpu,
            sum(use.runqueue for use in uses),
            sum(use.voluntary for use in uses),
            sum(use.involuntary for use in uses),
            self._loop_busy,
            dict(self._seen().threads),
        )

    def tasks(self) -> Iterator[tuple[str, States]]:
        """What threads did that had a job of each task."""
        for number, states in self._seen().tasks.items():
            if name := self.worker.tasks.get(number):
                yield name, dict(states)

    def tasks_on_loop(self) -> set[str]:
        """Those that its event loop was seen to run."""
        return {self.worker.tasks[each] for each in self._on_loop if each in self.worker.tasks}

    def lag(self) -> float | None:
        """The longest lag of its event loop lately."""
        return max((lag for _, lag in self._lags), default=None)

    def _seen(self) -> Tally:
        return (self._asked and self.worker.seen) or self._tally

    def _states_of(self, threads: Sequence[int]) -> dict[int, str]:
        states = {}
        try:
            for thread in threads:
                if line := line_of(self._process.pid, thread):
                    states[thread] = state_of(line, self.worker.gil)
        except PermissionError:
            self._best = "internal"
        return states


def _waiting(threads: Sequence[int]) -> dict[int, str]:
    return dict.fromkeys(threads, WAIT)


def _gil_wait(states: States, parallelism: float) -> float:
    """The share of threads' time in which they wait for the GIL.

    Where it cannot be told what they wait for: it is for the GIL as far as one thread computes
    all the time.
    """
    total = sum(states.values())
    if total < LEAST_SEEN_S:
        return 0.0
    return (states.get(GIL_WAIT, 0.0) + states.get(WAIT, 0.0) * min(1.0, parallelism)) / total


def _add(tasks: dict[str, States], name: str, states: States) -> None:
    task = bounded(name, tasks, MOST_TASKS)
    tasks[task] = _sum(tasks.get(task, {}), states)


def _sum(one: States, other: States) -> dict[str, float]:
    return {state: one.get(state, 0.0) + other.get(state, 0.0) for state in one.keys() | other}


def _difference(before: States, now: States) -> dict[str, float]:
    return {state: seconds - before.get(state, 0.0) for state, seconds in now.items()}

"""Which workers there are: started, replaced when they die, recycled when they are worn.

Each place has one worker that takes jobs. A worker that is to be recycled keeps its place until
its successor is ready, and then finishes what it has: no slot is missing meanwhile.

There may come to be more places, or fewer. A place that is no more leaves its worker to finish what
it has, as a recycled one does.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from heori_common import logs
from heori_consumer.auto.size import Size
from heori_consumer.between.options import WorkerOptions
from heori_consumer.pool.forkserver import Forkserver
from heori_consumer.pool.guest import Guest
from heori_consumer.pool.handle import WorkerEvents, WorkerHandle
from heori_consumer.pool.host import LAST_WORDS_S, Death
from heori_consumer.pool.orphans import Orphans
from heori_consumer.pool.start_trouble import StartTrouble
from heori_consumer.pool.zygote import Zygote

log = logs.get_logger(__name__)

# What a worker without a job has for its end at least, however late it is.
GOODBYE_S = 0.5
# Until it is tried again to connect a worker for which no file was left.
FILES_AGAIN_S = 1.0
ALONE = "alone"  # the name of workers that run one suspect each


class TasksBroken(RuntimeError):
    """The task modules cannot be imported; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """P × S to begin with, and when to replace a worker that is well."""

    processes: int
    worker: WorkerOptions
    batch: int = 128  # jobs per claim at most
    inline: bool = False  # in the supervisor's own process
    preload: bool = False  # whether workers share the modules of tasks, and not just libraries
    grace: float = 25.0  # seconds that a worker without a job has for its end
    recycle_after: int | None = None
    max_rss: int | None = None  # bytes
    max_files: int | None = None  # open ones
    max_threads: int | None = None  # beside its own
    most_alone: int | None = None  # processes for one suspect each, at a time
    zygote: Zygote | None = None  # what forks the workers, if it is there already
    guest: Guest | None = None  # where the supervisor is not alone in its process


class Roster:
    """All workers of one consumer.

    Attributes:
        options: with the size that it is to have now.
        workers: those that take jobs, by place, from 0 on; a place is empty while its worker
            is replaced.
        alone: the processes that run one suspect each.
        published: what is to be published of the tasks, once the first worker is ready.
        restarts: workers that were replaced, by reason.
        trouble: what stands in the way of new workers.
        failure: fails when something in here does that should not.
        entries: name and packed `ScheduleEntry` of the periodic jobs that the latest worker knows.
    """

    def __init__(
        self,
        options: PoolOptions,
        events: WorkerEvents,
        on_death: Callable[[WorkerHandle, Death | None], None],
    ) -> None:
        """Prepare.

        Args:
            events: told what each worker says.
            on_death: called once for each worker that has ended, with how, or with None for
                those that were ended on purpose.
        """
        self.options = options
        self._events = events
        self._on_death = on_death
        # In another program, what forks the workers has to be a copy of it.
        self._forkserver = Forkserver(options.zygote, renews=options.guest is None)
        self._orphans = Orphans(self._forkserver.owns)
        self.workers: dict[int, WorkerHandle] = {}
        self.alone: set[WorkerHandle] = set()
        self.published: dict[str, bytes] = {}
        self.restarts: dict[str, int] = {}
        self.trouble = StartTrouble()
        self._coming: dict[int, WorkerHandle] = {}  # that are not ready yet, by place
        self._put_off: set[WorkerHandle] = set()  # that are not even begun, because of the trouble
        self._waiting: set[int] = set()  # places for whose next worker no file is left
        self._told: set[str] = set()  # about modules without tasks
        self._reasons: dict[
            WorkerHandle, tuple[str, str]
        ] = {}  # of those that said they are broken
        self._leaving: set[WorkerHandle] = set()  # that finish what they have
        self._ending: set[WorkerHandle] = set()  # that were dismissed, and have yet to end
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._up = False  # whether all were there once
        self._apart: tuple[Collection[str], int] = (), 0
        self._founded: set[int] = set()  # places that have had a worker which was ready
        self._closing = False
        self.entries: Sequence[tuple[str, bytes]] = ()

    async def start(self) -> None:
        """Start all workers and wait until they can take jobs.

        Raises:
            TasksBroken: the task modules cannot be imported.
        """
        # Elsewhere jobs, or others, wait for children of this process.
        if not (self.options.inline or self.options.guest):
            self._orphans.watch()
        self._fill(0)
        await self._started

    def resize(self, size: Size) -> None:
        """Have so many workers, which are mixed, of so many threads and coroutines.

        Workers that come take their places first, and those that are there already come to have
        fewer slots then; workers that leave do so at once, and the others have theirs by then. So
        there are never fewer slots than before and after. Once it has started.
        """
        if self._closing:
            return
        worker = dataclasses.replace(
            self.options.worker, slots=size.slots, coroutines=size.coroutines
        )
        self.options = dataclasses.replace(self.options, processes=size.processes, worker=worker)
        self._fit()
        for place in {*self.workers, *self._coming, *self._waiting}:
            if place >= size.processes:
                self._give_up(place)
        for place in range(size.processes):
            if place not in self.workers and place not in self._coming:
                self._fill(place)

    def keep_apart(self, tasks: Collection[str], most: int) -> None:
        """Have each worker run one job of these tasks at a time; so many may stand aside there."""
        self._apart = tasks, most
        for worker in self.workers.values():
            worker.keep_apart(tasks, most)

    def _fit(self) -> None:
        """Have each worker know how many slots it is to have."""
        wanted = self.options.worker
        lacks = not self._founded.issuperset(range(self.options.processes))
        for worker in [*self.workers.values(), *self._coming.values()]:
            slots = max(wanted.slots, worker.table.slots) if lacks else wanted.slots
            coroutines = max(wanted.coroutines, worker.coroutines) if lacks else wanted.coroutines
            if (slots, coroutines) != (worker.table.slots, worker.coroutines):
                worker.resize(slots, coroutines)

    def _give_up(self, place: int) -> None:
        """Have one place less; its worker finishes what it has, with what waits in it."""
        self._waiting.discard(place)
        self._founded.discard(place)
        self.trouble.forget(str(place))
        for group in (self._coming, self.workers):
            if (worker := group.pop(place, None)) is not None:
                self._leaving.add(worker)
                # One that is just being started goes when it says its first word.
                if worker.ready or worker in self._put_off:
                    self.let_go(worker)

    def close(self) -> None:
        """Replace none any more."""
        self._closing = True
        for worker in self._put_off:
            self._dismiss(worker)

    async def stop(self, until: float) -> None:
        """End all workers.

        Args:
            until: the running loop's time, for those that have no job to end in their own way.
        """
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        workers = self.everyone()
        for group in (self.workers, self._coming, self._leaving, self.alone):
            group.clear()
        for worker in workers:
            ends_itself = worker.ready or worker in self._reasons
            if len(worker) or not ends_itself:
                worker.host.kill()
            self._on_death(worker, None)
            worker.dismiss()
        ending = [*workers, *self._ending]
        left = max(until - asyncio.get_running_loop().time(), GOODBYE_S)
        await asyncio.gather(*(self._see_off(worker, left) for worker in ending))
        await self._forkserver.close()
        for worker in ending:
            await self._reap(worker)
        self._orphans.close()

    @property
    def places(self) -> int:
        """How many places there are; one that is new counts once it has had a worker."""
        return len(self._founded) if self._up else self.options.processes

    def everyone(self) -> list[WorkerHandle]:
        """All there are. Safe to call from another thread: it is what a scrape looks at."""
        groups = self.workers.copy().values(), self._coming.copy().values()
        return [*groups[0], *groups[1], *self._leaving.copy(), *self.alone.copy()]

    def state_of(self, worker: WorkerHandle) -> str:
        """What it is there for: starting, ready, ending, or alone. Any thread may ask."""
        if worker in self.alone:
            return "alone"
        if not worker.ready:
            return "starting"
        return "ready" if worker in self.workers.copy().values() else "ending"

    def open(self) -> list[WorkerHandle]:
        """Those that take jobs."""
        return [each for each in self.workers.values() if not each.dismissed and not each.worn]

    def ready(self, worker: WorkerHandle) -> None:
        """Have a worker take its place that has said that it is ready."""
        self.trouble.over(worker.name)
        self.published = self.published or worker.published
        self.entries = worker.entries
        for sentence in worker.empty:
            if sentence not in self._told:
                self._told.add(sentence)
                log.warning("a module of HEORI_TASKS has no task", reason=sentence)
        place = next((place for place, each in self._coming.items() if each is worker), None)
        if place is None:
            return  # it is there for one suspect
        del self._coming[place]
        self._founded.add(place)
        if self._apart[0]:
            worker.keep_apart(*self._apart)
        old = self.workers.get(place)
        self.workers[place] = worker
        if old is not None:
            self._leaving.add(old)
            old.recall()
            self.let_go(old)
        if not self._up:
            self._begin_others(worker)
        elif self.options.worker.kind == "mixed":
            self._fit()

    def _begin_others(self, worker: WorkerHandle) -> None:
        """Start all others when the first is ready, which shows that the tasks can be imported."""
        everyone = range(self.options.processes)
        if not self._coming and len(self.workers) == 1:
            own = self.options.worker.policy.tasks if self.options.preload else ()
            self._forkserver.preload([*worker.libraries, *own])
            for place in everyone[1:]:
                self._fill(place)
        if len(self.workers) == len(everyone) and not self._started.done():
            self._up = True
            self._started.set_result(None)

    def broken(self, worker: WorkerHandle, reason: str, details: str) -> None:
        """A worker has said that it can take no jobs: a module of tasks cannot be imported, say.

        Args:
            worker: which.
            reason: in a line.
            details: a traceback, if there is one.
        """
        last = details.rstrip().rpartition("\n")[2]
        self._reasons[worker] = (f"{reason}: {last}" if last else reason, details)
        if not self._started.done():
            self._started.set_exception(TasksBroken(f"{reason}:\n{details}" if details else reason))

    def retire(self, worker: WorkerHandle, reason: str) -> None:
        """Start a successor; once it is ready, the worker ends with its last job."""
        for place, each in self.workers.items():
            if each is worker and place not in self._coming and not self._closing:
                log.info("recycling a worker", worker=worker.name, reason=reason)
                self._count(reason)
                self._fill(place)
                return

    def let_go(self, worker: WorkerHandle) -> None:
        """End a worker that is not needed any more, if it has finished what it had."""
        if len(worker) or worker.dismissed or worker not in self.alone | self._leaving:
            return
        if not worker.ready:  # its place has been given up, and it may be at a long import
            worker.host.kill()
        self._dismiss(worker)

    def _dismiss(self, worker: WorkerHandle) -> None:
        worker.dismissed = True
        self._on_death(worker, None)  # before it is struck off: no count is missing meanwhile
        self._forget(worker)
        worker.dismiss()
        self.keep(self._see_off_and_reap(worker))

    async def _see_off_and_reap(self, worker: WorkerHandle) -> None:
        self._ending.add(worker)
        await self._see_off(worker, self.options.grace)
        await self._reap(worker)
        self._ending.discard(worker)

    async def _see_off(self, worker: WorkerHandle, seconds: float) -> None:
        """Wait for the end of a worker that was dismissed; kill it when that takes longer."""
        if not worker.host.begun or self.options.inline:  # which nothing can kill
            return
        await asyncio.wait([worker.host.exited], timeout=seconds)
        if not worker.host.exited.done():
            log.warning("a worker has not ended in time; killing it", worker=worker.name)
            worker.host.kill()

    def start_alone(self) -> WorkerHandle | None:
        """Start a process with one slot, which no other job shares; None if no files are left."""
        options = dataclasses.replace(self.options.worker, slots=1)
        if options.kind == "mixed":  # one slot can run a job of either kind
            options = dataclasses.replace(options, kind="threads")
        try:
            worker = self._make(ALONE, options)
        except OSError as error:
            if not self.trouble.pause(ALONE):
                self.trouble.happened(ALONE, str(error))
            return None
        self.alone.add(worker)
        self._begin(worker)
        return worker

    def keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside; what it raises is a defect, and ends in `failure`."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._kept)

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        awaited = self.failure if self._started.done() else self._started
        if error is not None and not awaited.done():
            awaited.set_exception(error)

    def _make(self, name: str, options: WorkerOptions) -> WorkerHandle:
        return WorkerHandle(
            name,
            self._forkserver,
            options,
            self._events,
            inline=self.options.inline,
            call=self.options.guest.call if self.options.guest else None,
        )

    def _fill(self, place: int) -> None:
        if place in self._waiting:
            return
        try:
            self._occupy(place)
        except OSError as error:
            if not self._up:
                raise
            self.trouble.happened(str(place), str(error))
            self._waiting.add(place)
            self.keep(self._fill_later(place))

    async def _fill_later(self, place: int) -> None:
        """Try until there are files for a worker."""
        while place in self._waiting:
            await asyncio.sleep(FILES_AGAIN_S)
            if place not in self._waiting:  # it is given up
                return
            with contextlib.suppress(OSError):
                if not self._closing:
                    self._occupy(place)
                self._waiting.discard(place)

    def _occupy(self, place: int) -> None:
        options = dataclasses.replace(self.options.worker, publishes=not self.published)
        worker = self._coming[place] = self._make(str(place), options)
        self._begin(worker)

    def _begin(self, worker: WorkerHandle) -> None:
        self.keep(self._start(worker))

    async def _start(self, worker: WorkerHandle) -> None:
        if pause := self.trouble.pause(worker.name):
            self._put_off.add(worker)
            await asyncio.sleep(pause)
            self._put_off.discard(worker)
            if worker.dismissed:
                return
        await worker.start()

        def exited(_: "asyncio.Future[None]") -> None:
            if not worker.dismissed:
                worker.dismissed = True
                self.keep(self._replace(worker))

        # Only now: what it said before it died at its import can be read.
        worker.host.exited.add_done_callback(exited)

    async def _replace(self, worker: WorkerHandle) -> None:
        """Bury a worker that has died; its place, if it had one, gets another."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.said_all(), LAST_WORDS_S)
        worker.host.kill()  # one that has closed all of its files looks dead from here, and is not
        death = worker.death()
        if worker in self._leaving and not worker.ready:
            pass  # nobody needs it
        elif self._up and not worker.ready:
            self._count("cannot start")
            doing = f"imported {worker.importing}" if worker.importing else "started"
            reason = f"it {death.words} while it {doing}"
            self.trouble.happened(worker.name, *self._reasons.pop(worker, (reason,)))
        elif self._up:
            self._count(death.reason)
            log.error("worker died", worker=worker.name, reason=death.reason, jobs=len(worker))
        elif not self._started.done():
            self._started.set_exception(TasksBroken(_at_start(worker, death)))
        self._on_death(worker, death)
        worker.dismiss()
        place = self._forget(worker)
        await self._reap(worker)
        if place is None or place >= self.options.processes or self._closing:
            return
        if place not in self._coming:
            self._fill(place)

    async def _reap(self, worker: WorkerHandle) -> None:
        """Wait for its end."""
        await worker.host.reap()
        worker.table.detach()  # whoever still refers to the worker would keep that
        self._events.gone(worker)

    def _forget(self, worker: WorkerHandle) -> int | None:
        """Strike a worker off; returns the place it had."""
        self.alone.discard(worker)
        self._leaving.discard(worker)
        for group in (self._coming, self.workers):
            for place, each in group.items():
                if each is worker:
                    del group[place]
                    return place
        return None

    def _count(self, reason: str) -> None:
        self.restarts[reason] = self.restarts.get(reason, 0) + 1


def _at_start(worker: WorkerHandle, death: Death) -> str:
    """What has ended a worker that was not ready yet, and where."""
    if worker.importing is None:
        return f"a worker {death.words} while it started"
    return (
        f"the task module {worker.importing} has ended the worker that imported it, which "
        f"{death.words}; what it does when it is imported must not end the process"
    )

"""The worker processes and what each of them holds: P processes of S slots, whatever the model.

Dispatches claims, receives outcomes, notices death within milliseconds and restarts. It says
what came of each claim exactly once, through `on_ended` or `on_given_back`.

A job that a worker has died with before is a suspect: it gets a process of its own, with one
slot, so that it takes no neighbours with it should it kill that one, too.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import structlog

from common.protocol.commands import Ended, GivenBack
from common.protocol.job import Claim, MalformedJob, parse_timeout
from common.protocol.payload import encode_failure
from consumer.link import Worker
from consumer.totals import Outcome, TaskTotals, Totals, add
from consumer.worker import BROKEN, OUTCOMES, READY, RETURNED, WorkerOptions

log = structlog.get_logger()

# How much work a worker may have waiting beside what its slots run, in seconds. Enough to
# bridge a round trip to Redis many times over, and too little for anyone to miss the jobs.
PREFETCH = 0.02
# A worker silent for this long with jobs waiting behind running ones gives those back, seconds.
STALL = 0.1
# How long after its timeout a job that cannot be interrupted costs its worker process the life.
HARD_GRACE = 1.0
# Before a worker that did not even get ready is started anew, in seconds.
RESTART_PAUSE = 0.5
TICK = 0.05
# For what a dead worker had sent to be read, in seconds. A program that a task has started may
# keep the socket open for ever.
LAST_WORDS = 0.2


class TasksBroken(RuntimeError):
    """The task modules cannot be imported; the message is the traceback."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """P × S, and how many jobs to move at once."""

    processes: int
    batch: int  # jobs per claim at most
    worker: WorkerOptions


class Pool:
    """All workers of one consumer.

    Attributes:
        workers: by place, from 0 on; a place is empty while its worker is replaced.
        alone: the processes that run one suspect each.
        changed: set when there may be room, or nothing left.
        restarts: workers that died, by reason.
        failure: fails when something in here does that should not.
    """

    def __init__(
        self,
        options: PoolOptions,
        on_ended: Callable[[list[Ended]], None],
        on_given_back: Callable[[list[GivenBack]], None],
    ) -> None:
        self._options = options
        self._on_ended = on_ended
        self._on_given_back = on_given_back
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["consumer.worker", "consumer.preload"])
        self.workers: dict[int, Worker] = {}
        self.alone: set[Worker] = set()
        self.changed = asyncio.Event()
        self.restarts: dict[str, int] = {}
        self._suspects: list[Claim] = []  # that wait for a process of their own
        self._base: Totals = {}  # of the workers that are gone
        self._mean_run: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._draining = False

    # Life

    async def start(self) -> None:
        """Start all workers and wait until they can take jobs.

        Raises:
            TasksBroken: the task modules cannot be imported.
        """
        for place in range(self._options.processes):
            await self._fill(place)
        self._keep(self._watch())
        await self._ready

    async def stop(self) -> None:
        """End all workers, and give back what they still hold, uncounted."""
        self.recall()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        workers = self._everyone()
        self.workers.clear()
        self.alone.clear()
        for worker in workers:
            worker.stopping = True
            worker.kill()
        for worker in workers:
            self._settle(worker, counted=False, evidence="")
            await self._reap(worker)

    def recall(self) -> None:
        """Take no more jobs, and have all that have not begun given back."""
        self._draining = True
        self._give_back_uncounted(self._suspects)
        self._suspects = []
        for worker in self._everyone():
            worker.recall()

    # Jobs

    def wanted(self) -> int:
        """How many jobs to claim now: 0 while there is enough to do."""
        if self._draining or self._suspects:
            return 0
        room = target = 0
        idle = False
        for worker in self._open():
            aim = self._aim(worker)
            room += max(0, aim - len(worker.claims))
            target += aim
            idle = idle or len(worker.claims) < worker.table.slots
        if idle or room * 2 >= target:
            return min(room, self._options.batch)
        return 0

    def dispatch(self, claims: Sequence[Claim]) -> None:
        """Give claims to the workers that have the most room, and suspects to none of them."""
        room = {worker: self._aim(worker) - len(worker.claims) for worker in self._open()}
        if not room or self._draining:  # they died, or a drain began, while the claim was made
            self._give_back_uncounted(claims)
            return
        shares: dict[Worker, list[Claim]] = {}
        for claim in claims:
            if claim.deliveries > 1:
                self._suspects.append(claim)
                continue
            worker = max(room, key=room.__getitem__)
            room[worker] -= 1
            shares.setdefault(worker, []).append(claim)
        for worker, share in shares.items():
            worker.send_jobs(share)
        self._isolate()

    def cancel(self, job_ids: Collection[str]) -> None:
        """Drop those of these jobs that no slot has taken."""
        log.info("jobs were cancelled", jobs=sorted(job_ids))

    def stop_job(self, job_id: str) -> bool:
        """Stop a job that runs; returns whether it is here."""
        log.info("asked to stop a job", job=job_id)
        return False

    def held(self) -> int:
        """How many jobs are with the workers, or will be."""
        return len(self._suspects) + sum(len(worker.claims) for worker in self._everyone())

    def running(self) -> int:
        """How many slots run a job."""
        return sum(state.running for worker in self._everyone() for state in worker.table.read())

    def totals(self) -> Totals:
        """What all workers have counted, the dead included."""
        total = self._base
        for worker in self._everyone():
            total = add(total, worker.totals)
        return total

    # Inside

    def _everyone(self) -> list[Worker]:
        return [*self.workers.copy().values(), *self.alone.copy()]  # copies: scrapes are threads

    def _open(self) -> list[Worker]:
        return [each for each in self.workers.values() if each.ready and not each.stopping]

    def _aim(self, worker: Worker) -> int:
        """How many jobs a worker should have: one per slot, and more while they are short."""
        slots = worker.table.slots
        if self._mean_run is None or worker.stalled:
            return slots
        ahead = int(PREFETCH / max(self._mean_run, 1e-6)) * slots
        return slots + min(ahead, 2 * self._options.batch)

    def _received(self, worker: Worker, frame: list[Any]) -> None:
        kind, *rest = frame
        worker.heard = time.monotonic()
        if kind == OUTCOMES:
            self._ended(worker, [Outcome(*outcome) for outcome in rest[0]], rest[1])
        elif kind == RETURNED:
            self._give_back_uncounted([worker.claims.pop(number) for number in rest[0]])
        elif kind == READY:
            worker.ready = True
            workers = self.workers.values()
            if not self._ready.done() and all(each.ready for each in workers):
                self._ready.set_result(None)
        elif kind == BROKEN:
            log.error("a worker cannot import the tasks", worker=worker.name, error=rest[0])
            if not self._ready.done():
                self._ready.set_exception(TasksBroken(rest[0]))
        if worker in self.alone and not worker.claims and not worker.stopping:
            self._dismiss(worker)
        self.changed.set()

    def _ended(self, worker: Worker, outcomes: list[Outcome], totals: dict[str, Any]) -> None:
        worker.stalled = False
        for name, wire in totals.items():
            worker.totals[name] = TaskTotals.from_wire(wire)
        mean = sum(outcome.run_time for outcome in outcomes) / len(outcomes)
        old = self._mean_run
        self._mean_run = mean if old is None else 0.8 * old + 0.2 * mean
        ended = []
        for outcome in outcomes:
            claim = worker.claims.pop(outcome.number)
            ended.append(Ended(claim, outcome.succeeded, outcome.body, outcome.run_time))
            if not outcome.succeeded:
                log.warning("job failed", job=claim.job_id, task=outcome.task, error=outcome.error)
        self._on_ended(ended)

    async def _fill(self, place: int) -> None:
        worker = Worker(str(place), self._context, self._options.worker, self._received)
        self.workers[place] = worker
        await self._begin(worker, partial(self._replace, worker, place))

    async def _begin(
        self, worker: Worker, at_death: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        loop = asyncio.get_running_loop()
        sentinel = worker.process.sentinel

        def exited() -> None:
            loop.remove_reader(sentinel)
            if not worker.stopping:
                worker.stopping = True
                self._keep(at_death())

        loop.add_reader(sentinel, exited)
        await worker.connect()

    async def _replace(self, worker: Worker, place: int) -> None:
        await self._bury(worker)
        self.workers.pop(place, None)
        if self._draining:
            return
        if not worker.ready:
            await asyncio.sleep(RESTART_PAUSE)
        await self._fill(place)

    def _isolate(self) -> None:
        """Start a process for each suspect, as many at a time as there are slots."""
        most = self._options.processes * self._options.worker.slots
        while self._suspects and len(self.alone) < most and not self._draining:
            options = dataclasses.replace(self._options.worker, slots=1)
            worker = Worker("alone", self._context, options, self._received)
            self.alone.add(worker)
            worker.send_jobs([self._suspects.pop(0)])
            self._keep(self._begin(worker, partial(self._mourn, worker)))

    async def _mourn(self, worker: Worker) -> None:
        await self._bury(worker)
        self.alone.discard(worker)
        self._isolate()

    def _dismiss(self, worker: Worker) -> None:
        """End a process whose suspect has proved harmless."""
        self._base, worker.totals = add(self._base, worker.totals), {}
        self.alone.discard(worker)
        worker.close()
        self._keep(self._reap(worker))
        self._isolate()

    async def _bury(self, worker: Worker) -> None:
        """Settle what a dead worker held, once everything that it had sent has been read."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(worker.closed), LAST_WORDS)
        worker.kill()  # whoever closes all files looks dead from here, and is not
        reason, evidence = worker.cause_of_death()
        self.restarts[reason] = self.restarts.get(reason, 0) + 1
        held = len(worker.claims)
        log.error("worker died", worker=worker.name, reason=reason, jobs=held)
        self._settle(worker, counted=worker.late is None, evidence=evidence)
        await self._reap(worker)
        if not self._ready.done() and not worker.ready:
            self._ready.set_exception(TasksBroken(f"a worker {evidence} while it started"))
        self.changed.set()

    async def _reap(self, worker: Worker) -> None:
        await asyncio.to_thread(worker.process.join)
        # Before its number is free: a reader of a closed file would shadow that of the next one.
        asyncio.get_running_loop().remove_reader(worker.process.sentinel)
        worker.process.close()

    def _settle(self, worker: Worker, *, counted: bool, evidence: str) -> None:
        """Say what becomes of the jobs that a worker will not finish.

        Args:
            counted: whether this delivery counts for those that may have killed it: what its
                slots took last. What was finished before and not reported yet is innocent.
        """
        worker.close()
        self._base, worker.totals = add(self._base, worker.totals), {}
        if worker.late is not None and (late := worker.claims.pop(worker.late, None)):
            timeout = parse_timeout(late.timeout)
            text = (
                f"the job ran for longer than its timeout of {timeout} s and could not be "
                "interrupted; its worker process was killed\n"
            )
            self._on_ended([Ended(late, False, encode_failure(text), float(timeout))])
        taken = {state.taken for state in worker.table.read()}
        given_back = []
        for number, claim in worker.claims.items():
            suspect = counted and number in taken
            text = (
                f"delivered {claim.deliveries} times without an end; the last worker {evidence} "
                "while it had this job\n"
            )
            given_back.append(GivenBack(claim, suspect, encode_failure(text) if suspect else None))
        worker.claims.clear()
        if given_back:
            self._on_given_back(given_back)

    def _give_back_uncounted(self, claims: Sequence[Claim]) -> None:
        if claims:
            self._on_given_back([GivenBack(claim, counted=False) for claim in claims])

    async def _watch(self) -> None:
        """Look after jobs that are late and jobs that wait behind long ones."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for worker in self._everyone():
                self._kill_if_late(worker, now)
                waiting = len(worker.claims) > worker.table.slots
                # More than once, as a claim that was under way may have sent it more meanwhile.
                if waiting and now - max(worker.heard, worker.recalled) > STALL:
                    worker.stalled = True
                    worker.recalled = now
                    worker.recall()

    def _kill_if_late(self, worker: Worker, now: float) -> None:
        for state in worker.table.read():
            claim = worker.claims.get(state.taken)
            if not state.running or claim is None or worker.late is not None:
                continue
            try:
                timeout = parse_timeout(claim.timeout)
            except MalformedJob:
                continue  # the worker fails it by name
            if timeout > 0 and now - state.since > timeout + HARD_GRACE:
                worker.late = state.taken
                worker.kill()

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._kept)

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.failure.done():
            self.failure.set_exception(error)

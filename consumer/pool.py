"""The worker processes and what each of them holds: P processes of S slots, whatever the model.

Dispatches claims, receives outcomes, notices death within milliseconds and restarts. It says
what came of each claim exactly once, through `on_ended` or `on_given_back`.
"""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any

import psutil
import structlog

from common.protocol.commands import Ended, GivenBack
from common.protocol.job import Claim, MalformedJob, parse_timeout
from common.protocol.payload import encode_failure
from consumer import worker as worker_process
from consumer.slot_table import SlotTable
from consumer.totals import Outcome, TaskTotals, Totals, add
from consumer.worker import BROKEN, JOBS, OUTCOMES, READY, RECALL, RETURNED, WorkerOptions

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


class TasksBroken(RuntimeError):
    """The task modules cannot be imported; the message is the traceback."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """P × S, and how many jobs to move at once."""

    processes: int
    batch: int  # jobs per claim at most
    worker: WorkerOptions


class Worker(asyncio.Protocol):
    """The supervisor's end of one worker process."""

    def __init__(self, index: int, context: ForkServerContext, slots: int, pool: "Pool") -> None:
        self.index = index
        self.table = SlotTable(context, slots)
        self.claims: dict[int, Claim] = {}  # by number, in the order they were sent
        self.ready = False
        self.stalled = False
        self.stopping = False  # it is to end: no more jobs, no restart
        self.late: int | None = None  # the number of the job it is being killed for
        self.heard = self.recalled = time.monotonic()
        self.totals: Totals = {}
        self.closed = asyncio.get_running_loop().create_future()
        self.process: ForkServerProcess
        self.handle: psutil.Process  # the same; this one is sure whom it kills
        self._sent = 0
        self._pool = pool
        self._frames = worker_process.unpacker()
        self._transport: asyncio.Transport | None = None

    def send_jobs(self, claims: Sequence[Claim]) -> None:
        """Send jobs to its inbox."""
        jobs = []
        for claim in claims:
            self._sent += 1
            self.claims[self._sent] = claim
            jobs.append([self._sent, claim.job_id, claim.claimed_at, claim.problem, claim.values])
        if len(self.claims) == len(jobs):
            self.heard = time.monotonic()  # it was idle until now, not silent
        self._write([JOBS, jobs])

    def recall(self) -> None:
        """Ask back what no slot has taken yet."""
        self._write([RECALL])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        for frame in self._frames:
            self._pool.received(self, frame)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if not self.stopping:
            self.kill()  # it cannot be spoken to any more: a task has closed its files, say

    def kill(self) -> None:
        """End the process, if it is still this one that has its number."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.handle.kill()

    def close(self) -> None:
        """Close the socket: the worker process takes it as its end."""
        self.stopping = True
        if self._transport is not None:
            self._transport.abort()

    def _write(self, frame: list[Any]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(worker_process.pack(frame))


class Pool:
    """All workers of one consumer."""

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
        self.changed = asyncio.Event()  # there may be room, or nothing left
        self.restarts: dict[str, int] = {}  # by reason
        self._base: Totals = {}  # of the workers that are gone
        self._mean_run: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._draining = False

    # Life

    async def start(self) -> None:
        """Start all workers and wait until they can take jobs.

        Raises:
            TasksBroken: the task modules cannot be imported.
        """
        for index in range(self._options.processes):
            await self._spawn(index)
        self._keep(self._watch())
        await self._ready

    async def stop(self) -> None:
        """End all workers, and give back what they still hold, uncounted."""
        self._draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self.workers.values():
            self._end(worker)
        for worker in list(self.workers.values()):
            await asyncio.to_thread(worker.process.join)
            self._settle(worker, counted=False, evidence="")
            del self.workers[worker.index]
            worker.process.close()

    def recall(self) -> None:
        """Take no more jobs, and have all that have not begun given back."""
        self._draining = True
        for worker in self.workers.values():
            worker.recall()

    # Jobs

    def wanted(self) -> int:
        """How many jobs to claim now: 0 while there is enough to do."""
        if self._draining:
            return 0
        room = target = 0
        idle = False
        for worker in self.workers.values():
            if worker.ready and not worker.stopping:
                aim = self._aim(worker)
                room += max(0, aim - len(worker.claims))
                target += aim
                idle = idle or len(worker.claims) < worker.table.slots
        if idle or room * 2 >= target:
            return min(room, self._options.batch)
        return 0

    def dispatch(self, claims: Sequence[Claim]) -> None:
        """Give claims to the workers that have the most room."""
        shares: dict[int, list[Claim]] = {}
        room = {
            index: self._aim(worker) - len(worker.claims)
            for index, worker in self.workers.items()
            if worker.ready and not worker.stopping
        }
        if not room or self._draining:  # they died, or a drain began, while the claim was made
            self._on_given_back([GivenBack(claim, counted=False) for claim in claims])
            return
        for claim in claims:
            index = max(room, key=room.__getitem__)
            room[index] -= 1
            shares.setdefault(index, []).append(claim)
        for index, share in shares.items():
            self.workers[index].send_jobs(share)

    def held(self) -> int:
        """How many jobs are with the workers."""
        return sum(len(worker.claims) for worker in self.workers.values())

    def running(self) -> int:
        """How many slots run a job."""
        workers = list(self.workers.values())  # a scrape comes from another thread
        return sum(state.running for worker in workers for state in worker.table.read())

    def totals(self) -> Totals:
        """What all workers have counted, the dead included."""
        total = self._base
        for worker in list(self.workers.values()):
            total = add(total, worker.totals)
        return total

    def received(self, worker: Worker, frame: list[Any]) -> None:
        """A frame from a worker."""
        kind, *rest = frame
        worker.heard = time.monotonic()
        if kind == OUTCOMES:
            outcomes = [Outcome(*outcome) for outcome in rest[0]]
            worker.stalled = False
            for name, wire in rest[1].items():
                worker.totals[name] = TaskTotals.from_wire(wire)
            self._learn(outcomes)
            ended = []
            for outcome in outcomes:
                claim = worker.claims.pop(outcome.number)
                ended.append(Ended(claim, outcome.succeeded, outcome.body, outcome.run_time))
                if not outcome.succeeded:
                    log.warning(
                        "job failed", job=claim.job_id, task=outcome.task, error=outcome.error
                    )
            self._on_ended(ended)
        elif kind == RETURNED:
            self._on_given_back(
                [GivenBack(worker.claims.pop(number), counted=False) for number in rest[0]]
            )
        elif kind == READY:
            worker.ready = True
            if not self._ready.done() and all(each.ready for each in self.workers.values()):
                self._ready.set_result(None)
        elif kind == BROKEN:
            log.error("a worker cannot import the tasks", worker=worker.index, error=rest[0])
            if not self._ready.done():
                self._ready.set_exception(TasksBroken(rest[0]))
        self.changed.set()

    # Inside

    def _aim(self, worker: Worker) -> int:
        """How many jobs a worker should have: one per slot, and more while they are short."""
        slots = worker.table.slots
        if self._mean_run is None or worker.stalled:
            return slots
        ahead = int(PREFETCH / max(self._mean_run, 1e-6)) * slots
        return slots + min(ahead, 2 * self._options.batch)

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        mean = sum(outcome.run_time for outcome in outcomes) / len(outcomes)
        old = self._mean_run
        self._mean_run = mean if old is None else 0.8 * old + 0.2 * mean

    async def _spawn(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        worker = Worker(index, self._context, self._options.worker.slots, self)
        with ours, theirs:
            worker.process = self._context.Process(
                target=worker_process.main,
                args=(theirs, self._options.worker, worker.table),
                name=f"heori-worker-{index}",
            )
            with _without_main():
                worker.process.start()
            ours.setblocking(False)
            worker.handle = psutil.Process(worker.process.pid)
            self.workers[index] = worker
            await loop.create_connection(lambda: worker, sock=ours.dup())
        loop.add_reader(worker.process.sentinel, self._exited, worker)

    def _exited(self, worker: Worker) -> None:
        asyncio.get_running_loop().remove_reader(worker.process.sentinel)
        if not worker.stopping and not self._draining:
            self._keep(self._replace(worker))
        elif not worker.stopping:
            self._keep(self._bury(worker))

    async def _replace(self, worker: Worker) -> None:
        await self._bury(worker)
        if not worker.ready:
            await asyncio.sleep(RESTART_PAUSE)
        await self._spawn(worker.index)

    async def _bury(self, worker: Worker) -> None:
        """Settle what a dead worker held, once everything that it had sent has been read."""
        with contextlib.suppress(TimeoutError):
            # A program that a task has started may keep the socket open for ever.
            await asyncio.wait_for(asyncio.shield(worker.closed), 0.2)
        worker.kill()  # whoever closes all files looks dead from here, and is not
        reason, evidence = _cause(worker)
        self.restarts[reason] = self.restarts.get(reason, 0) + 1
        log.error(
            "worker died", worker=worker.index, reason=reason, pid=worker.process.pid,
            jobs=len(worker.claims),
        )  # fmt: skip
        self._settle(worker, counted=worker.late is None, evidence=evidence)
        if self.workers.get(worker.index) is worker:
            del self.workers[worker.index]
        worker.process.close()
        if not self._ready.done() and not worker.ready:
            self._ready.set_exception(TasksBroken(f"a worker {evidence} while it started"))
        self.changed.set()

    def _settle(self, worker: Worker, *, counted: bool, evidence: str) -> None:
        """Say what becomes of the jobs that a worker will not finish.

        Args:
            counted: whether those that had begun count this delivery.
        """
        worker.close()
        self._base, worker.totals = add(self._base, worker.totals), {}
        begun = max(state.taken for state in worker.table.read())
        if worker.late is not None and (late := worker.claims.pop(worker.late, None)):
            timeout = parse_timeout(late.timeout)
            text = (
                f"the job ran for longer than its timeout of {timeout} s and could not be "
                "interrupted; its worker process was killed\n"
            )
            self._on_ended([Ended(late, False, encode_failure(text), float(timeout))])
        given_back = []
        for number, claim in worker.claims.items():
            ran = counted and number <= begun
            text = (
                f"delivered {claim.deliveries} times without an end; the last worker {evidence} "
                "while it had this job\n"
            )
            given_back.append(GivenBack(claim, ran, encode_failure(text) if ran else None))
        worker.claims.clear()
        if given_back:
            self._on_given_back(given_back)

    def _end(self, worker: Worker) -> None:
        worker.stopping = True
        asyncio.get_running_loop().remove_reader(worker.process.sentinel)
        worker.kill()

    async def _watch(self) -> None:
        """Look after jobs that are late and jobs that wait behind long ones."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for worker in self.workers.values():
                slots = worker.table.read()
                self._kill_if_late(worker, now)
                waiting = len(worker.claims) > len(slots)
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

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _cause(worker: Worker) -> tuple[str, str]:
    """Why a worker process died: for a metric's label, and in words."""
    worker.process.join(0)
    code = worker.process.exitcode
    if worker.late is not None:
        return "timeout", "was killed for another job's timeout"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return name, f"died of signal {-code} ({name})"
    return f"exit {code}", f"ended with exit code {code}"


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the program that the supervisor was started by.

    multiprocessing would run the command line's or the test runner's ``__main__`` again in
    every worker, for pickled classes that might live there. Ours do not.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

"""What each worker holds: jobs are dispatched, ended, given back, stopped, killed when late.

It says what came of each claim exactly once, to its `Settlement`. Which workers there are is the
roster's business.

A job that a worker has died with before is a suspect: it gets a process of its own, with one
slot, so that it takes no neighbours with it should it kill that one, too.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

from heori_common.locks.statistics import Statistics, total
from heori_common.protocol.commands import Ended, GivenBack
from heori_common.protocol.job import Claim, MalformedJob, parse_timeout
from heori_common.protocol.payload import encode_failure
from heori_consumer.between.frames import (
    BROKEN,
    LOCKS,
    OUTCOMES,
    PROGRESS,
    READY,
    RETURNED,
    SEEN,
    TASK,
    WORN,
)
from heori_consumer.between.outcome import (
    FAILED,
    RETRY,
    STOPPED,
    Outcome,
    TaskTotals,
    Totals,
    add,
    count,
)
from heori_consumer.between.slot_table import SlotState
from heori_consumer.gil.states import GilFutex, Tally
from heori_consumer.pool.handle import Death, WorkerHandle
from heori_consumer.pool.roster import PoolOptions, Roster

# A worker may have waiting what its slots will begin within this time, in seconds. Enough to
# bridge a round trip to Redis many times over, and too little for anyone to miss the jobs.
PREFETCH = 0.02
# A worker silent for this long with jobs waiting behind running ones gives those back, seconds.
STALL = 0.1
# How long after its timeout a job that cannot be interrupted costs its worker process the life;
# the same for a job that was asked to stop.
HARD_GRACE = 1.0
# How often late jobs and waiting ones are looked for, and how often memory is, in seconds.
TICK = 0.05
MEMORY_TICK = 0.25
# How long a drain waits for workers to say what they have not begun, in seconds: one that
# hangs in C cannot answer, and the jobs of the others must not wait for it.
RECALL_WAIT = 0.5
# The label of jobs whose worker died before it could say of which task they are.
UNKNOWN = "(unknown)"


class Settlement(Protocol):
    """Where the pool says what came of its claims, each exactly once; the acknowledger."""

    def ended(self, entries: list[Ended]) -> None:
        """Executions that came to an end."""

    def given_back(self, entries: list[GivenBack]) -> None:
        """Claims that will not be finished here."""

    def progress(self, reports: Sequence[tuple[Claim, float, str]]) -> None:
        """How far jobs are that still run."""


class Pool:
    """All jobs of one consumer between being claimed and being settled.

    Attributes:
        roster: the workers.
        changed: set when there may be room, or nothing left.
    """

    def __init__(
        self,
        options: PoolOptions,
        settlement: Settlement,
    ) -> None:
        self.roster = Roster(options, self._received, self._died)
        self.changed = asyncio.Event()
        self._batch = options.batch
        self._settlement = settlement
        self._suspects: list[Claim] = []  # that wait for a process of their own
        self._base: Totals = {}  # of the workers that are gone
        self._base_locks = Statistics()  # likewise
        self._mean_run: float | None = None
        self._draining = False
        self._recalled: set[WorkerHandle] = set()  # that have yet to answer the recall of a drain
        self._back: list[GivenBack] = []  # by the others

    async def start(self) -> None:
        """Start all workers and wait until they can take jobs.

        Raises:
            TasksBroken: the task modules cannot be imported.
        """
        await self.roster.start()

    async def run(self) -> None:
        """Look after the workers, for ever; raises what nothing in here should."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            await self.roster.failure

    async def stop(self) -> None:
        """End all workers, and give back what they still hold, uncounted."""
        self.recall()
        await self.roster.stop()
        self._end_recall()

    def recall(self) -> None:
        """Take no more jobs, and have all that have not begun given back, in their order.

        What each worker returns goes to the front of the queue; so it waits for that of the
        others, to go there with it.
        """
        self._draining = True
        self.roster.close()
        waiting, self._suspects = self._suspects, []
        self._recalled = {worker for worker in self.roster.everyone() if worker.claims}
        for worker in self._recalled:
            worker.recall()
        asyncio.get_running_loop().call_later(RECALL_WAIT, self._end_recall)
        self._give_back_uncounted(waiting)

    # Jobs

    def wanted(self) -> int:
        """How many jobs to claim now: 0 while there is enough to do."""
        if self._draining or self._suspects:
            return 0
        room = ahead = 0
        idle = False
        for worker in self.roster.open():
            aim = self._aim(worker)
            room += max(0, aim - len(worker.claims))
            ahead += aim - worker.table.slots
            idle = idle or len(worker.claims) < worker.table.slots
        # With half of the prefetched ones left: when the last has begun, a slot is idle already.
        if idle or room * 2 >= ahead:
            return min(room, self._batch)
        return 0

    def dispatch(self, claims: Sequence[Claim]) -> None:
        """Give claims to the workers that have the most room, and suspects to none of them."""
        room = {worker: self._aim(worker) - len(worker.claims) for worker in self.roster.open()}
        if not room or self._draining:  # they died, or a drain began, while the claim was made
            self._give_back_uncounted(claims)
            return
        shares: dict[WorkerHandle, list[Claim]] = {}
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

    def stop_job(self, job_id: str) -> bool:
        """End a job by request, whether it runs or waits; returns whether it is here."""
        for claim in self._suspects:
            if claim.job_id == job_id:
                self._suspects.remove(claim)
                self._settlement.ended([_stopped(claim)])
                return True
        for worker, number in self._holders([job_id]):
            worker.recall()  # first, so that it is either back or taken when the other arrives
            worker.stop_job(number)
            return True
        return False

    def cancel(self, job_ids: Collection[str]) -> None:
        """Have those of these jobs given back that no slot has taken; they are not run again."""
        for worker in {worker for worker, _ in self._holders(job_ids)}:
            worker.recall()
        waiting = [claim for claim in self._suspects if claim.job_id in job_ids]
        self._suspects = [claim for claim in self._suspects if claim.job_id not in job_ids]
        self._give_back_uncounted(waiting)

    def leases_lost(self, claims: Sequence[Claim]) -> None:
        """Let these jobs know that their leases are lost; end those that have locks."""
        executions = {claim.execution for claim in claims}
        for worker in self.roster.everyone():
            lost = [n for n, claim in worker.claims.items() if claim.execution in executions]
            if lost:
                worker.lease_lost(lost)
            # What it has locked may be another's by now.
            for number in lost:
                if worker.claims[number].locks:
                    worker.stop_job(number)

    def held(self) -> int:
        """How many jobs are with the workers, or will be."""
        waiting = len(self._suspects) + len(self._back)
        return waiting + sum(len(each.claims) for each in self.roster.everyone())

    def running(self) -> int:
        """How many slots run a job."""
        return sum(
            state.running for worker in self.roster.everyone() for state in worker.table.read()
        )

    def prefetched(self) -> int:
        """How many jobs wait in a worker."""
        return max(0, sum(len(each.claims) for each in self.roster.everyone()) - self.running())

    def totals(self) -> Totals:
        """What all workers have counted, the dead included."""
        total = self._base
        for worker in self.roster.everyone():
            total = add(total, worker.totals)
        return total

    def locks(self) -> Statistics:
        """What all workers have seen of the locks that tasks took, the dead included."""
        return total([self._base_locks, *(worker.locks for worker in self.roster.everyone())])

    # Inside

    def _holders(self, job_ids: Collection[str]) -> Iterator[tuple[WorkerHandle, int]]:
        for worker in self.roster.everyone():
            for number, claim in list(worker.claims.items()):
                if claim.job_id in job_ids:
                    yield worker, number

    def _aim(self, worker: WorkerHandle) -> int:
        """How many jobs a worker should have: one per slot, and more while they are short."""
        slots = worker.table.slots
        if self._mean_run is None or worker.stalled:
            return slots
        ahead = int(PREFETCH * slots / max(self._mean_run, 1e-6))
        return slots + min(ahead, 2 * self._batch)

    def _received(self, worker: WorkerHandle, frame: list[Any]) -> None:
        kind, *rest = frame
        worker.heard = time.monotonic()
        if kind == OUTCOMES:
            self._ended(worker, [Outcome(*outcome) for outcome in rest[0]], rest[1])
        elif kind == RETURNED:
            self._returned(worker, rest[0])
        elif kind == PROGRESS:
            told = [(worker.claims.get(number), *of) for number, of in rest[0].items()]
            self._settlement.progress([(claim, *of) for claim, *of in told if claim is not None])
        elif kind == TASK:
            worker.tasks[rest[0]] = rest[1]
        elif kind == READY:
            worker.peak_memory = rest[0]
            worker.gil = rest[1] and GilFutex(*rest[1])
            self.roster.ready(worker)
        elif kind == LOCKS:
            worker.locks = total([Statistics.from_wire(wire) for wire in rest[0]])
        elif kind == SEEN:
            worker.seen = Tally(*rest) if rest else None
        elif kind == WORN:
            worker.worn = True
            self.roster.retire(worker, rest[0])
        elif kind == BROKEN:
            self.roster.broken(worker, rest[0])
        self.roster.let_go(worker)
        self._isolate()
        self.changed.set()

    def _ended(self, worker: WorkerHandle, outcomes: list[Outcome], totals: dict[str, Any]) -> None:
        worker.stalled = False
        worker.finished += len(outcomes)
        for name, wire in totals.items():
            worker.totals[name] = TaskTotals.from_wire(wire)
        mean = sum(outcome.run_time for outcome in outcomes) / len(outcomes)
        old = self._mean_run
        self._mean_run = mean if old is None else 0.8 * old + 0.2 * mean
        ended = []
        for outcome in outcomes:
            claim = worker.claims.pop(outcome.number)
            worker.ending.pop(outcome.number, None)
            ended.append(
                Ended(claim, outcome.status, outcome.body, outcome.run_time, outcome.retry)
            )
        self._settlement.ended(ended)
        most = self.roster.options.max_jobs
        if most is not None and worker.finished >= most:
            self.roster.retire(worker, "max-jobs")

    def _returned(self, worker: WorkerHandle, numbers: Sequence[int]) -> None:
        back: list[Claim] = []
        stopped: list[Claim] = []
        for number in numbers:
            claim = worker.claims.pop(number)
            asked = worker.ending.pop(number, None)
            (back if asked is None else stopped).append(claim)
        if stopped:
            self._settlement.ended([_stopped(claim) for claim in stopped])
        self._recalled.discard(worker)
        self._give_back_uncounted(back)

    def _end_recall(self) -> None:
        self._recalled.clear()
        self._give_back([])

    def _isolate(self) -> None:
        """Start a process for each suspect, as many at a time as there are slots."""
        most = self.roster.options.processes * self.roster.options.worker.slots
        # Not the one that is being buried: nobody would ask again once it is.
        alone = sum(not worker.stopping for worker in self.roster.alone)
        while self._suspects and alone < most and not self._draining:
            self.roster.start_alone().send_jobs([self._suspects.pop(0)])
            alone += 1

    def _died(self, worker: WorkerHandle, death: Death | None) -> None:
        """Say what becomes of the jobs that a worker will not finish.

        A delivery counts for those that may have killed it: what its slots took last. What was
        finished before and not reported yet is innocent.
        """
        self._base, worker.totals = add(self._base, worker.totals), {}
        self._base_locks.add(worker.locks)
        worker.locks = Statistics()
        states = worker.table.read()
        if worker.late is not None and (late := worker.claims.pop(worker.late, None)):
            self._killed_for(worker, late, next(s for s in states if s.taken == worker.late))
        counted = death is not None and worker.late is None
        taken = {state.taken for state in states}
        given_back = []
        for number, claim in worker.claims.items():
            if death is not None and counted and number in taken:
                given_back.append(GivenBack(claim, True, _evidence(claim, death), death.evidence))
            else:
                given_back.append(GivenBack(claim, False))
        worker.claims.clear()
        self._recalled.discard(worker)
        self._give_back(given_back)
        self._isolate()
        self.changed.set()

    def _killed_for(self, worker: WorkerHandle, claim: Claim, state: SlotState) -> None:
        """End the job that its worker had to be killed for, and count it in its place."""
        run_time = time.monotonic() - state.since
        if worker.late in worker.ending:
            ended = _stopped(claim, run_time)
        elif state.at_timeout is not None:
            ended = Ended(claim, RETRY, None, run_time, state.at_timeout)
        else:
            text = (
                f"the job ran for longer than its timeout of {parse_timeout(claim.timeout)} s and "
                "could not be interrupted; its worker process was killed\n"
            )
            ended = Ended(claim, FAILED, encode_failure(text), run_time, None)
        task = worker.tasks.get(state.task, UNKNOWN)
        count(self._base, [Outcome(0, ended.status, None, task, run_time, 0.0, 0.0, None, False)])
        self._settlement.ended([ended])

    def _give_back_uncounted(self, claims: Sequence[Claim]) -> None:
        self._give_back([GivenBack(claim, counted=False) for claim in claims])

    def _give_back(self, entries: list[GivenBack]) -> None:
        """Give back in the order of the claims; once all have answered, when they are recalled."""
        self._back += entries
        if self._back and not self._recalled:
            back, self._back = self._back, []
            self._settlement.given_back(sorted(back, key=_order))
            self.changed.set()

    async def _watch(self) -> None:
        """Look after jobs that are late, jobs that wait behind long ones, and memory."""
        look_at_memory = 0.0
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for worker in self.roster.everyone():
                self._kill_if_late(worker, now)
                waiting = len(worker.claims) > worker.table.slots
                # More than once, as a claim that was under way may have sent it more meanwhile.
                if waiting and now - max(worker.heard, worker.recalled) > STALL:
                    worker.stalled = True
                    worker.recalled = now
                    worker.recall()
            if now >= look_at_memory:
                look_at_memory = now + MEMORY_TICK
                self._look_at_memory()

    def _look_at_memory(self) -> None:
        most = self.roster.options.max_rss
        for worker in self.roster.everyone():
            memory = worker.memory()
            if most is not None and memory > most:
                self.roster.retire(worker, "max-rss")

    def _kill_if_late(self, worker: WorkerHandle, now: float) -> None:
        for state in worker.table.read():
            claim = worker.claims.get(state.taken)
            if not state.running or claim is None or worker.late is not None:
                continue
            try:
                timeout = parse_timeout(claim.timeout)
            except MalformedJob:
                continue  # the worker fails it by name
            asked = worker.ending.get(state.taken)
            if asked is not None:
                worker.stop_job(state.taken)  # it may not have been interruptible before
            if (timeout > 0 and now - state.since > timeout + HARD_GRACE) or (
                asked is not None and now - asked > HARD_GRACE
            ):
                worker.late = state.taken
                worker.kill()


def _order(given_back: GivenBack) -> tuple[float, str]:
    """In which order jobs were claimed: a claim numbers its executions."""
    return given_back.claim.claimed_at, given_back.claim.execution


def _stopped(claim: Claim, run_time: float = 0.0) -> Ended:
    text = f"job {claim.job_id} was stopped by request\n"
    return Ended(claim, STOPPED, encode_failure(text), run_time, None)


def _evidence(claim: Claim, death: Death) -> bytes:
    """What a dead letter says in the place of a traceback; as there, the last line sums it up."""
    text = ""
    if last := death.evidence.get("heori_last_log"):
        text += f"What the worker wrote last:\n{last}\n\n"
    if peak := death.evidence.get("heori_peak_memory"):
        text += f"Its peak memory was {int(peak) / 1e6:.0f} MB.\n"
    return encode_failure(
        f"{text}delivered {claim.deliveries} times without an end; the last worker {death.words} "
        "while it had this job\n"
    )

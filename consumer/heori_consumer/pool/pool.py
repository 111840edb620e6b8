"""The pool: dispatches claims to workers, and says what came of each exactly once.

A job that a worker has died with before is a suspect: it gets a process of its own, with one
slot, so that it takes no neighbours with it should it kill that one, too. So does a job whose
workers were killed twice for others that were late, so that it comes to an end.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import reduce

from heori_common.locks.statistics import Statistics, total
from heori_common.protocol.job import REFUSED, RETURNED, STATUSES, STOPPED, Claim, Outcome, Settled
from heori_consumer.auto.size import Size
from heori_consumer.beat import Beat
from heori_consumer.between.failures import Failure
from heori_consumer.between.frames import Note
from heori_consumer.between.slot_table import SlotState
from heori_consumer.between.totals import Totals, add
from heori_consumer.pool.died import DiedJobs
from heori_consumer.pool.endings import abandoned_outcome, stopped_outcome
from heori_consumer.pool.failures import FailureLog
from heori_consumer.pool.giving_back import RECALL_WAIT_S, GivingBack
from heori_consumer.pool.handle import WorkerHandle
from heori_consumer.pool.host import Death
from heori_consumer.pool.lookout import Lookout
from heori_consumer.pool.prefetch import Prefetch, Room, is_time_to_claim, share_out
from heori_consumer.pool.roster import PoolOptions, Roster
from heori_consumer.pool.settlement import Settlement

# Batches that a worker may have waiting, and jobs at most: as many that do nothing take a fifth of
# PREFETCH_S. With two batches of 64 jobs, a worker had run out of them by the time that the next
# came; with many more than these jobs, a few consumers would share some thousands unevenly.
MOST_BATCHES_AHEAD, MOST_AHEAD = 8, 512


class Pool:
    """All jobs of one consumer between being claimed and being settled.

    Attributes:
        roster: the workers.
        died: jobs that have failed without their worker's knowledge.
        changed: set when there may be room, or nothing left.
        occupied: set while there are jobs, and perhaps a moment longer.
        giving_back: what is given back.
        rests: whether it takes no jobs for now.
        is_short: whether the last claim has brought fewer jobs than there was room for.
    """

    def __init__(
        self,
        options: PoolOptions,
        settlement: Settlement,
        failures: FailureLog,
        beat: Beat,
        process_ended: Callable[[str], object],
        refused: Callable[[str, str], object],
        claiming: asyncio.Lock,
    ) -> None:
        """Prepare.

        Args:
            claiming: held while a claim is under way.
            refused: called with the queue of each job that may not run here, and why.
            process_ended: called with the id of each worker process that is no more.
        """
        self.roster = Roster(options, self, self._bury)
        self.died = DiedJobs(self.roster.open, heard=bool(options.worker.policy.middleware))
        self.changed = asyncio.Event()
        self.occupied = asyncio.Event()
        self._batch = options.batch
        self._settlement = settlement
        self._failures = failures
        self._process_ended = process_ended
        self._refused = refused
        self._suspects: list[Claim] = []  # that wait for a process of their own
        self._totals_of_dead: Totals = {}
        self._locks_of_dead = Statistics()
        is_strict = options.worker.policy.records == "strict"
        self._prefetch = Prefetch(
            max(options.batch, min(MOST_BATCHES_AHEAD * options.batch, MOST_AHEAD)),
            strict=is_strict,
        )
        guest = options.guest
        self._isolates = guest is None or guest.call is None  # else there is one thread for all
        self._draining = False
        self.rests = False
        self.is_short = True
        self.giving_back = GivingBack(self._given_back, claiming)
        self._lookout = Lookout(
            self.roster, failures, beat, self.occupied, self.held, retry=self._isolate
        )
        self._answers: dict[WorkerHandle, asyncio.Future[None]] = {}  # to those who ask jobs back

    async def start(self) -> None:
        """Start all workers and wait until they can take jobs.

        Raises:
            TasksBroken: the task modules cannot be imported.
        """
        await self.roster.start()

    async def run(self) -> None:
        """Look after the workers, for ever; raises what nothing in here should."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lookout.run())
            group.create_task(self._hold_back())
            await self.roster.failure

    async def stop(self, until: float = 0.0) -> None:
        """End all workers, and give back what they still hold, uncounted.

        Args:
            until: the running loop's time, for those that have no job to end in their own way.
        """
        self.recall()
        await self.roster.stop(until)
        self.giving_back.end_recall()

    def recall(self) -> None:
        """Take no more jobs, and have all that have not begun given back, in their order.

        What each worker returns goes to the front of the queue; so it waits for that of the
        others, to go there with it.
        """
        self._draining = True
        self.roster.close()
        waiting, self._suspects = self._suspects, []
        self._recall(waiting)

    def rest(self) -> None:
        """The same until `go_on`; what has begun goes on to its end, callbacks and all."""
        self.rests = True
        waiting = [claim for claim in self._suspects if not claim.phase]
        self._suspects = [claim for claim in self._suspects if claim.phase]
        self._recall(waiting)

    def go_on(self) -> None:
        """Take jobs again."""
        self.rests = False
        self.changed.set()

    def _recall(self, waiting: list[Claim]) -> None:
        self.giving_back.recall(worker for worker in self.roster.everyone() if len(worker))
        self.give_back_unbegun(waiting)

    def resize(self, size: Size) -> None:
        """Have another size while jobs run; see `Roster.resize`."""
        self.roster.resize(size)
        self.changed.set()

    # Jobs

    def wanted(self) -> int:
        """How many jobs to claim now: 0 while there is enough to do."""
        if (self._draining or self.rests) or self._suspects or self._settlement.held.full.is_set():
            return 0
        rooms = self._rooms()
        if any(room.is_asked_for for room in rooms):
            return min(sum(room.left for room in rooms), self._batch)
        return 0

    async def gather_room(self, seconds: float) -> None:
        """Wait until all workers have room, for so long at most, or until one runs short."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not is_time_to_claim(self._rooms()):
            await self.change_within(left)

    def idle(self) -> int:
        """How many slots have nothing to do."""
        if self._draining or self.rests:
            return 0
        workers = [worker for worker in self.roster.open() if not worker.clogged]
        return sum(max(0, worker.slots - len(worker)) for worker in workers)

    async def change_within(self, seconds: float) -> bool:
        """Wait for `changed`, for so long at most; returns whether it was set."""
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True

    @property
    def are_brief(self) -> bool:
        """Whether jobs have been brief of late."""
        return self._prefetch.are_brief

    def dispatch(self, claims: Sequence[Claim], *, can_wait: bool = False) -> None:
        """Give claims to the workers that have the most room, and suspects to none of them.

        Args:
            can_wait: whether their ends may wait for company.
        """
        if not claims:
            return
        workers = self.roster.open()
        reading = [worker for worker in workers if not worker.clogged] or workers
        room = {worker: self._aim(worker) - len(worker) for worker in reading}
        if not room or self._draining or self.rests:  # since the claim was made
            self.give_back_unbegun(claims)
            return
        self._prefetch.claimed(sum([len(claim.fields) for claim in claims]), len(claims))
        self.occupied.set()
        if self._isolates and (suspects := [claim for claim in claims if claim.is_suspect]):
            self._suspects += suspects
            claims = [claim for claim in claims if not claim.is_suspect]
        for worker, share in share_out(claims, room).items():
            worker.send(share, can_wait=can_wait)
        self._isolate()

    def stop_job(self, job_id: str) -> bool:
        """End a job by request, whether it runs or waits; returns whether it is here."""
        for claim in self._suspects:
            if claim.job_id == job_id:
                self._suspects.remove(claim)
                self.stopped([(claim, stopped_outcome(claim))])
                return True
        return any(worker.stop_job(job_id) for worker in self.roster.everyone())

    def kill_running(self) -> int:
        """Kill all worker processes that have begun a job, and these jobs; returns how many."""
        return sum(worker.kill_running() for worker in self.roster.everyone())

    def cancel(self, job_ids: Collection[str]) -> None:
        """Have those of these jobs given back that no slot has taken; they are not run again."""
        for worker in self.roster.everyone():
            if worker.holds(job_ids):
                worker.recall()
        waiting = [claim for claim in self._suspects if claim.job_id in job_ids]
        self._suspects = [claim for claim in self._suspects if claim.job_id not in job_ids]
        self.give_back_unbegun(waiting)

    async def ask_back(self, job_ids: Collection[str]) -> set[str]:
        """As `cancel`; returns those that a slot has taken, once their workers have said so.

        What a worker does not give back within RECALL_WAIT_S is not known to have begun.
        """
        asked = [worker for worker in self.roster.everyone() if worker.holds(job_ids)]
        answers = [self._answer_of(worker) for worker in asked]
        self.cancel(job_ids)
        if answers:
            await asyncio.wait(answers, timeout=RECALL_WAIT_S)
        return {
            job_id
            for worker, answer in zip(asked, answers, strict=True)
            if answer.done()
            for job_id in job_ids
            if worker.holds([job_id])
        }

    def begun(self) -> set[str]:
        """The jobs that slots have begun, by id."""
        return set().union(*(worker.begun() for worker in self.roster.everyone()))

    def leases_lost(self, claims: Sequence[Claim]) -> None:
        """Let these jobs know that their leases are lost; end those that have locks."""
        executions = {claim.execution for claim in claims}
        for worker in self.roster.everyone():
            worker.leases_lost(executions)

    # Figures

    def held(self) -> int:
        """How many jobs are with the workers, or will be."""
        return len(self._suspects) + len(self.giving_back) + self._with_workers()

    def running(self) -> int:
        """How many slots run a job; one that is lent counts for what runs in its place."""
        return sum(state.running and not state.waits for state in self._states())

    def slots(self, running: int) -> int:
        """How many slots there are when so many run a job.

        Those of suspects in processes of their own count, as their jobs do. So do those that are
        there for a moment only, of a worker that finishes what it has beside its successor.
        """
        workers = [*self.roster.workers.copy().values(), *self.roster.alone.copy()]
        return max(running, sum(worker.table.slots + max(0, worker.beside) for worker in workers))

    def waiting(self) -> int:
        """How many jobs wait for other jobs."""
        return sum(worker.waiting for worker in self.roster.everyone())

    def prefetched(self) -> int:
        """How many jobs wait in a worker for a slot."""
        return max(0, self._with_workers() - sum(state.running for state in self._states()))

    def run_first(self) -> list[tuple[str, str]]:
        """Queue and id of jobs that are to run before all others, as many wait for them."""
        return [job for worker in self.roster.open() for job in worker.run_first]

    def waited_for(self) -> frozenset[str]:
        """The queues for whose jobs all slots wait, with none left to lend; none otherwise."""
        workers = self.roster.open()
        if not all(worker.waiting + worker.asking >= worker.slots for worker in workers):
            return frozenset()
        return frozenset().union(*(worker.waits_for for worker in workers))

    def totals(self) -> Totals:
        """What all workers have counted, the dead included."""
        return reduce(add, (each.totals for each in self.roster.everyone()), self._totals_of_dead)

    def locks(self) -> Statistics:
        """What all workers have seen of the locks that tasks took, the dead included."""
        return total([self._locks_of_dead, *(worker.locks for worker in self.roster.everyone())])

    # What workers tell

    def ready(self, worker: WorkerHandle) -> None:
        """See `WorkerEvents`."""
        self.roster.ready(worker)
        self.died.tell()

    def broken(self, worker: WorkerHandle, reason: str, details: str) -> None:
        """See `WorkerEvents`."""
        self.roster.broken(worker, reason, details)

    def worn(self, worker: WorkerHandle, reason: str) -> None:
        """See `WorkerEvents`."""
        self.roster.retire(worker, reason)

    def ended(self, worker: WorkerHandle, settled: list[Settled]) -> None:
        """See `WorkerEvents`."""
        if any(outcome.status == REFUSED for _, outcome in settled):
            self._refuse([entry for entry in settled if entry[1].status == REFUSED])
            settled = [entry for entry in settled if entry[1].status != REFUSED]
        if not settled:
            return
        self._settlement.ended(settled)
        self.giving_back.look()
        self._prefetch.ended(settled)
        most = self.roster.options.recycle_after
        if most is not None and worker.finished >= most:
            self.roster.retire(worker, "recycle-after")

    def stopped(self, settled: list[Settled]) -> None:
        """See `WorkerEvents`. What wants to know of it is told in a process of its own."""
        asking = [claim for claim, _ in settled if claim.wants_to_know_of_stop()]
        if ended := [entry for entry in settled if entry[0] not in asking]:
            self._settlement.ended(ended)
        untold = [claim._replace(phase=STOPPED) for claim in asking]
        if self._draining:
            self.give_back_unbegun(untold)
        else:
            self._suspects += untold
            self._isolate()

    def failed(self, failures: Iterable[Failure]) -> None:
        """See `WorkerEvents`."""
        self._failures.add(failures)

    def returned(self, worker: WorkerHandle, claims: list[Claim], *, all_of_it: bool) -> None:
        """See `WorkerEvents`."""
        if all_of_it:
            self.giving_back.answered(worker)
            self._answered(worker)
        self.give_back_unbegun(claims)

    def again(self, settled: list[Settled]) -> None:
        """See `WorkerEvents`."""
        self._give_back(settled)

    def noted(self, notes: Sequence[tuple[Claim, Note]]) -> None:
        """See `WorkerEvents`."""
        self._settlement.note(notes)

    def gone(self, worker: WorkerHandle) -> None:
        """See `WorkerEvents`."""
        if worker.process is not None and worker.process_id:  # and not the supervisor's own process
            self._process_ended(worker.process_id)

    def heard(self, worker: WorkerHandle) -> None:
        """See `WorkerEvents`."""
        self.roster.let_go(worker)
        self._isolate()
        self.changed.set()

    # Inside

    def _states(self) -> Iterator[SlotState]:
        for worker in self.roster.everyone():
            yield from worker.table.read()

    def _with_workers(self) -> int:
        return sum(len(worker) for worker in self.roster.everyone())

    def _rooms(self) -> list[Room]:
        return [
            Room(len(worker), worker.slots, self._aim(worker))
            for worker in self.roster.open()
            if not worker.clogged
        ]

    def _aim(self, worker: WorkerHandle) -> int:
        """How many jobs a worker should have: one per slot, and more while they are short."""
        slots = worker.slots
        if worker.stalled or worker.run_first:
            return slots
        return slots + self._prefetch.jobs(slots)

    def _isolate(self) -> None:
        """Start a process for each suspect, as many at a time as there are slots."""
        options = self.roster.options
        # Not the one that is being buried: nobody would ask again once it is.
        alone = sum(not worker.dismissed for worker in self.roster.alone)
        # A suspect may wait for jobs that are suspects, too.
        lent = sum(worker.lent for worker in self.roster.alone)
        most = options.processes * options.worker.slots + min(lent, options.worker.lend)
        most = min(most, options.most_alone or most)
        while self._suspects and alone < most and not self._draining:
            worker = self.roster.start_alone()
            if worker is None:
                return
            worker.send([self._suspects.pop(0)])
            alone += 1

    def _bury(self, worker: WorkerHandle, death: Death | None) -> None:
        """Take over what a worker leaves: its jobs and its counts."""
        at_work = worker.at_work()
        settled = worker.bury(death)
        self.died.add(settled, at_work)
        self._totals_of_dead, worker.totals = add(self._totals_of_dead, worker.totals), {}
        self._locks_of_dead.add(worker.locks)
        worker.locks = Statistics()
        ended = [entry for entry in settled if entry[1].status in STATUSES]
        if late := [entry for entry in ended if entry[1].status != STOPPED]:
            self._settlement.ended(late)
        self.stopped([entry for entry in ended if entry[1].status == STOPPED])
        self.giving_back.answered(worker)
        self._answered(worker)
        self._give_back([entry for entry in settled if entry[1].status not in STATUSES])
        self._isolate()
        self.changed.set()

    def _answer_of(self, worker: WorkerHandle) -> asyncio.Future[None]:
        """Done once a worker has said what it has not begun, or is no more."""
        if worker not in self._answers:
            self._answers[worker] = asyncio.get_running_loop().create_future()
        return self._answers[worker]

    def _answered(self, worker: WorkerHandle) -> None:
        if (answer := self._answers.pop(worker, None)) is not None:
            answer.set_result(None)

    def _refuse(self, refused: list[Settled]) -> None:
        """Give jobs back that may not run here, and with them all others of their queues."""
        for claim, outcome in refused:
            self._refused(claim.queue, (outcome.body or b"").decode())
        queues = {claim.queue for claim, _ in refused}
        waiting = [claim for claim in self._suspects if claim.queue in queues]
        self._suspects = [claim for claim in self._suspects if claim not in waiting]
        self.giving_back.clear(queues, self.roster.everyone())
        self.give_back_unbegun([*waiting, *(claim for claim, _ in refused)])

    def give_back_unbegun(self, claims: Sequence[Claim]) -> None:
        """Give claims back, uncounted."""
        self._give_back([(claim, Outcome(RETURNED)) for claim in claims])

    def _give_back(self, entries: list[Settled]) -> None:
        """Give back; what has ended elsewhere has ended so, whatever became of its callback."""
        for claim in (claim for claim, _ in entries if claim.phase):
            self._failures.of_job(f"a callback for {claim.phase} did not run to its end", claim)
        if stopped := [claim for claim, _ in entries if claim.phase == STOPPED]:
            self._settlement.ended([(claim, stopped_outcome(claim)) for claim in stopped])
        back = [
            (claim, abandoned_outcome() if claim.phase else outcome)
            for claim, outcome in entries
            if claim.phase != STOPPED
        ]
        self.giving_back.add(back)

    def _given_back(self, entries: list[Settled]) -> None:
        self._settlement.given_back(entries)
        self.changed.set()

    async def _hold_back(self) -> None:
        """Read no results while there are too many that Redis has yet to take."""
        held = self._settlement.held
        while True:
            await held.full.wait()
            for worker in self.roster.everyone():
                worker.pause()
            await held.room.wait()
            for worker in self.roster.everyone():
                worker.resume()
            self.changed.set()

"""A worker with both kinds of slots: threads for plain tasks, one event loop for async ones.

Nobody knows of which kind a job is before its payload has been read, and that is done once, in a
slot of either kind. A job that belongs to the other one goes there ready to begin. Until then no
slot has taken it: it can be given back, and its time has not begun.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial

from heori_common.protocol.job import Claim, Outcome
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.worker import rq_horse
from heori_consumer.worker.aside import Aside
from heori_consumer.worker.execution import Runner
from heori_consumer.worker.restore import SharedState
from heori_consumer.worker.running_job import RunningJob
from heori_consumer.worker.slots import CoroutineSlots, Handover, Numbered, RunLater, ThreadSlots

NO_SLOT = -1  # of a job that waits for one
# Jobs that a loop reads ahead in one of its turns, at most: its coroutines wait meanwhile.
READ_AT_ONCE = 32


class Elsewhere(Enum):
    """Where a job waits, ready to begin, that is not to begin in the thread that has read it."""

    LOOP = "for the event loop"
    ASIDE = "for the end of another one"


class MixedRunner(Runner):
    """Runs plain jobs in threads and async ones on the loop, and neither where it does not belong.

    Attributes:
        ready: the jobs that have been read, by number, and are to begin where they belong.
        expects_async: whether the last job that was read was async, so that the next may be, too.
        found_other: called when that has changed.
        may_begin: whether a plain job may, by task, slot, number and claim; else it stands aside.
    """

    ready: dict[int, RunningJob]
    expects_async = False
    found_other: Callable[[], object]
    may_begin: Callable[[str, int, int, Claim], bool]

    def run_plain(self, slot: int, number: int, claim: Claim) -> Outcome | Elsewhere:
        """As `run`; of a job that is not to begin here, which is ready then, where it is to."""
        job: RunningJob | Outcome | None = self.ready.pop(number, None)
        if job is None:
            if claim.phase or rq_horse.takes(claim):
                return self.run(slot, number, claim)
            job = self._prepare(slot, number, claim)
            if isinstance(job, RunningJob):
                self._found(is_async=job.definition.is_async)
                if job.definition.is_async:
                    self.ready[number] = job
                    return Elsewhere.LOOP
        if isinstance(job, RunningJob):
            self.ready[number] = job  # another thread may have it as soon as it stands aside
            if not self.may_begin(job.task, slot, number, claim):
                return Elsewhere.ASIDE
            del self.ready[number]
            self._move(job, slot)
            job = self._run(job)
        rq_horse.tell(claim, job)
        return job

    async def run_on_loop_if_async(self, slot: int, number: int, claim: Claim) -> Outcome | None:
        """As `run_on_loop`; returns None of what a thread is to run, or to read."""
        if not self.is_for_loop(number, claim):
            return None
        job = self.ready.pop(number)
        self._move(job, slot)
        return await self._run_async(job)

    def is_for_loop(self, number: int, claim: Claim) -> bool:
        """Whether a job is to begin on the loop; to find that out it is read.

        What cannot be read, a thread reads once more: it has a slot, from which that can be told.
        """
        if (job := self.ready.get(number)) is None:
            if claim.phase or claim.rest or claim.special or rq_horse.takes(claim):
                return False
            told = *self._told, self._policy.redis_url, self.lending
            job = RunningJob(NO_SLOT, number, claim, *told)
            try:
                job.prepare(claim, self._policy)
            except BaseException:  # as in `_prepare`
                return False
            finally:
                self._end_copy()
            self.ready[number] = job
            self._found(is_async=job.definition.is_async)
        return job.definition.is_async

    def cannot_run(self, number: int, error: BaseException) -> Outcome:
        """What comes of an async job for which there can be no loop."""
        return self._not_begun(self.ready.pop(number), error)

    def _move(self, job: RunningJob, slot: int) -> None:
        job.slot = slot
        if job.timeout > 0:
            job.deadline = time.monotonic() + job.timeout
        self._take_seat(job)

    def _found(self, *, is_async: bool) -> None:
        if is_async != self.expects_async:
            self.expects_async = is_async
            self.found_other()


class MixedSlots:
    """S threads, and C coroutines at most on a loop that begins with the first async job.

    The supervisor sends a job for each thread, and as many more as run on the loop.

    Attributes:
        beside: how many more that is. It grows at once, and shrinks with the next tick: else each
            job on the loop would be a message.
        aside: how many more because jobs stand aside; likewise.
    """

    def __init__(
        self,
        runner: MixedRunner,
        table: SlotTable,
        hand_over: Handover,
        worn: Callable[[str], None],
        broken: Callable[[], None],
        *,
        coroutines: int,
        most_threads: int,
        hand_on: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            coroutines: C.
            most_threads: that it may come to have, those lent among them.
            hand_on: as of `CoroutineSlots`.
            changed: called when `beside` has changed.
        """
        runner.ready = {}
        runner.found_other = self._grow
        runner.may_begin = self._may_begin
        self._runner = runner
        self._table = table
        self._worn = worn
        self._changed = changed
        self._coroutines = coroutines
        self._lent = self._lent_on_loop = 0
        self._is_unread = self._was_unread = False  # something of the loop's; and a tick ago
        self._reading: frozenset[int] = frozenset()  # what the loop reads now
        self.beside = self.aside = 0
        self._apart = Aside(table.is_lent)
        self._moving = threading.RLock()  # held while jobs go from one inbox to the other
        shared_state = SharedState()
        told = runner, table, hand_over, worn, broken
        self._loop: LoopSlots | None = None
        self._make_loop = partial(
            LoopSlots,
            *told,
            hand_on=hand_on,
            shared_state=shared_state,
            run=self._run_on_loop,
            rows=range(most_threads, table.most),
            filled=self._filled,
        )
        self._threads = ThreadSlots(
            *told, shared_state=shared_state, run=self._run_in_thread, most=most_threads
        )

    def put(self, jobs: Sequence[Numbered]) -> None:
        """See `Slots`. They go where the last one belonged."""
        with self._moving:
            if self._loop is not None and self._runner.expects_async:
                self._is_unread = True
                self._loop.put(jobs)
            else:
                self._threads.put(jobs)

    def recall(self, only: Collection[int] | None = None) -> list[int]:
        """See `Slots`."""
        with self._moving:
            back = [number for number, _ in self._apart.take_back(only)]
            back += self._threads.recall(only)
            if self._loop is not None:
                back += self._loop.recall(only)
            for number in back:
                self._runner.ready.pop(number, None)
            return back

    def watch(self) -> None:
        """See `Slots`."""
        if self._loop is not None:
            self._loop.watch()
            self._read_for_loop()
        self._go_on()
        told = self._find_beside(), min(len(self._apart), self._apart.most)
        if told != (self.beside, self.aside):
            self.beside, self.aside = told
            self._changed()

    def lend(self, slots: int) -> None:
        """See `Slots`."""
        with self._moving:
            on_loop = self._loop.lent() if self._loop is not None else 0
            self._lent, self._lent_on_loop = slots, min(slots, on_loop)
            self._set_sizes()
            self._go_on()

    def resize(self, slots: int, coroutines: int) -> None:
        """Have so many threads and coroutines from now on; those too many end with their jobs."""
        with self._moving:
            self._table.slots, self._coroutines = slots, coroutines
            try:
                self._set_sizes()
            except RuntimeError as error:  # the system has no thread left
                self._worn(str(error))
        self.beside = self._find_beside()
        self._changed()

    def keep_apart(self, tasks: Sequence[str], most: int) -> None:
        """Run one job of these tasks at a time, and have so many more to stand aside at most."""
        with self._moving:
            self._apart.tasks, self._apart.most = frozenset(tasks), most
            self._threads.put_first(self._apart.take_back())

    def _set_sizes(self) -> None:
        self._threads.lend(self._lent - self._lent_on_loop)
        if self._loop is not None:
            self._loop.lend(self._coroutines + self._lent_on_loop)

    # Where a job goes

    def _run_in_thread(self, slot: int, number: int, claim: Claim) -> Outcome | None:
        outcome = self._runner.run_plain(slot, number, claim)
        if isinstance(outcome, Outcome):
            if self._apart.is_at_work(number):
                with self._moving:
                    self._apart.ended(number)
                    self._go_on()
            return outcome
        if outcome is Elsewhere.ASIDE:
            return None
        try:
            loop = self._begin_loop()
        except (OSError, RuntimeError) as error:  # no file or thread is left
            return self._runner.cannot_run(number, error)
        with self._moving:
            self._table.pass_on(slot)
            loop.put([(number, claim)])
        return None

    def _may_begin(self, task: str, slot: int, number: int, claim: Claim) -> bool:
        if task not in self._apart.tasks:  # nor does any of other tasks take the lock for it
            return True
        with self._moving:
            if self._apart.may_begin(slot, number, claim):
                return True
            self._table.pass_on(slot)
            aside = min(len(self._apart), self._apart.most)
        if aside > self.aside:
            self.aside = aside
            self._changed()
        return False

    def _go_on(self) -> None:
        """Have the next of those begin that stand aside, if none of them is at work."""
        if len(self._apart):
            with self._moving:
                self._threads.put_first(self._apart.call())

    def _begin_loop(self) -> "LoopSlots":
        if self._loop is None:
            with self._moving:
                if self._loop is None:
                    self._loop = self._make_loop()
                    self._set_sizes()
        return self._loop

    async def _run_on_loop(self, slot: int, number: int, claim: Claim) -> Outcome | None:
        outcome = await self._runner.run_on_loop_if_async(slot, number, claim)
        if outcome is None:
            with self._moving:
                self._table.pass_on(slot)
                self._threads.put([(number, claim)])
        return outcome

    def _filled(self) -> None:
        """The loop has begun what it can: of what is left, it gives away what is plain.

        It reads them, as a thread would have to ask for the GIL for that, and does so beside the
        lock, as this may run the code of others.
        """
        if self._loop is None:
            return
        if self._is_unread:
            with self._moving:
                unread = [job for job in self._loop.waiting() if job[0] not in self._runner.ready]
                now = unread[:READ_AT_ONCE]
                self._is_unread, self._was_unread = len(unread) > len(now), False
                self._reading = frozenset(number for number, _ in now)
            plain = {job[0] for job in now if not self._runner.is_for_loop(*job)}
            with self._moving:
                there = {number for number, _ in self._loop.waiting()}
                for number in self._reading - there:  # they were recalled meanwhile
                    self._runner.ready.pop(number, None)
                self._reading = frozenset()
                self._threads.put(self._loop.take(plain.__contains__))
            if self._is_unread:
                self._loop.fill_soon()
        self._grow()

    def _read_for_loop(self) -> None:
        """Have threads read what the loop has not looked at for a tick, as a task holds it."""
        if self._was_unread and self._loop is not None:
            with self._moving:
                ready, reading = self._runner.ready, self._reading
                unread = self._loop.take(lambda each: each not in ready and each not in reading)
                self._threads.put(unread)
                self._is_unread = False
        self._was_unread = self._is_unread

    # What the supervisor is told

    def _grow(self) -> None:
        beside = self._find_beside()
        if beside > self.beside:
            self.beside = beside
            self._changed()

    def _find_beside(self) -> int:
        """How many jobs there may be beside those of the threads, and those that are lent."""
        if self._loop is None:
            return 0
        threads = self._table.slots + self._lent - self._lent_on_loop
        there_may_be = threads + self._loop.at_work
        if self._runner.expects_async:
            at_work = self._threads.at_work  # none of which the next job needs
            coroutines = self._coroutines + self._lent_on_loop
            there_may_be = at_work + min(there_may_be, coroutines)
        return there_may_be - self._table.slots - self._lent


class LoopSlots(CoroutineSlots):
    """The coroutines of a mixed worker.

    Args:
        filled: called when it has begun as many jobs as it can.
    """

    def __init__(
        self,
        runner: MixedRunner,
        table: SlotTable,
        hand_over: Handover,
        worn: Callable[[str], None],
        broken: Callable[[], None],
        *,
        filled: Callable[[], None],
        hand_on: Callable[[], None],
        shared_state: SharedState,
        run: RunLater,
        rows: range,
    ) -> None:
        self._filled = filled
        self._first = rows.start
        told = runner, table, hand_over, worn, broken
        super().__init__(*told, hand_on=hand_on, shared_state=shared_state, run=run, rows=rows)

    @property
    def at_work(self) -> int:
        """How many of them have a job, about."""
        return max(0, self._lent + self._too_many - len(self._free))

    def waiting(self) -> Sequence[Numbered]:
        """The jobs that have not begun."""
        return self._inbox.copy()

    def lent(self) -> int:
        """How many of its jobs wait for others."""
        return sum(map(self._table.is_lent, range(self._first, self._table.used())))

    def take(self, is_taken: Callable[[int], bool]) -> list[Numbered]:
        """Take jobs away that have not begun, by their numbers."""
        taken = []
        for job in self.waiting():
            if is_taken(job[0]):
                with suppress(ValueError):  # it has begun meanwhile
                    self._inbox.remove(job)
                    taken.append(job)
        return taken

    def fill_soon(self) -> None:
        """Begin what it can in the next turn of the loop, whose thread calls this."""
        self._loop.call_soon(self._fill)

    def _fill(self) -> None:
        super()._fill()
        self._filled()

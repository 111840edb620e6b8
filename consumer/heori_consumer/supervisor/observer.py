"""What a pool does, second by second, for whoever chooses its size.

It adds nothing to what the sampler and the workers tell anyway, but for a look at the slots now and
then.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping

import psutil

from heori_common.platform import usable_cores
from heori_consumer.auto.demand import Observation, Spent, TaskUse
from heori_consumer.auto.size import Size
from heori_consumer.between.totals import TaskTotals
from heori_consumer.gil.sampler import GilReport, Sampler, States, Use
from heori_consumer.gil.states import GIL_WAIT, IO_WAIT, RUNNING, WAIT
from heori_consumer.gil.usage import memory
from heori_consumer.pool.handle import WorkerHandle
from heori_consumer.pool.pool import Pool

# For how much of the time jobs have to be there for all slots: a claim takes a moment.
BACKLOG_SHARE = 0.75
# Between two reports; after a longer time there was nothing to do, or this process stood still.
LONGEST_S = 3.0
# How often memory is looked at: it takes the kernel some milliseconds for a large process.
MEMORY_EVERY_S = 5.0
# What a thread takes that runs nothing large: of its stack, and what the interpreter keeps. It was
# seen as the difference between workers of 8 threads and of 128.
SLOT_BYTES = 50_000


class Observer:
    """Looks at a pool.

    Its observations begin where the sampler's reports do, a second apart.
    """

    def __init__(self, pool: Pool, sampler: Sampler) -> None:
        self._pool = pool
        self._sampler = sampler
        self._report = sampler.report
        self._totals = pool.totals()
        self._looks = self._full = self._coroutines = 0
        self._in_line: Counter[tuple[str, str]] = Counter()  # jobs at all looks, by lock and task
        self._settled = True
        self._async: set[str] = set()  # the tasks that were seen on an event loop
        self._memory_at = float("-inf")
        self._process_bytes = self._base_bytes = 0

    def look(self, size: Size) -> Observation | None:
        """Look at the slots; returns an observation when another second is over.

        Args:
            size: that the pool is to have.
        """
        self._look_at_slots(size)
        report = self._sampler.report
        if report is self._report:
            return None
        before, self._report = self._report, report
        totals = self._pool.totals()
        was, self._totals = self._totals, totals
        looks, full, coroutines, settled = self._looks, self._full, self._coroutines, self._settled
        in_line, self._in_line = self._in_line, Counter()
        self._looks = self._full = self._coroutines = 0
        self._settled = True
        if not before.at or report.at - before.at > LONGEST_S:
            return None
        self._look_at_memory()
        seconds = report.at - before.at
        use = _used(before, report)
        states = use.states
        at_wait = states.get(WAIT, 0.0)  # of which nobody can tell what it is for
        gil = any(worker.table.gil_enabled() for worker in self._pool.roster.everyone())
        for_gil = at_wait * min(1.0, use.cpu / seconds / size.processes) if gil else 0.0
        on_loop = coroutines / looks
        # The thread of an event loop that waits, while coroutines do, is no thread with a job.
        loops = min(size.processes, on_loop) * seconds
        waits = states.get(IO_WAIT, 0.0) + at_wait - for_gil - max(0.0, loops - use.loop_busy)
        return Observation(
            seconds=seconds,
            size=size,
            settled=settled,
            backlog=full >= BACKLOG_SHARE * looks,
            running=states.get(RUNNING, 0.0),
            gil_wait=states.get(GIL_WAIT, 0.0) + for_gil,
            io_wait=max(0.0, waits),
            cpu=use.cpu,
            loop_busy=use.loop_busy,
            coroutines=on_loop,
            cores=usable_cores(),
            process_bytes=self._process_bytes,
            slot_bytes=SLOT_BYTES,
            base_bytes=self._base_bytes,
            gil=gil,
            tasks={
                name: ended
                for name, now in totals.items()
                if (ended := self._ended(name, was, now)).finished
            },
            spent={
                name: _spent(before.tasks.get(name, {}), states)
                for name, states in report.tasks.items()
            },
            in_line={line: jobs / looks * seconds for line, jobs in in_line.items()},
        )

    def _look_at_slots(self, size: Size) -> None:
        workers = self._pool.roster.everyone()
        self._looks += 1
        # Where slots are idle though each claim brings all that it asks for, jobs come no faster.
        has_all = not self._pool.is_short or self._pool.idle() == 0
        self._full += has_all and not self._pool.rests
        is_there = len(workers) == size.processes
        for worker in workers:
            self._look_at_lines(worker)
            loop = worker.table.loop()
            busy = worker.table.busy()
            on_loop = {task: jobs for (thread, task), jobs in busy.items() if thread == loop}
            self._coroutines += sum(on_loop.values())
            self._async.update(worker.tasks[task] for task in on_loop.keys() & worker.tasks.keys())
            threads = sum(busy.values()) - sum(on_loop.values())
            is_there = (
                is_there
                and (worker.table.slots, worker.coroutines) == (size.slots, size.coroutines)
                and threads <= size.slots + worker.lent
            )
        self._settled = self._settled and is_there

    def _look_at_lines(self, worker: WorkerHandle) -> None:
        if not worker.in_line:  # most tasks use no locks
            return
        tasks = {state.taken: state.task for state in worker.table.read() if state.running}
        # Some may have ended since it was told: others stand where they stood.
        for number, lines in worker.in_line.items():
            kind, name, _ = lines[0]  # of several at once, which it gets together
            self._in_line[f"{kind} {name}", worker.tasks.get(tasks.get(number, -1), "")] += 1

    def _look_at_memory(self) -> None:
        now = time.monotonic()
        if now - self._memory_at < MEMORY_EVERY_S:
            return
        self._memory_at = now
        own = memory(psutil.Process(os.getpid()))
        self._base_bytes = (own.pss or own.rss) if own else 0
        processes = [each.process for each in self._pool.roster.everyone()]
        has = [found for each in processes if each and (found := memory(each))]
        if has:
            self._process_bytes = sum(each.pss or each.rss for each in has) // len(has)

    def _ended(self, name: str, was: Mapping[str, TaskTotals], now: TaskTotals) -> TaskUse:
        before = was.get(name, TaskTotals())
        return TaskUse(
            sum(now.run_time.counts) - sum(before.run_time.counts),
            now.run_time.total - before.run_time.total,
            now.cpu_time.total - before.cpu_time.total,
            on_loop=name in self._async,
        )


def _spent(before: States, now: States) -> Spent:
    states = (RUNNING, GIL_WAIT, IO_WAIT)
    return Spent(*(now.get(state, 0.0) - before.get(state, 0.0) for state in states))


def _used(before: GilReport, now: GilReport) -> Use:
    """What all workers have used between two reports."""
    use = Use()
    for name, has in now.uses.items():
        use += has.since(before.uses.get(name, Use()))
    return use

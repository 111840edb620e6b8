"""A machine that runs jobs in a simulation: threads, GILs, cores, and services that tasks ask.

Discrete events, and no formula of queueing theory: so it is what such formulas are checked by.
A thread that finds the GIL taken asks for it after the switch interval, as in CPython; each
hand-over costs something. Whoever computes shares the cores evenly with all others that do, as
with a fair scheduler. All threads that compute advance at one speed, so their ends are kept in the
time of a clock that goes at that speed, and a change of the speed costs nothing.
"""

import heapq
import random
from bisect import bisect
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, count

from heori_consumer.auto.demand import Observation, TaskUse
from heori_consumer.auto.size import Size
from tests.rigs.machine_parts import (
    GIL_WAIT,
    IDLE,
    IO_WAIT,
    RUNNING,
    Feeder,
    SimulatedJob,
    SimulatedProcess,
    SimulatedTask,
    SimulatedThread,
)

SWITCH_INTERVAL_S = 0.005
SWITCH_COST_S = 30e-6  # of CPU, for each time that a thread gets the GIL that it has waited for
START_S = 0.4  # until a new process takes jobs
READS_PER_S = 200  # of threads' states, by the sampler that the observations stand for
PROCESS_BYTES = 30_000_000
SLOT_BYTES = 100_000


class Machine:
    """Runs jobs of some tasks, as many as there is room for, or so many a second.

    Args:
        cores: that there are for us, also less than one.
        burners: threads of others that always compute.
        service: how many the service that tasks ask serves at once.
        jitter: how much the parts of jobs differ from each other, as a share.
        arrivals: jobs a second; None: there are always some.
        gil: whether there is one.
        noise: whether states are seen with the errors of a sampler.
        unrest: the share of the cores that others take at most; how much changes every second.
        crowding: how much slower all compute for each thread that computes and lacks a core, as a
            share: they drive each other's data out of the caches.
        feeding: seconds of CPU that the server takes for a job before it is there, and as many that
            the supervisor does: they want the same cores.
        waking: seconds of CPU that a loop takes when it had nothing to do before.
    """

    def __init__(
        self,
        tasks: Sequence[SimulatedTask],
        size: Size,
        *,
        cores: float = 2.0,
        burners: int = 0,
        service: int = 1_000_000,
        jitter: float = 0.3,
        arrivals: float | None = None,
        gil: bool = True,
        noise: bool = True,
        unrest: float = 0.0,
        crowding: float = 0.0,
        feeding: float = 0.0,
        waking: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.tasks = list(tasks)
        self._weighed: list[SimulatedTask] = []  # of which the shares are
        self._shares: list[float] = []  # each with those before it
        self.cores, self.burners, self.service = cores, burners, service
        self.arrivals = arrivals
        self._gil, self._noise = gil, noise
        self._least = 1 - jitter  # of what a part takes
        self._jitter = 1 + jitter - self._least
        self._unrest, self._crowding = unrest, crowding
        self._feeding, self._waking = feeding, waking
        self._random = random.Random(seed)
        self.now = 0.0
        self._clock = 0.0  # of those that compute
        self._cpu_plans: list[tuple[float, int, int, SimulatedThread | Feeder]] = []
        self._plans: list[tuple[float, int, object, object]] = []
        self._number = count()
        self._states = [0, 0, 0, 0]  # threads in each
        self._seconds = [0.0, 0.0, 0.0, 0.0]
        self._cpu = 0.0
        self._loop_busy = 0.0
        self._loops_running = 0
        self._in_service = 0
        self._service_line: deque[object] = deque()
        self._queued = 0
        self._idle: deque[SimulatedThread] = deque()
        self._uses: dict[str, list[float]] = {}
        self._wanted = 0  # by threads that found no job
        self._feeders = Feeder(), Feeder()  # the server, and then the supervisor
        self._busy_feeders = 0
        self.processes: list[SimulatedProcess] = []
        self.size = size
        self._grow(size)
        if arrivals:
            self._plan(1 / arrivals, "arrival", None)

    # What the controller does

    def resize(self, size: Size) -> None:
        """Begin to have this size."""
        self.size = size
        staying = [each for each in self.processes if not each.leaving]
        for process in staying[size.processes :]:
            process.leaving = True
            for thread in process.threads:
                self._leave(thread)
        for process in staying[: size.processes]:
            self._set_slots(process)
        for _ in range(size.processes - len(staying)):
            self._plan(START_S, "start", None)

    def _grow(self, size: Size) -> None:
        for _ in range(size.processes):
            self._start()

    def _start(self) -> None:
        if sum(not each.leaving for each in self.processes) < self.size.processes:
            process = SimulatedProcess()
            process.loop = SimulatedThread(process)
            self.processes.append(process)
            self._set_slots(process)

    def _set_slots(self, process: SimulatedProcess) -> None:
        staying = [thread for thread in process.threads if not thread.leaving]
        for thread in staying[self.size.slots :]:
            self._leave(thread)
        for _ in range(self.size.slots - len(staying)):
            thread = SimulatedThread(process)
            process.threads.append(thread)
            self._states[IDLE] += 1
            self._next_job(thread)
        self._unpark(process)

    def _leave(self, thread: SimulatedThread) -> None:
        thread.leaving = True
        if thread.job is None and thread.state == IDLE and thread in self._idle:
            self._idle.remove(thread)
            self._gone(thread)

    def _gone(self, thread: SimulatedThread) -> None:
        thread.process.threads.remove(thread)
        self._states[thread.state] -= 1
        if thread.process.leaving and not thread.process.threads and not thread.process.coroutines:
            self.processes.remove(thread.process)

    # What happens

    def run(self, seconds: float) -> Observation:
        """Let time pass, and tell what was seen."""
        self._seconds = [0.0] * 4
        self._cpu = self._loop_busy = 0.0
        self._uses = {}
        self._wanted = 0
        before = self.size, self._complete()
        until = self.now + seconds
        cores = self.cores
        if self._unrest:
            cores *= self._random.uniform(1 - self._unrest, 1)
        plans, cpu_plans = self._plans, self._cpu_plans
        states, crowding = self._states, self._crowding
        while True:
            while cpu_plans and cpu_plans[0][3].version != cpu_plans[0][2]:
                heapq.heappop(cpu_plans)
            computing = states[RUNNING] + self.burners + self._busy_feeders
            share = cores / computing if computing > cores else 1.0  # of a core, that each has
            speed = share
            if crowding:
                speed /= 1 + crowding * max(0.0, computing - self.cores)
            at = plans[0][0] if plans else until
            is_cpu = False
            if cpu_plans:
                ends = self.now + (cpu_plans[0][0] - self._clock) / speed
                if ends <= at:
                    at, is_cpu = ends, True
            if at >= until:
                self._pass(until - self.now, speed, share)
                break
            self._pass(at - self.now, speed, share)
            if is_cpu:
                of_cpu = heapq.heappop(cpu_plans)[3]
                if isinstance(of_cpu, Feeder):
                    self._fed(of_cpu)
                else:
                    self._computed(of_cpu)
            else:
                _, _, what, of = heapq.heappop(plans)
                self._happen(what, of)
        return self._observation(seconds, before == (self.size, True) and self._complete())

    def _pass(self, seconds: float, speed: float, share: float) -> None:
        self.now += seconds
        self._clock += seconds * speed
        states, sums = self._states, self._seconds
        sums[0] += states[0] * seconds
        sums[1] += states[1] * seconds
        sums[2] += states[2] * seconds
        self._cpu += states[0] * seconds * share
        self._loop_busy += self._loops_running * seconds

    def _plan(self, seconds: float, what: object, of: object) -> None:
        heapq.heappush(self._plans, (self.now + seconds, next(self._number), what, of))

    def _happen(self, what: object, of: object) -> None:
        if what == "waited":  # most often
            self._waited(of)
        elif what == "start":
            self._start()
        elif what == "arrival":
            if self._idle:
                self._take(self._idle.popleft())
            else:
                self._queued += 1
            assert self.arrivals
            self._plan(self._random.expovariate(self.arrivals), "arrival", None)
        else:
            assert what == "served"
            self._in_service -= 1
            if self._service_line:
                self._serve(self._service_line.popleft())
            self._waited(of)

    def _waited(self, of: object) -> None:
        if isinstance(of, SimulatedThread):
            self._next_phase(of)
        else:
            assert isinstance(of, SimulatedJob)
            self._coroutine_phase(of)

    def _set(self, thread: SimulatedThread, state: int) -> None:
        self._states[thread.state] -= 1
        self._states[state] += 1
        thread.state = state

    # Threads

    def _next_job(self, thread: SimulatedThread) -> None:
        thread.job = None
        if thread.leaving:
            self._gone(thread)
            return
        if self._feeding:
            self._set(thread, IDLE)
            self._feed(self._feeders[0], thread)
            return
        if self.arrivals is not None and not self._queued:
            self._wanted += 1
            self._set(thread, IDLE)
            self._idle.append(thread)
            return
        self._queued -= self.arrivals is not None
        self._take(thread)

    def _feed(self, feeder: Feeder, thread: SimulatedThread) -> None:
        feeder.line.append(thread)
        if not feeder.is_busy:
            self._feed_next(feeder)

    def _feed_next(self, feeder: Feeder) -> None:
        self._busy_feeders += bool(feeder.line) - feeder.is_busy
        feeder.is_busy = bool(feeder.line)
        if feeder.is_busy:
            ends = self._clock + self._feeding
            heapq.heappush(self._cpu_plans, (ends, next(self._number), 0, feeder))

    def _fed(self, feeder: Feeder) -> None:
        thread = feeder.line.popleft()
        self._feed_next(feeder)
        first, last = self._feeders
        if feeder is first:
            self._feed(last, thread)
        elif thread.leaving:
            self._gone(thread)
        else:
            self._take(thread)

    def _take(self, thread: SimulatedThread) -> None:
        if (tasks := self.tasks) is not self._weighed:
            self._weighed, self._shares = tasks, list(accumulate(each.share for each in tasks))
        shares = self._shares
        task = tasks[bisect(shares, self._random.random() * shares[-1], 0, len(tasks) - 1)]
        job = SimulatedJob(task, self.now, thread.process)
        if task.on_loop:
            process = thread.process
            if process.coroutines < self.size.coroutines:
                self._begin_coroutine(job)
                self._plan(0.0, "waited", thread)  # which is free again
                thread.job = None
            else:
                self._set(thread, IDLE)
                process.parked.append((thread, job))
            return
        thread.job = job
        self._next_phase(thread)

    def _next_phase(self, thread: SimulatedThread) -> None:
        job = thread.job
        if job is None:
            self._next_job(thread)
            return
        job.phase += 1
        if job.phase == len(job.task.phases):
            self._finished(job)
            self._next_job(thread)
            return
        kind, seconds = job.task.phases[job.phase]
        seconds *= self._least + self._jitter * self._random.random()
        if kind == "wait":
            self._set(thread, IO_WAIT)
            self._plan(seconds, "waited", thread)
        elif kind == "service":
            self._set(thread, IO_WAIT)
            thread.left = seconds
            self._ask_service(thread)
        else:
            job.cpu += seconds
            thread.left = seconds
            if kind == "free" or not self._gil:
                self._set(thread, RUNNING)
                self._compute(thread, seconds)
            else:
                self._want_gil(thread)

    def _finished(self, job: SimulatedJob) -> None:
        use = self._uses.setdefault(job.task.name, [0, 0.0, 0.0])
        use[0] += 1
        use[1] += self.now - job.began
        use[2] += job.cpu

    def _ask_service(self, of: "SimulatedThread | SimulatedJob") -> None:
        if self._in_service < self.service:
            self._serve(of)
        else:
            self._service_line.append(of)

    def _serve(self, of: object) -> None:
        assert isinstance(of, SimulatedThread | SimulatedJob)
        self._in_service += 1
        self._plan(of.left, "served", of)

    def _compute(self, thread: SimulatedThread, seconds: float) -> None:
        thread.version += 1
        thread.part = seconds
        thread.ends = self._clock + seconds
        heapq.heappush(self._cpu_plans, (thread.ends, next(self._number), thread.version, thread))

    def _want_gil(self, thread: SimulatedThread) -> None:
        process = thread.process
        holder = process.holder
        if holder is None:
            self._get_gil(thread)
            return
        self._set(thread, GIL_WAIT)
        process.waiters.append(thread)
        is_undisturbed = holder.part == holder.left
        if is_undisturbed and holder.ends - self._clock > SWITCH_INTERVAL_S:
            holder.left = holder.ends - self._clock
            self._compute(holder, SWITCH_INTERVAL_S)

    def _get_gil(self, thread: SimulatedThread) -> None:
        process = thread.process
        process.holder = thread
        self._set(thread, RUNNING)
        if thread is process.loop:
            self._loops_running += 1
        if process.waiters and thread.left > SWITCH_INTERVAL_S:
            self._compute(thread, SWITCH_INTERVAL_S)
        else:
            self._compute(thread, thread.left)

    def _computed(self, thread: SimulatedThread) -> None:
        process = thread.process
        if process.holder is not thread:  # it has computed without the GIL
            self._next_phase(thread)
            return
        thread.left -= thread.part
        if thread is process.loop:
            self._loops_running -= 1
        process.holder = None
        next_one = process.waiters.popleft() if process.waiters else None
        if next_one is not None:
            next_one.left += SWITCH_COST_S
            if thread.left > 0:  # it was asked to let go
                self._set(thread, GIL_WAIT)
                process.waiters.append(thread)
            self._get_gil(next_one)
        if thread.left > 0:
            return
        if thread is process.loop:
            self._loop_done(process)
        else:
            self._next_phase(thread)

    # Coroutines

    def _begin_coroutine(self, job: SimulatedJob) -> None:
        job.process.coroutines += 1
        self._coroutine_phase(job)

    def _coroutine_phase(self, job: SimulatedJob) -> None:
        process = job.process
        job.phase += 1
        if job.phase == len(job.task.phases):
            process.coroutines -= 1
            self._finished(job)
            self._unpark(process)
            return
        kind, seconds = job.task.phases[job.phase]
        job.left = seconds * (self._least + self._jitter * self._random.random())
        if kind == "wait":
            self._plan(job.left, "waited", job)
        elif kind == "service":
            self._ask_service(job)
        else:
            job.cpu += job.left
            process.turns.append(job)
            if process.loop is not None and process.loop.job is None:
                job.left += self._waking
            self._turn(process)

    def _unpark(self, process: SimulatedProcess) -> None:
        while process.parked and process.coroutines < self.size.coroutines:
            thread, parked = process.parked.popleft()
            self._begin_coroutine(parked)
            self._next_job(thread)

    def _turn(self, process: SimulatedProcess) -> None:
        loop = process.loop
        assert loop is not None
        if loop.job is None and process.turns:
            loop.job = process.turns.popleft()
            loop.left = loop.job.left
            self._states[IDLE] += 1
            loop.state = IDLE
            self._want_gil(loop)

    def _loop_done(self, process: SimulatedProcess) -> None:
        loop = process.loop
        assert loop is not None
        assert loop.job is not None
        job, loop.job = loop.job, None
        self._states[loop.state] -= 1
        self._coroutine_phase(job)
        self._turn(process)

    # What is seen

    def _complete(self) -> bool:
        return len(self.processes) == self.size.processes and all(
            len(each.threads) == self.size.slots for each in self.processes
        )

    def _observation(self, seconds: float, settled: bool) -> Observation:
        states = self._seconds[:3]
        total = sum(states)
        if self._noise and total:
            reads = max(1.0, READS_PER_S * seconds)
            shares = [max(0.0, each / total) for each in states]
            seen = [
                max(0.0, self._random.gauss(share, (share * (1 - share) / reads) ** 0.5))
                for share in shares
            ]
            states = [each * total / (sum(seen) or 1.0) for each in seen]
        parked = sum(len(each.parked) for each in self.processes)
        coroutines = sum(each.coroutines for each in self.processes)
        names = {task.name: task.on_loop for task in self.tasks}
        return Observation(
            seconds=seconds,
            size=self.size,
            settled=settled,
            backlog=self.arrivals is None or (self._wanted == 0 and self._queued > 0),
            running=states[0],
            gil_wait=states[1],
            io_wait=states[2],
            cpu=self._cpu,
            loop_busy=self._loop_busy,
            coroutines=float(coroutines + parked),
            cores=self.cores,
            process_bytes=PROCESS_BYTES,
            slot_bytes=SLOT_BYTES,
            gil=self._gil,
            tasks={
                name: TaskUse(int(use[0]), use[1], use[2], on_loop=names.get(name, False))
                for name, use in self._uses.items()
            },
        )

"""What a job needs, in seconds, and how that is told from what is seen of a pool.

What threads wait for and what they compute can be seen. How much of their computing holds the GIL
cannot, but the line at the GIL tells it: the longer it is, the busier the GIL must be.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from heori_consumer.auto.queueing import Station, busy_at_line
from heori_consumer.auto.size import Size

# The line at the GIL says nothing where computing in Python alone would make one as short as this.
LEAST_LINE = 0.15  # threads
# Threads that wait for the GIL look every 5 ms whether it is theirs. Where others leave so little
# of the cores that threads are ready for so many times as long as they compute, they are seen to be
# ready then.
STARVED = 1.5
LEFT_BY_OTHERS = 0.85
# An event loop that is this busy does not tell how long its coroutines wait for other things.
BUSY_LOOP = 0.95
# How many times as much of jobs' CPU may hold the GIL as the line tells.
SHARE_ERROR = 2.0
# An event loop that is less busy may do more: what it does in a turn is for all that are there.
FULL_LOOP = 0.8
IN_FULL_LOOP = 0.9  # of the CPU for a job, about
# Of its slots, that have nothing to do though there are jobs: these come no faster.
IDLE = 0.3


class TaskUse(NamedTuple):
    """What jobs of one task have used that ended in some time."""

    finished: int
    run: float  # seconds from their beginnings to their ends
    cpu: float  # seconds
    on_loop: bool = False  # whether they are coroutines of an event loop


class Spent(NamedTuple):
    """Seconds that threads with a job of some task spent so."""

    running: float = 0.0
    gil_wait: float = 0.0
    io_wait: float = 0.0

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(*map(sum, zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of a pool for some time, a second as a rule.

    Attributes:
        seconds: how long.
        size: what the pool is to have.
        settled: whether it had that, all the time.
        backlog: whether there were jobs for all slots, or as many as could be brought to them.
        running, gil_wait, io_wait: seconds that threads with a job spent so; those that lacked a
            core are running.
        cpu: CPU seconds of all worker processes.
        loop_busy: seconds that event loops were at work.
        coroutines: how many run, or wait for room on an event loop, on average.
        cores: that the consumer may use.
        process_bytes, slot_bytes: memory of a process, and of each further slot of it.
        base_bytes: memory of the consumer beside them.
        gil: whether there is one.
        tasks: by name, what ended.
        spent: how threads with a job spent their time, by its task.
        in_line: seconds that jobs stood in line for locks, by lock and task; those of threads are
            of io_wait.
    """

    seconds: float
    size: Size
    settled: bool
    backlog: bool
    running: float
    gil_wait: float
    io_wait: float
    cpu: float
    loop_busy: float
    coroutines: float
    cores: float
    process_bytes: int
    slot_bytes: int
    base_bytes: int = 0
    gil: bool = True
    tasks: Mapping[str, TaskUse] = field(default_factory=dict)
    spent: Mapping[str, Spent] = field(default_factory=dict)
    in_line: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def threads(self) -> float:
        """Seconds of threads that had a job."""
        return self.running + self.gil_wait + self.io_wait

    @property
    def progress(self) -> float:
        """Seconds of threads in which jobs came nearer to their ends."""
        return self.cpu + self.io_wait + self.coroutines * self.seconds

    def memory(self, size: Size, growth: int = 1) -> int:
        """The bytes that a consumer of some size has, as far as is known.

        Args:
            growth: of threads that are new, how many times as much they take as others do.
        """
        slots = size.slots - self.size.slots
        slot_bytes = self.slot_bytes * (growth if slots > 0 else 1)
        return self.base_bytes + size.processes * (self.process_bytes + slots * slot_bytes)


class Demand(NamedTuple):
    """What one job needs, in seconds, when nothing is in its way."""

    gil: float  # of CPU, with the GIL
    free: float  # of CPU, without it
    wait: float  # for all else

    @property
    def cpu(self) -> float:
        """Seconds of CPU."""
        return self.gil + self.free

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.gil + self.free + self.wait


class Mix(NamedTuple):
    """What the jobs of now need.

    Attributes:
        full_loops: whether event loops are at work nearly all of the time.
    """

    plain: Demand  # of a job in a thread
    coroutine: Demand  # of one on an event loop
    on_loop: float  # the share of jobs that are coroutines
    gil_share: float | None  # of plain jobs' CPU, that holds the GIL; None where it is a guess
    full_loops: bool = False

    @property
    def of_fewer_processes(self) -> "Mix":
        """The same, as it is to be reckoned with where fewer processes are to do as much.

        Of the GIL it is the worst: jobs that let go of it often, as between the blocks that they
        hash, and others that keep it make lines that come and go, which tell less than they seem.
        """
        plain, coroutine = self.plain, self.coroutine
        gil = min(plain.cpu, SHARE_ERROR * plain.gil)
        return self._replace(
            plain=plain._replace(gil=gil, free=plain.cpu - gil),
            coroutine=coroutine._replace(gil=IN_FULL_LOOP * coroutine.gil),
        )


def estimate(seen: Sequence[Observation], guess: float = 1.0) -> Mix:
    """What the jobs need that were at work then.

    Jobs that take long may not have ended. Then a job stands for a second of a thread: how many
    there are changes nothing in what they are like.

    Args:
        seen: of one size.
        guess: the share of CPU that holds the GIL, where it cannot be seen.
    """
    size = seen[-1].size
    seconds = sum(each.seconds for each in seen)
    running = sum(each.running for each in seen)
    waits = sum(each.io_wait for each in seen)
    loop_busy = sum(each.loop_busy for each in seen)
    finished, of_loops = count(seen)
    busy_loops = min(1.0, loop_busy / seconds / size.processes)
    all_cpu = sum(each.cpu for each in seen)
    # A loop that lacks a core is at work for longer than it computes.
    cpu = max(0.0, all_cpu - loop_busy * min(1.0, all_cpu / (running or 1.0)))
    of_threads = max(0.0, running - loop_busy)

    share = _gil_share(seen, size, seconds, of_threads, waits, busy_loops)
    if share and is_starved(seen):
        share = None
    gil = guess if share is None else share
    jobs = finished - of_loops or cpu + waits or 1.0
    if finished - of_loops == 0 and of_loops:
        jobs = 1.0
    # In line for a lock a job waits for others, and not for as long as it needs.
    in_line = 0.0 if loop_busy else sum(sum(each.in_line.values()) for each in seen)
    own_waits = max(0.0, waits - in_line)
    plain = Demand(cpu * gil / jobs, cpu * (1 - gil) / jobs, own_waits / jobs)

    room = size.processes * size.coroutines
    coroutines = sum(min(each.coroutines, room) * each.seconds for each in seen)
    loops_jobs = of_loops or coroutines
    if not loops_jobs:
        return Mix(plain, Demand(0.0, 0.0, 0.0), 0.0, share)
    # What brings them their jobs needs the GIL, too.
    computing = (all_cpu if finished == of_loops else all_cpu - cpu) / loops_jobs
    stay = loop_busy / loops_jobs / max(1 - BUSY_LOOP, 1 - busy_loops)
    coroutine = Demand(computing, 0.0, max(0.0, coroutines / loops_jobs - stay))
    all_jobs = finished or cpu + waits + loops_jobs
    on_loop = min(1.0, loops_jobs / (all_jobs or 1.0))
    return Mix(plain, coroutine, on_loop, share, busy_loops >= FULL_LOOP)


def count(seen: Iterable[Observation]) -> tuple[int, int]:
    """How many jobs ended, and how many of them were coroutines."""
    uses = [use for each in seen for use in each.tasks.values()]
    return sum(use.finished for use in uses), sum(use.finished for use in uses if use.on_loop)


def is_starved(seen: Sequence[Observation]) -> bool:
    """Whether others take the cores: there are threads for more of them than this pool has."""
    seconds = sum(each.seconds for each in seen)
    cpu = sum(each.cpu for each in seen)
    running = sum(each.running for each in seen)
    return running > STARVED * cpu and cpu < LEFT_BY_OTHERS * seconds * seen[-1].cores


def is_fed_slowly(seen: Sequence[Observation]) -> bool:
    """Whether jobs come no faster than this pool does them, though there are more."""
    slots = sum(each.size.processes * each.size.slots * each.seconds for each in seen)
    room = sum(each.size.processes * each.size.coroutines * each.seconds for each in seen)
    taken = [
        sum(each.threads for each in seen) / slots,
        sum(each.coroutines * each.seconds for each in seen) / room,
    ]
    return max(taken) < 1 - IDLE


def _gil_share(
    seen: Sequence[Observation],
    size: Size,
    seconds: float,
    running: float,
    waits: float,
    busy_loops: float,
) -> float | None:
    if not seen[-1].gil:
        return 0.0
    most = running + waits
    if not most:
        return None
    threads = size.slots
    if Station(running / most, waits / most).flow(threads).line < LEAST_LINE:
        return None
    a_process = seconds * size.processes
    line = sum(each.gil_wait for each in seen) / a_process
    busy = max(0.0, busy_at_line(threads, line) - busy_loops)
    return min(1.0, busy / max(1e-9, running / a_process))

"""Work for simulated machines, the best fixed size for each, and what a controller makes of it."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from heori_consumer.auto.controller import Controller
from heori_consumer.auto.move import Move
from heori_consumer.auto.size import Size, SizeBounds
from tests.rigs.machine import Machine
from tests.rigs.machine_parts import Phase, SimulatedTask

DEFAULT = Size(1, 8, 64)  # with which a consumer begins
MOST_SLOTS = 64


class Work(NamedTuple):
    """Tasks, and the machine that runs them."""

    tasks: tuple[SimulatedTask, ...]
    machine: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it
    sizes: tuple[int, ...] = (1, 2, 8, 16, 64)  # of slots, that are tried

    @property
    def cores(self) -> int:
        """Whole ones, of which there is one at least."""
        return max(1, int(self.machine.get("cores", 2)))

    @property
    def bounds(self) -> SizeBounds:
        """As many processes as cores, which is enough where nobody else wants them."""
        return SizeBounds(self.cores, MOST_SLOTS, 256)

    def start(self, size: Size, seed: int = 0) -> Machine:
        """A machine at this work."""
        return Machine(self.tasks, size, seed=seed, **self.machine)


def task(*phases: Phase, name: str = "job", share: float = 1.0) -> SimulatedTask:
    return SimulatedTask(name, phases, share)


def coroutine(*phases: Phase, name: str = "coroutine") -> SimulatedTask:
    return SimulatedTask(name, phases, on_loop=True)


def gil(seconds: float) -> Phase:
    return Phase("gil", seconds)


def free(seconds: float) -> Phase:
    return Phase("free", seconds)


def wait(seconds: float) -> Phase:
    return Phase("wait", seconds)


PYTHON = task(gil(0.02))
MIXED = task(gil(0.004), wait(0.006), gil(0.001))

# The twelve shapes that `python -m benchmarks auto` measures, but for a change of work; with long
# jobs, others at the cores, quotas and many cores.
WORK = {
    "pure Python": Work((PYTHON,)),
    "hashing": Work((task(gil(0.001), free(0.02)),)),
    "as NumPy": Work((task(gil(0.004), free(0.02)),)),
    "20 ms of waiting": Work((task(gil(0.0003), wait(0.02), gil(0.0003)),)),
    "500 ms of waiting": Work((task(gil(0.001), wait(0.5)),)),
    "a mixture": Work((MIXED,)),
    "a mixture with hashing": Work((task(gil(0.002), free(0.004), wait(0.02)),)),
    "hashing in blocks": Work((task(gil(0.01), *((free(0.001), gil(2e-6)) * 10)),)),
    "a mixture in parts": Work((task(*((gil(0.001), wait(0.003)) * 4)),)),
    "two tasks, one waits": Work(
        (task(gil(0.02), name="a"), task(gil(0.0005), wait(0.1), name="b"))
    ),
    "two tasks, one hashes": Work(
        (task(gil(0.001), free(0.02), name="a"), task(gil(0.01), name="b"))
    ),
    "async": Work((coroutine(gil(0.001), wait(0.1)),)),
    "async and plain": Work((coroutine(gil(0.001), wait(0.1)), task(gil(0.01)))),
    "a service of 50 at once": Work((task(gil(0.0003), Phase("service", 0.02)),), {"service": 50}),
    "long jobs": Work((task(gil(10.0)),), sizes=(1, 8)),
    "long jobs that wait": Work((task(gil(0.1), wait(10.0)),), sizes=(8, 64)),
    "pure Python beside burners": Work((PYTHON,), {"burners": 2}),
    "pure Python on half a core": Work((PYTHON,), {"cores": 0.5}),
    "waiting on half a core": Work((task(gil(0.001), wait(0.05)),), {"cores": 0.5}),
    "a mixture on one core": Work((MIXED,), {"cores": 1}),
    "pure Python on eight cores": Work((task(gil(0.05)),), {"cores": 8}, sizes=(1, 2, 8)),
    "without a GIL": Work((PYTHON,), {"gil": False}),
}


# Coroutines that wait for 50 ms, on two cores that Redis and the supervisor want, too. With a tenth
# of the jobs, each of which takes ten times as long, so that it is not long in coming.
TENTH = 10
FED = Work(
    (coroutine(gil(50e-6 * TENTH), wait(0.05 * TENTH)),),
    {"feeding": 33e-6 * TENTH, "waking": 60e-6 * TENTH, "crowding": 0.06},
)

# Threads that wait for 20 ms, where Redis and the supervisor want most of the cores.
WAITS_FED = Work(
    (task(gil(100e-6 * TENTH), wait(0.02 * TENTH)),),
    {"feeding": 33e-6 * TENTH, "crowding": 0.15},
)

# What made the controller move in vain: cores that others take now and then, and a service that
# bounds what a loop does.
RESTLESS = {
    "pure Python": Work((PYTHON,), {"unrest": 0.3}),
    "pure Python on one core": Work((PYTHON,), {"cores": 1, "unrest": 0.3}),
    "half Python, half hashing, on half a core": Work(
        (task(gil(0.01), free(0.01)),), {"cores": 0.5, "unrest": 0.3}
    ),
    "async that a service bounds": Work(
        (coroutine(gil(0.0002), Phase("service", 0.05)),), {"service": 6}
    ),
}


def finished(machine: Machine, seconds: float = 1.0) -> int:
    """Let time pass; returns how many jobs have ended."""
    return sum(use.finished for use in machine.run(seconds).tasks.values())


def steady_rate(machine: Machine, jobs: int) -> float:
    """Jobs a second at the size that a machine has, over about so many jobs.

    Those that have begun together end together, so the first rounds do not count.
    """
    size = machine.size
    at_once = size.processes * size.slots
    if any(each.on_loop for each in machine.tasks):
        at_once += size.processes * size.coroutines

    def rate(jobs: int) -> float:
        done, begin = 0, machine.now
        while done < jobs:
            done += finished(machine)
        return done / (machine.now - begin)

    rate(2 * at_once)
    return rate(max(jobs, 4 * at_once))


@cache
def fixed(name: str) -> dict[Size, float]:
    """Throughput at fixed sizes."""
    work = WORK[name]
    most = work.bounds.max_processes
    # Of several tasks more are counted, as they come in no order.
    jobs = 60 if name.startswith("long") else 3000 if len(work.tasks) > 1 else 800
    return {
        size: steady_rate(work.start(size), jobs)
        for processes in sorted({1, (most + 1) // 2, most})
        for slots in work.sizes
        for size in [Size(processes, slots, DEFAULT.coroutines)]
    }


class Run(NamedTuple):
    """What a controller has made of some work."""

    rates: list[float]  # jobs a second, for each second
    moves: list[tuple[int, Move]]  # each after so many seconds
    controller: Controller


def moves(
    machine: Machine, controller: Controller, seconds: int
) -> Iterator[tuple[int, Move | None, int]]:
    """Steer a machine; yields for each second its move and the jobs that have ended."""
    for second in range(1, seconds + 1):
        seen = machine.run(1.0)
        move = controller.step(seen)
        if move is not None:
            machine.resize(move.size)
        yield second, move, sum(use.finished for use in seen.tasks.values())


def steer(work: Work, seconds: int, seed: int = 1, start: Size = DEFAULT) -> Run:
    """Begin with the default, and let a controller steer."""
    controller = Controller(start, work.bounds)
    seen = list(moves(work.start(start, seed), controller, seconds))
    return Run(
        [float(done) for _, _, done in seen],
        [(second, move) for second, move, _ in seen if move is not None],
        controller,
    )

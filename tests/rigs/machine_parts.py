"""What a simulated machine is made of, and what runs on it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["gil", "free", "wait", "service"]

RUNNING, GIL_WAIT, IO_WAIT, IDLE = range(4)  # what a thread does


class Phase(NamedTuple):
    """A part of a job: with the GIL, computing without it, waiting, or asking the service."""

    kind: Kind
    seconds: float


class SimulatedTask(NamedTuple):
    """A task, and how many of the jobs are of it."""

    name: str
    phases: tuple[Phase, ...]
    share: float = 1.0
    on_loop: bool = False


@dataclass(eq=False, slots=True)
class SimulatedProcess:
    loop: "SimulatedThread | None" = None
    holder: "SimulatedThread | None" = None
    waiters: "deque[SimulatedThread]" = field(default_factory=deque)
    threads: "list[SimulatedThread]" = field(default_factory=list)
    coroutines: int = 0  # that run
    turns: "deque[SimulatedJob]" = field(default_factory=deque)  # coroutines that want the loop
    # Coroutines that have come, until there is room.
    parked: "deque[tuple[SimulatedThread, SimulatedJob]]" = field(default_factory=deque)
    leaving: bool = False


@dataclass(eq=False, slots=True)
class SimulatedThread:
    process: SimulatedProcess
    job: "SimulatedJob | None" = None
    left: float = 0.0  # of the phase
    ends: float = 0.0  # by the clock of those that compute
    part: float = 0.0  # of what is left, that it computes until then
    version: int = 0  # of what is planned for it
    state: int = IDLE
    leaving: bool = False


@dataclass(eq=False, slots=True)
class SimulatedJob:
    task: SimulatedTask
    began: float
    process: SimulatedProcess
    phase: int = -1
    left: float = 0.0
    cpu: float = 0.0


@dataclass(eq=False, slots=True)
class Feeder:
    """What has a part in each job's way to its thread, one after the other."""

    line: "deque[SimulatedThread]" = field(default_factory=deque)
    is_busy: bool = False
    version: int = 0  # nothing that it does is ever planned anew

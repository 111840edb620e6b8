"""What was measured of execution models at some kinds of work, and what there is to learn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Self

from heori import formats

# A setup within a tenth of the fastest counts as fast: the figures are no better than that.
AS_FAST = 0.9
FASTER = 1.3  # times the rate: worth a sentence
MUCH_WAIT = 0.15  # share of threads' time in which they waited for the GIL: likewise
MOSTLY_BUSY = 0.6  # of a core: a process that uses more does not wait most of the time


@dataclass(frozen=True, slots=True)
class Setup:
    """An execution model and its size."""

    model: str
    processes: int
    slots: int  # of each process

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.model} {self.processes}×{self.slots}"


@dataclass(frozen=True, slots=True)
class Figures:
    """One setup at one workload.

    Attributes:
        workload: its name.
        about: what it is, in a few words.
        jobs, rate: how many were done, and how many a second.
        speedup: times the rate of one thread.
        gil_wait: share of the time of busy threads in which they waited for the GIL.
        gil_loss: share of the possible throughput that the GIL has cost, as /metrics define it.
        cores: CPU seconds a second, of the workers.
        cpu: CPU seconds per job.
        memory: bytes per slot, as proportional set size.
        switches: context switches per job.
        gil: whether the interpreter has a GIL that is on.
    """

    workload: str
    about: str
    setup: Setup
    jobs: int
    rate: float
    speedup: float
    gil_wait: float
    gil_loss: float
    cores: float
    cpu: float
    memory: float
    switches: float
    gil: bool

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**record, "setup": Setup(**record["setup"])})

    @property
    def total_memory(self) -> float:
        """Bytes, of all slots."""
        return self.memory * self.setup.processes * self.setup.slots


@dataclass(frozen=True, slots=True)
class AutoFound:
    """What the model auto made of a workload.

    Attributes:
        figures: of the size that it had in the end.
        path: the sizes that it has had, in order.
        moves: why, and what came of each, in words.
        best: of the setups that run the same function: the fastest.
        of_best: times the rate of that.
    """

    figures: Figures
    path: list[str]
    moves: list[str]
    best: Setup
    of_best: float

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        figures, best = Figures.from_json(record["figures"]), Setup(**record["best"])
        return cls(**{**record, "figures": figures, "best": best})

    @property
    def sentence(self) -> str:
        """For people."""
        path = " → ".join(self.path)
        return (
            f"{self.figures.about}: {path}, {formats.count(self.figures.rate)} jobs/s, "
            f"{self.of_best:.2f} × {self.best.name}"
        )


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and what it did.

    Attributes:
        name: its version, such as ``3.14.0t``.
        cores: that it could use.
        stolen: the share of their time that other guests of this machine had meanwhile.
        auto: what the model auto made of each workload.
    """

    name: str
    cores: float
    stolen: float
    figures: list[Figures]
    auto: list[AutoFound] = field(default_factory=list)

    def by_workload(self) -> list[tuple[str, list[Figures]]]:
        """The figures of each workload, those of the model auto the last."""
        found = {each.figures.about: each.figures for each in self.auto}
        return [
            (about, [*figures, *([found[about]] if about in found else [])])
            for about, figures in by_workload(self.figures)
        ]


# What is shown of each setup: the headings, and how the figures are written.
COLUMNS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("jobs/s", lambda each: formats.count(each.rate)),
    ("× one\nthread", lambda each: formats.times(each.speedup)),
    ("GIL\nwait", lambda each: formats.share(each.gil_wait)),
    ("lost to\nthe GIL", lambda each: formats.share(each.gil_loss)),
    ("cores\nused", lambda each: formats.cores(each.cores)),
    ("CPU ms\n/job", lambda each: f"{each.cpu * 1e3:.1f}"),
    ("MB\n/slot", lambda each: f"{each.memory / 1e6:.1f}"),
    ("switches\n/job", lambda each: f"{each.switches:.1f}"),
)


def by_workload(figures: Iterable[Figures]) -> list[tuple[str, list[Figures]]]:
    """The figures of each workload, by what it is about."""
    return [(about, list(group)) for about, group in groupby(figures, lambda each: each.about)]


def choice(figures: Sequence[Figures]) -> Figures:
    """The setup to take for a workload: of the fastest, the one that takes the least memory."""
    best = max(each.rate for each in figures)
    return min(
        (each for each in figures if each.rate >= best * AS_FAST),
        key=lambda each: (each.total_memory, each.setup.processes * each.setup.slots),
    )


def advice(figures: Sequence[Figures]) -> str:
    """Which setup to take for a workload, and why, in a sentence."""
    taken = choice(figures)
    threads = _best_threads(figures)
    said = f"{taken.about}: take {taken.setup.name}, {taken.speedup:.1f} times one thread"
    if taken.speedup < FASTER:
        return f"{said}: nothing is faster here, and nothing takes less memory."
    if taken.setup.model == "asyncio":
        if taken.cores > MOSTLY_BUSY * taken.setup.processes:
            return f"{said}: nothing is faster here, and nothing takes less memory."
        return f"{said}: it waits most of the time, and a coroutine is the cheapest thing that can."
    if taken.setup.model == "threads":
        return f"{said}: {_why_threads(taken)}."
    if threads.rate >= taken.rate * AS_FAST:
        return (
            f"{said}: {threads.setup.name} do {threads.speedup:.1f} times, and take more memory, "
            f"{formats.size(threads.total_memory)} in all."
        )
    if threads.gil_wait > MUCH_WAIT:
        return (
            f"{said}: {threads.setup.name} do {threads.speedup:.1f} times, as their threads wait "
            f"for the GIL {threads.gil_wait:.0%} of the time, and each process has its own."
        )
    return f"{said}: {threads.setup.name} do {threads.speedup:.1f} times."


def _why_threads(taken: Figures) -> str:
    if not taken.gil:
        return f"this Python has no GIL to wait for, and they use {taken.cores:.1f} cores"
    if taken.gil_wait > MUCH_WAIT:
        return (
            f"no other is faster, although they wait for the GIL {taken.gil_wait:.0%} of the time"
        )
    if taken.cores > FASTER:
        return (
            f"this work lets go of the GIL, so that they use {taken.cores:.1f} cores at "
            f"{formats.size(taken.memory)} a slot"
        )
    return f"it waits, and not for the GIL; a slot takes {formats.size(taken.memory)}"


def _best_threads(figures: Sequence[Figures]) -> Figures:
    threads = [each for each in figures if each.setup.model == "threads" and each.setup.slots > 1]
    return max(threads, key=lambda each: (each.rate, each.setup.slots))

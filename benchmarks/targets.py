"""What is to be reached, and whether it was."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.table import Table

from benchmarks import features, fleet, gil, locks, redelivery, sending, stored, tenants
from benchmarks.kinds import Results
from benchmarks.memory import PROCESS, THREAD
from benchmarks.systems import dramatiq, heori, taskiq

Figure = Callable[[Results], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A goal for one kind of measurement.

    Attributes:
        figure: takes it from the medians; raises KeyError or ValueError if it was not measured.
        most: whether the goal is the most that it may be, rather than the least.
    """

    kind: str
    name: str
    goal: float
    figure: Figure
    most: bool = False

    def reached(self, results: Results) -> float | None:
        """The figure; None if it was not measured."""
        try:
            return self.figure(results)
        except (KeyError, ValueError):
            return None

    def met(self, reached: float) -> bool:
        """Whether a figure will do."""
        return reached <= self.goal if self.most else reached >= self.goal


def _one(kind: str, case: str, figure: str) -> Figure:
    return lambda results: results[kind][case][figure]


def _best(kind: str, figure: str, *prefixes: str) -> Figure:
    """The highest among all cases whose names begin so."""

    def best(results: Results) -> float:
        cases = results[kind].items()
        return max(figures[figure] for case, figures in cases if case.startswith(prefixes))

    return best


def _of_huey(kind: str, figure: str) -> Figure:
    ours = _one(kind, heori("threads", 1, 8).name, figure)
    return _ratio(ours, _one(kind, sending.HUEY.name, figure))


def _ratio(figure: Figure, of: Figure) -> Figure:
    return lambda results: figure(results) / of(results)


def _spread(kind: str, case: str) -> Figure:
    return _ratio(_one(kind, case, "p99"), _one(kind, case, "p50"))


def _worst(kind: str, figure: str) -> Figure:
    return lambda results: max(
        figures[figure] for figures in results[kind].values() if figure in figures
    )


def _least(kind: str, figure: str) -> Figure:
    return lambda results: min(figures[figure] for figures in results[kind].values())


def _errors(results: Results) -> list[float]:
    return [figures["error"] for figures in results["gil"].values() if "error" in figures]


def _rise(results: Results) -> float:
    """How many times as long threads wait for a core beside burners as without, at least."""
    found = results["gil"]
    pairs = [
        (found[gil.BESIDE + name], found[name]) for name in found if gil.BESIDE + name in found
    ]
    return min(beside["starved"] / alone["starved"] for beside, alone in pairs)


def _beyond_lease(results: Results) -> float:
    figures = results["redelivery"][redelivery.CONSUMER]
    return figures["seconds"] - figures["lease"]


OURS = heori("threads", 1, 1)
DRAINED = _best("drain", "rate", "heori")
# The peers that keep results and lose nothing when a consumer is killed.
SAFE = _best("drain", "rate", taskiq(2).name, dramatiq(2, 8, results=True).name)
STORED = stored.bytes_case(OURS, stored.SMALL)
WHOLE = ("memory", OURS.name)
KILLED = ("redelivery", redelivery.WORKER)
ALONE = ("locks", locks.pair_case(locks.HEORI))
SECTION = ("locks", locks.section_case(locks.HEORI))
EMPTY = ("locks", locks.empty_case(locks.HEORI))
PAIRS = ("features", features.PAIRS)
DEAD_WAITER, DEAD_HOLDER = ("locks", locks.DEAD_WAITER), ("locks", locks.DEAD_HOLDER)
BESIDE = _ratio(_one("tenants", tenants.BESIDE, "wait"), _one("tenants", tenants.ALONE, "wait"))

TARGETS = (
    Target("drain", "jobs/s", 15_000, DRAINED),
    Target("drain", "jobs/s, after that", 20_000, DRAINED),
    Target("drain", "× the fastest peer that loses nothing", 4, _ratio(DRAINED, SAFE)),
    Target("drain", "× rq SimpleWorker", 50, _best("drain", "of_rq", "heori")),
    Target("drain", "round trips per job", 0.1, _one("drain", OURS.name, "reads"), most=True),
    Target("drain", "commands per job", 10, _one("drain", OURS.name, "commands"), most=True),
    Target("latency", "p50, × huey's", 1, _of_huey("latency", "p50"), most=True),
    Target("latency", "p99, × huey's", 1, _of_huey("latency", "p99"), most=True),
    Target("io", "threads, jobs/s", 2_400, _best("io", "rate", "heori threads")),
    Target("io", "asyncio, jobs/s", 2_400, _best("io", "rate", "heori asyncio")),
    Target("cpu", "2 processes, % of bare ones", 95, _best("cpu", "of_pool", "heori processes")),
    Target("enqueue", "one by one, × a bare EVALSHA", 0.85, _one("enqueue", OURS.name, "of_floor")),
    Target("enqueue", "in bulk, jobs/s", 40_000, _one("enqueue", OURS.name, "bulk")),
    Target("claim", "of 1,000,000, × that of 1,000", 1.1, _worst("claim", "ratio"), most=True),
    Target("memory", "supervisor + 1 worker, MB", 60, _one(*WHOLE, "total"), most=True),
    Target("memory", "each further process, MB", 12, _one("memory", PROCESS, "each"), most=True),
    Target("memory", "each further thread, MB", 0.2, _one("memory", THREAD, "each"), most=True),
    Target("bytes", "per finished job", 1_200, _one("bytes", STORED, "used"), most=True),
    Target("redelivery", "worker killed, seconds", 1, _one(*KILLED, "seconds"), most=True),
    Target("redelivery", "consumer killed, seconds beyond lease", 2, _beyond_lease, most=True),
    Target("redelivery", "jobs lost", 0, _worst("redelivery", "lost"), most=True),
    Target("gil", "mean error of gil_loss", 0.06, lambda r: statistics.mean(_errors(r)), most=True),
    Target("gil", "its worst error", 0.25, lambda r: max(_errors(r)), most=True),
    Target("gil", "R beside burners, × without, least", 1.5, _rise),
    Target("gil", "sampler, % of a core", 1, _worst("gil", "cost"), most=True),
    Target("locks", "alone, × two bare EVALSHA", 1.15, _one(*ALONE, "of_floor"), most=True),
    Target("locks", "1 ms inside, owner changes/s", 620, _one(*SECTION, "changes")),
    Target("locks", "1 ms inside, most/fewest", 1.05, _one(*SECTION, "unfair"), most=True),
    Target("locks", "1 ms inside, p99/p50 of waits", 1.5, _spread(*SECTION), most=True),
    Target("locks", "1 ms inside, round trips each", 3, _one(*SECTION, "reads"), most=True),
    Target("locks", "nothing inside, owner changes/s", 4_000, _one(*EMPTY, "changes")),
    Target("locks", "dead waiter skipped, ms", 10, _one(*DEAD_WAITER, "late"), most=True),
    Target("locks", "dead holder, ms beyond its lease", 100, _one(*DEAD_HOLDER, "late"), most=True),
    Target("tenants", "beside a flood, × alone", 2, BESIDE, most=True),
    Target("features", "depends_on: pairs/s", 4_000, _one(*PAIRS, "pairs")),
    Target("features", "ttl, × plain", 0.8, _one("features", features.TTL, "of_plain")),
    Target("features", "Retry, × plain", 0.8, _one("features", features.RETRY, "of_plain")),
    Target("features", "Repeat, × plain", 0.8, _one("features", features.REPEAT, "of_plain")),
    Target("locks", "1,000 renewed, calls", 10, _one("locks", locks.RENEWAL, "calls"), most=True),
    Target("fleet", "commands a job, × one consumer's", 1.1, fleet.most("commands"), most=True),
    Target("fleet", "server µs a job, × one's", 1.1, fleet.most("server_us"), most=True),
    Target("fleet", "sent by rq: commands, × one's", 1.1, fleet.most("rq_commands"), most=True),
    Target("fleet", "sent by rq: server µs, × one's", 1.1, fleet.most("rq_server_us"), most=True),
    Target("fleet", "p50, × one's", 1.2, fleet.most("p50", simulated=False), most=True),
    Target("fleet", "idle, commands/s of each", 3, fleet.each_idle("idle_commands"), most=True),
    Target("fleet", "idle, % of a core of each", 0.3, fleet.idle("idle_consumer"), most=True),
    Target("fleet", "idle, × one queue's", 2, fleet.over_queues("idle_commands", max), most=True),
    Target("fleet", "drain, × one queue's", 0.9, fleet.over_queues("drain", min)),
    Target("fleet pick-up", "p50, × huey's", 1, _of_huey("fleet pick-up", "p50"), most=True),
    Target("fleet pick-up", "p99, × huey's", 1, _of_huey("fleet pick-up", "p99"), most=True),
    Target(
        "fleet fairness", "least, of a fair share", 0.9, _least("fleet fairness", "least_of_fair")
    ),
    Target(
        "fleet fairness",
        "most, of a fair share",
        1.1,
        _worst("fleet fairness", "most_of_fair"),
        most=True,
    ),
)


def table(results: Results) -> Table:
    """The goals of what was measured, each with its figure and whether it was met."""
    shown = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "target"):
        shown.add_column(heading)
    for heading in ("goal", "reached"):
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for target in TARGETS:
        if target.kind not in results:
            continue
        reached = target.reached(results)
        shown.add_row(
            target.kind,
            target.name,
            f"{'≤' if target.most else '≥'} {target.goal:,}",
            "" if reached is None else f"{reached:,.0f}" if reached >= 100 else f"{reached:.3g}",
            "not measured" if reached is None else "met" if target.met(reached) else "missed",
        )
    return shown

"""What it costs to have many consumers, and to serve many queues.

One job at a time is sent to consumers that are idle, the next one when its result is there, so that
whatever else happens in the server happens for the sake of their number.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.beside import BESIDE
from benchmarks.fleet_rig import Fleet, Use
from benchmarks.kinds import Case, Column, Figures, Kind, Results
from benchmarks.sending import HUEY, SAMPLES, pick_up
from benchmarks.simulated import files_missing
from benchmarks.systems import QUEUE, RQ_SIMPLE, System, heori

RQ = "rq"
REAL = 4  # beside the simulated ones
SIMULATED = (10, 100, 200, 1_000, 2_000)  # with those
JOIN_PER_S = 200  # of them
LONGEST = 20.0  # seconds for jobs that are sent one at a time; fewer of them then
FAIR_JOBS = 10_000
FAIR = 16  # consumers
ONE = heori("threads", 1, 8)


@dataclass(frozen=True, slots=True)
class Size:
    """How long to look, and at how much."""

    jobs: int  # sent one at a time, by each library
    drained: int  # jobs of a full queue
    idle: float  # seconds


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many consumers serve how many queues."""

    consumers: int
    queues: int = 1
    simulated: int = 0  # of the consumers

    @property
    def name(self) -> str:
        """What its case is called."""
        name = f"heori, {self.consumers:,} consumer" + ("s" if self.consumers > 1 else "")
        if self.simulated:
            name = f"heori, {self.consumers:,}, mostly simulated"
        return name + (f", {self.queues:,} queues" if self.queues > 1 else "")

    @property
    def system(self) -> System:
        """How one of them is started."""
        others = (f"{QUEUE}-{number}" for number in range(2, self.queues + 1))
        return heori("threads", 1, 8, queues=(QUEUE, *others))

    def missing(self) -> str | None:
        """Why it cannot be measured here, if it cannot."""
        return self.system.missing() or files_missing(self.simulated)


def _fleets(quick: bool) -> list[Case]:
    if quick:
        size = Size(jobs=20, drained=200, idle=1.0)
        crowds = [Crowd(1), Crowd(2), Crowd(1, 20), Crowd(9, simulated=8)]
        workers = [1]
    else:
        size = Size(jobs=500, drained=20_000, idle=10.0)
        crowds = [Crowd(number) for number in (1, 4, 16, 40)]
        crowds += [Crowd(number, queues) for queues in (100, 1_000) for number in (1, 16)]
        crowds += [Crowd(number, simulated=number - REAL) for number in SIMULATED]
        workers = [1, 16]

    def case_of(crowd: Crowd) -> Case:
        return Case(crowd.name, lambda: measure(crowd, size), crowd.missing())

    def case_of_rq(number: int) -> Case:
        name = f"rq, {number} SimpleWorker" + ("s" if number > 1 else "")
        return Case(name, lambda: measure_rq(number, size), RQ_SIMPLE.missing())

    return [*map(case_of, crowds), *map(case_of_rq, workers)]


def measure(crowd: Crowd, size: Size) -> Figures:
    """See the columns for what is measured."""
    with Fleet(crowd.system) as fleet:
        drains = not crowd.simulated
        if drains:
            fleet.hide_all(size.drained)
        fleet.start(crowd.consumers - crowd.simulated)
        if crowd.simulated:
            fleet.simulate(crowd.simulated, crowd.simulated / JOIN_PER_S)
            fleet.until_ready(crowd.consumers)
        fleet.warm(len(fleet.real()), (crowd.system.app, RQ))
        figures: Figures = {
            "consumers": crowd.consumers,
            "queues": crowd.queues,
            "simulated": crowd.simulated,
        }
        idle = _idle(fleet, size.idle, figures)
        sent = size.drained if drains else 0
        sent += _answered(fleet, size.jobs, sent, crowd.system.app, idle, figures)
        sent += _answered(fleet, size.jobs, sent, RQ, idle, figures)
        if drains:
            figures["drain"] = fleet.drain(size.drained)
        figures["repeats"] = fleet.verify(sent)
        return figures


def measure_rq(workers: int, size: Size) -> Figures:
    """The same of rq's workers, sent by rq."""
    with Fleet(RQ_SIMPLE) as fleet:
        fleet.start(workers)
        fleet.warm(workers, (RQ,))
        figures: Figures = {}
        idle = _idle(fleet, size.idle, figures)
        sent = _answered(fleet, size.jobs, 0, RQ, idle, figures)
        figures["repeats"] = fleet.verify(sent)
        return figures


def _idle(fleet: Fleet, seconds: float, figures: Figures) -> Use:
    idle, consumer = fleet.idle(seconds)
    figures["idle_commands"] = idle.commands / idle.seconds
    figures["idle_server"] = idle.cpu / idle.seconds * 100
    figures["idle_consumer"] = consumer / idle.seconds * 100
    return idle


def _answered(fleet: Fleet, jobs: int, first: int, app: str, idle: Use, figures: Figures) -> int:
    """Send jobs through one library; returns how many."""
    prefix = "rq_" if app == RQ else ""
    answered = fleet.answered(jobs, first, app, seconds=LONGEST)
    use = answered.use.without(idle)
    figures[f"{prefix}commands"] = use.commands / answered.jobs
    figures[f"{prefix}server_us"] = use.cpu / answered.jobs * 1e6
    figures[f"{prefix}p50"] = answered.percentile(50)
    figures[f"{prefix}p99"] = answered.percentile(99)
    return answered.jobs


def _pick_up(quick: bool) -> list[Case]:
    samples = SAMPLES // 10 if quick else SAMPLES
    return [Case.of(system, lambda system: pick_up(system, samples)) for system in (ONE, HUEY)]


def _fairness(quick: bool) -> list[Case]:
    consumers, jobs = (2, 100) if quick else (FAIR, FAIR_JOBS)
    crowd = Crowd(consumers)
    return [Case(crowd.name, lambda: share(crowd, jobs), crowd.missing())]


def share(crowd: Crowd, jobs: int) -> Figures:
    """Send jobs one at a time, and tell how many each consumer got."""
    with Fleet(crowd.system) as fleet:
        fleet.start(crowd.consumers)
        fleet.warm(crowd.consumers, (crowd.system.app,))
        fleet.answered(jobs)
        fleet.verify(jobs)
        got = Counter(record.pid for record in fleet.records())
    least = min(got.values()) if len(got) == crowd.consumers else 0
    fair = jobs / crowd.consumers
    return {
        "fair": fair,
        "least": least,
        "most": max(got.values()),
        "least_of_fair": least / fair,
        "most_of_fair": max(got.values()) / fair,
    }


def most(figure: str, *, simulated: bool = True) -> Callable[[Results], float]:
    """What the worst fleet has of it that serves one queue, × what one consumer has.

    Args:
        simulated: whether fleets count that are mostly simulated.
    """

    def worst(results: Results) -> float:
        fleets = [each for each in _fleets_of(results) if each["queues"] == 1]
        [one] = [each for each in fleets if each["consumers"] == 1]
        return max(
            each[figure] / one[figure]
            for each in fleets
            if each["consumers"] > 1 and (simulated or not each["simulated"])
        )

    return worst


def over_queues(
    figure: str, worst: Callable[[Iterable[float]], float]
) -> Callable[[Results], float]:
    """What fleets have of it that serve many queues, × what those of as many consumers have."""

    def over_one_queue(results: Results) -> float:
        fleets = [each for each in _fleets_of(results) if not each["simulated"]]
        of_one = {each["consumers"]: each[figure] for each in fleets if each["queues"] == 1}
        return worst(
            each[figure] / of_one[each["consumers"]] for each in fleets if each["queues"] > 1
        )

    return over_one_queue


def idle(figure: str) -> Callable[[Results], float]:
    """What the largest real fleet of one queue has of it."""
    return lambda results: _largest(results)[figure]


def each_idle(figure: str) -> Callable[[Results], float]:
    """The same of each of its consumers."""
    return lambda results: _largest(results)[figure] / _largest(results)["consumers"]


def _largest(results: Results) -> Figures:
    real = [each for each in _fleets_of(results) if each["queues"] == 1 and not each["simulated"]]
    return max(real, key=lambda each: each["consumers"])


def _fleets_of(results: Results) -> list[Figures]:
    """Heori's, of this checkout."""
    return [
        figures
        for case, figures in results["fleet"].items()
        if "consumers" in figures and not case.endswith(BESIDE)
    ]


FLEET = Kind(
    "fleet",
    "One job at a time to idle consumers, by Heori's Producer and by stock rq: commands, server "
    "µs, round trip in ms. While idle: all together, server and one consumer in % of a core",
    (
        Column("commands", "cmds"),
        Column("server_us", "µs"),
        Column("p50", "p50", ".1f"),
        Column("p99", "p99", ".1f"),
        Column("rq_commands", "by rq: cmds"),
        Column("rq_server_us", "µs"),
        Column("rq_p50", "p50", ".1f"),
        Column("rq_p99", "p99", ".1f"),
        Column("idle_commands", "idle: cmds/s"),
        Column("idle_server", "server %", ".2f"),
        Column("idle_consumer", "each %", ".2f"),
        Column("drain", "drain/s"),
        Column("repeats", "run twice"),
    ),
    _fleets,
    seconds=80,
    turns=1,
)
PICK_UP = Kind(
    "fleet pick-up",
    "From the call that sends a job to its first line, ms, with one idle consumer",
    (Column("p50", "p50", ".2f"), Column("p99", "p99", ".2f"), Column("most", "most", ".2f")),
    _pick_up,
    seconds=20,
    turns=1,
)
FAIRNESS = Kind(
    "fleet fairness",
    "Jobs that are sent one at a time to idle consumers: how many of them each gets",
    (
        Column("fair", "fair share"),
        Column("least", "least"),
        Column("most", "most"),
        Column("least_of_fair", "least of it", ".2f"),
        Column("most_of_fair", "most of it", ".2f"),
    ),
    _fairness,
    seconds=60,
    turns=1,
)

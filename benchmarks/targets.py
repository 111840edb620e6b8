"""What is to be reached, and whether it was."""

import statistics
import sys
from functools import partial

from rich import box
from rich.table import Table

from benchmarks import (
    bound,
    claims,
    drain,
    features,
    fleet,
    gil,
    locks,
    memory,
    queues,
    redelivery,
    sending,
    stored,
    tenants,
    workloads,
)
from benchmarks.kinds import Results
from benchmarks.memory import PROCESS, THREAD
from benchmarks.systems import FLOOR, heori
from benchmarks.target import Figure, Target, Told, best_peer


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


def _by_rq(figure: str) -> Figure:
    huey = _one("latency", sending.HUEY.name, figure)
    return _ratio(_one("latency", sending.BY_RQ, figure), huey)


def _ratio(figure: Figure, of: Figure) -> Figure:
    return lambda results: figure(results) / of(results)


def _spread(kind: str, case: str) -> Figure:
    return _ratio(_one(kind, case, "p99"), _one(kind, case, "p50"))


def _worst(kind: str, figure: str) -> Figure:
    return lambda results: max(_each(results, kind, figure))


def _least(kind: str, figure: str) -> Figure:
    return lambda results: min(_each(results, kind, figure))


def _each(results: Results, kind: str, figure: str) -> list[float]:
    return [figures[figure] for figures in results[kind].values() if figure in figures]


def _errors(results: Results) -> list[float]:
    return _each(results, "gil", "error")


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


def _per_workload(workload: workloads.Workload) -> Figure:
    """Heori's rate × that of the fastest peer."""

    def ratio(results: Results) -> float:
        rates = {
            case.partition(": ")[2]: figures["rate"]
            for case, figures in results["workloads"].items()
            if case.startswith(f"{workload.name}: ")
        }
        return rates.pop("heori") / max(rates.values())

    return ratio


OURS = heori("threads", 1, 1)
DRAINED = _best("drain", "rate", "heori")
PER_S = 30_000 if sys.version_info >= (3, 13) else 24_000
RUST = ("ardiq", "mayu")
PLAIN = ("drain", OURS.name)
ON_DISK = _ratio(_one("drain", OURS.name + drain.ON_DISK, "rate"), _one(*PLAIN, "rate"))
FAR = _ratio(_one("drain", OURS.name + drain.FAR, "rate"), _one(*PLAIN, "rate"))
BARE_THREADS, BARE_COROUTINES = (
    _one("io", case, "rate") for case in (bound.THREADS, bound.COROUTINES)
)
MANY = _best("io of thousands", "of_bare", "heori")
MANY_MB = _best("io of thousands", "workers_memory", "heori")
SENT = ("enqueue", OURS.name)
WHOLE = ("memory", OURS.name)
PRODUCER = ("memory", memory.producer_case(OURS))
KILLED = ("redelivery", redelivery.WORKER)
ALONE = ("locks", locks.pair_case(locks.HEORI))
SECTION = ("locks", locks.section_case(locks.HEORI))
EMPTY = ("locks", locks.empty_case(locks.HEORI))
PAIRS = ("features", features.PAIRS)
DEAD_WAITER, DEAD_HOLDER = ("locks", locks.DEAD_WAITER), ("locks", locks.DEAD_HOLDER)
BESIDE = _ratio(_one("tenants", tenants.BESIDE, "wait"), _one("tenants", tenants.ALONE, "wait"))

TARGETS = (
    Target("drain", "jobs/s", PER_S, DRAINED, peer=best_peer("drain", "rate")),
    Target("drain", "floor, jobs/s", 27_000, _one("drain", FLOOR.name, "rate")),
    Target("drain", "× the floor", 0.9, _ratio(DRAINED, _one("drain", FLOOR.name, "rate"))),
    Target("drain", "× the best Rust core", 3, _ratio(DRAINED, _best("drain", "rate", *RUST))),
    Target("drain", "× rq SimpleWorker", 90, _best("drain", "of_rq", "heori")),
    Target("drain", "round trips per job", 0.1, _one(*PLAIN, "reads"), most=True),
    Target(
        "drain",
        "commands per job",
        6.3,
        _one(*PLAIN, "commands"),
        most=True,
        peer=best_peer("drain", "commands", least=True),
    ),
    Target(
        "drain",
        "server, µs",
        30,
        _one(*PLAIN, "server_us"),
        most=True,
        peer=best_peer("drain", "server_us", least=True),
    ),
    Target("drain", "worker, µs", 30, _one(*PLAIN, "others_us"), most=True),
    Target("drain", "supervisor, µs", 12, _one(*PLAIN, "main_us"), most=True),
    Target("drain", "with AOF everysec, × without", 0.85, ON_DISK),
    Target(
        "drain",
        "1 ms away, × near",
        0.8,
        FAR,
        peer=best_peer("drain", "rate", end=drain.FAR),
        ours=_one("drain", OURS.name + drain.FAR, "rate"),
        unit=" jobs/s",
    ),
    Target("drain", "the server alone allows, jobs/s", None, _one(*PLAIN, "alone")),
    *(
        Target(
            "latency",
            f"{name}{figure}, × huey's",
            goal,
            ratio(figure),
            most=True,
            peer=best_peer("latency", figure, least=True),
            ours=_one("latency", case, figure),
            unit=" ms",
        )
        for name, goal, ratio, case in (
            ("", 1, partial(_of_huey, "latency"), heori("threads", 1, 8).name),
            ("sent by rq: ", 1.3, _by_rq, sending.BY_RQ),
        )
        for figure in ("p50", "p99")
    ),
    Target(
        "io", "threads, × bare", 0.99, _ratio(_best("io", "rate", "heori threads"), BARE_THREADS)
    ),
    Target(
        "io",
        "asyncio, × bare",
        0.99,
        _ratio(_best("io", "rate", "heori asyncio"), BARE_COROUTINES),
    ),
    Target("io of thousands", "asyncio, × bare", 0.95, MANY),
    Target(
        "io of thousands",
        "MB of the worker",
        60,
        MANY_MB,
        most=True,
        peer=best_peer("io of thousands", "memory", least=True),
        ours=_best("io of thousands", "memory", "heori"),
        unit=" MB in all",
    ),
    Target("cpu", "2 processes, % of bare ones", 98, _best("cpu", "of_pool", "heori processes")),
    Target(
        "enqueue",
        "one by one, × mayu's",
        1,
        _ratio(_one(*SENT, "each"), _best("enqueue", "each", "mayu")),
        peer=best_peer("enqueue", "each"),
        ours=_one(*SENT, "each"),
        unit=" jobs/s",
    ),
    Target("enqueue", "one by one, × a bare socket", 0.7, _one(*SENT, "of_bare")),
    Target(
        "enqueue",
        "in bulk, jobs/s",
        80_000,
        _one(*SENT, "bulk"),
        peer=best_peer("enqueue", "bulk"),
    ),
    Target(
        "enqueue",
        "in bulk, × ardiq's",
        1,
        _ratio(_one(*SENT, "bulk"), _best("enqueue", "bulk", "ardiq")),
    ),
    Target(
        "claim",
        f"64 of {claims.LONGEST:,}, × of {claims.SHORT:,}",
        1.2,
        _one("claim", claims.case(claims.LONGEST), "ratio_64"),
        most=True,
        ours=_one("claim", claims.case(claims.LONGEST), "ratio_again_64"),
        unit=" when in the caches",
    ),
    *(
        Target("queues", f"{number:,}, × one", goal, _one("queues", queues.case(number), "of_one"))
        for number, goal in ((100, 0.95), (1_000, 0.9), (10_000, 0.8))
    ),
    Target(
        "memory",
        "supervisor + 1 worker, MB",
        45,
        _one(*WHOLE, "total"),
        most=True,
        peer=best_peer("memory", "total", least=True),
    ),
    Target("memory", "each further process, MB", 6, _one("memory", PROCESS, "each"), most=True),
    Target("memory", "each further thread, MB", 0.04, _one("memory", THREAD, "each"), most=True),
    Target(
        "memory",
        "a process that sends, MB",
        25,
        _one(*PRODUCER, "total"),
        most=True,
        peer=best_peer("memory", "total", end=memory.SENDS, least=True),
    ),
    Target(
        "start",
        "first job done, s",
        0.35,
        _one("start", OURS.name, "seconds"),
        most=True,
        peer=best_peer("start", "seconds", least=True),
    ),
    *(
        Target(
            "bytes",
            f"{arguments}, {'finished' if figure == 'used' else figure}",
            goal,
            _one("bytes", stored.bytes_case(OURS, arguments), figure),
            most=True,
            peer=best_peer("bytes", figure, end=f": {arguments}", least=True),
        )
        for arguments, figure, goal in (
            (stored.SMALL, "used", 1_100),
            (stored.LETTER, "waiting", 800),
            (stored.LETTER, "used", 1_500),
        )
    ),
    Target("redelivery", "worker killed, seconds", 1, _one(*KILLED, "seconds"), most=True),
    Target("redelivery", "consumer killed, seconds beyond lease", 2, _beyond_lease, most=True),
    Target("redelivery", "jobs lost", 0, _worst("redelivery", "lost"), most=True),
    Target(
        "redelivery by peers",
        "jobs lost by Heori",
        0,
        _best("redelivery by peers", "lost", "heori"),
        most=True,
    ),
    Target("gil", "mean error of gil_loss", 0.06, lambda r: statistics.mean(_errors(r)), most=True),
    Target("gil", "its worst error", 0.25, lambda r: max(_errors(r)), most=True),
    Target("gil", "R beside burners, × without, least", 1.5, _rise),
    Target("gil", "sampler, % of a core", 1, _worst("gil", "cost"), most=True),
    Target(
        "locks",
        "alone, × two bare EVALSHA",
        1.2,
        _one(*ALONE, "of_floor"),
        most=True,
        peer=best_peer("locks", "of_floor", end=locks.pair_case(""), least=True),
    ),
    Target("locks", "1 ms inside, owner changes/s", 620, _one(*SECTION, "changes")),
    Target("locks", "1 ms inside, most/fewest", 1.05, _one(*SECTION, "unfair"), most=True),
    Target("locks", "1 ms inside, p99/p50 of waits", 1.5, _spread(*SECTION), most=True),
    Target("locks", "1 ms inside, round trips each", 3, _one(*SECTION, "reads"), most=True),
    Target(
        "locks",
        "nothing inside, owner changes/s",
        4_000,
        _one(*EMPTY, "changes"),
        peer=best_peer("locks", "changes", end=locks.empty_case("")),
    ),
    Target("locks", "dead waiter skipped, ms", 10, _one(*DEAD_WAITER, "late"), most=True),
    Target("locks", "dead holder, ms beyond its lease", 100, _one(*DEAD_HOLDER, "late"), most=True),
    *(
        Target(
            "workloads",
            f"{workload.name}, × the best peer",
            1,
            _per_workload(workload),
            peer=best_peer("workloads", "rate", begin=f"{workload.name}: "),
            ours=_one("workloads", workloads.case(workload, "heori"), "rate"),
            unit=" jobs/s",
        )
        for workload in workloads.WORKLOADS
    ),
    Target("auto", "worst, × the best fixed", 0.95, _least("auto", "of_best")),
    Target(
        "auto",
        "mean, × the best fixed",
        0.98,
        lambda r: statistics.mean(_each(r, "auto", "of_best")),
    ),
    Target("auto", "worst, × the default", 1, _least("auto", "of_default")),
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


def told(results: Results) -> list[Told]:
    """What has become of those targets whose kind was measured."""
    return [target.told(results) for target in TARGETS if target.kind in results]


def table(results: Results) -> Table:
    """The same for people."""
    shown = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "target"):
        shown.add_column(heading)
    for heading in ("goal", "reached"):
        shown.add_column(heading, justify="right")
    for heading in ("", "best peer"):
        shown.add_column(heading)
    for each in told(results):
        shown.add_row(each.kind, each.name, *each.cells())
    return shown

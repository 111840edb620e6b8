"""Whether `--model auto` finds what the best fixed setting does, by itself.

The truth is a grid of fixed settings on the same work, as far as auto may go. Each has a turn
before auto and one after it, with a consumer of its own; auto is started once, gets LEARN seconds,
and is measured then. So whatever the machine does meanwhile hits both. The best of so many settings
is the luckiest one, too: it has one more turn, as long as auto's, and that is what auto is beside.
Where auto is near the default, that has one more turn, too, and its mean counts.
"""

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bound import calibrate, sortable
from benchmarks.gil import block_seconds, burning
from benchmarks.kinds import Case, Column, Figures, Kind
from benchmarks.memory import pss
from benchmarks.quota import limited, missing, within
from benchmarks.rig import Rig, family, stop
from benchmarks.sender import Order
from benchmarks.systems import QUEUE, System, heori, missing_package
from benchmarks.workloads import hook
from heori.inspect.scraper import scrape
from heori_common import metrics as m
from heori_consumer.supervisor.options import MOST_COROUTINES

# All in seconds.
LENGTH = 0.02  # that a job takes which is alone, if nothing else is said
TURN = 2.0  # of a fixed setting
SETTLE = 0.7  # until all slots are at work
LEARN = 20.0  # that auto has to find its size
MEASURED = 10.0  # of auto
CHANGE = 30.0  # until the other kind of work comes
LOOK = 0.5
SCRAPE = 10.0
NEAR = 1.2  # times what the default does
MORE = 2.0  # times the best fixed setting, whose turn may have been a bad one
INTERLEAVED = 20  # jobs of one task before those of the other
DEFAULT = (1, 8)  # what a consumer begins with that nobody has told anything
AUTO = System(
    "heori auto",
    "heori",
    ("-m", "heori", "consume", "-q", QUEUE, "--model", "auto"),
    results=True,
    safe=True,
)
# Of jobs that run at the end of a turn, none is waited for.
ENVIRONMENT = {"HEORI_GRACE": "0.2", "HEORI_ALLOW": "benchmarks"}
NUMPY = "NumPy"
SERVED_CASE = "a service that serves 50 at once"
CHANGES = f"a change every {CHANGE:.0f} s"
CORES = 2  # that the rates and the turns of works are made for
QUOTAS = (0.5, 1.0, 2.0)  # cores
SERVED, SERVICE = 50, 0.1  # requests at once, and seconds of each, of a service that is the bound

Setting = tuple[int, int]  # processes, slots of each


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes:
        learn: seconds that auto has to find its size.
        measured: seconds of auto then.
        before_and_after: whether fixed settings have a turn after auto, too.
        spans: of a work that changes, each of one kind.
    """

    learn: float = LEARN
    measured: float = MEASURED
    before_and_after: bool = True
    spans: int = 4


ALL_OF_IT = Extent()


@dataclass(frozen=True, slots=True)
class Part:
    """Jobs of one task; see `tasks.toil` and the like for what its numbers are."""

    task: str
    rest: tuple[float | str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What a consumer has to do.

    Attributes:
        parts: tasks whose jobs come in turns.
        rate: jobs a second that no setting exceeds here, about.
        settings: that auto may have, and that are tried beside it.
        few: those of them that are tried, if not all are.
        model: of the fixed ones; None for threads, in as many processes as there are.
        turn, settle: seconds of a fixed setting; a multiple of what a job takes.
    """

    name: str
    parts: tuple[Part, ...]
    rate: float
    settings: Sequence[Setting]
    few: Sequence[Setting] = ()
    model: str | None = None
    turn: float = TURN
    settle: float = SETTLE
    service: bool = False  # whether they ask a service that serves SERVED at once

    @property
    def tried(self) -> Sequence[Setting]:
        """The fixed settings beside auto."""
        return self.few or self.settings

    @property
    def second(self) -> str:
        """What the second number of a setting is."""
        return "coroutines" if self.model == "asyncio" else "slots"

    def missing(self) -> str | None:
        """Why it cannot be measured here, if it cannot."""
        return missing_package("numpy") if self.name == NUMPY else None


# The largest is what auto may come to have.
COMPUTING: Sequence[Setting] = [
    (1, 1),
    (1, 2),
    (1, 8),
    (2, 1),
    (2, 2),
    (2, 4),
    (2, 8),
    (4, 1),
    (4, 8),
]
WAITING: Sequence[Setting] = [
    (1, 8),
    (1, 32),
    (1, 64),
    (1, 128),
    (2, 16),
    (2, 32),
    (2, 64),
    (2, 128),
    (4, 64),
    (4, 128),
]
LONG: Sequence[Setting] = [(1, 256), (2, 256), (4, 256)]
BOTH: Sequence[Setting] = [
    (1, 2),
    (1, 4),
    (1, 8),
    (1, 16),
    (2, 1),
    (2, 2),
    (2, 4),
    (2, 8),
    (2, 16),
    (4, 2),
    (4, 16),
]
# Of these the second is coroutines.
LOOPS: Sequence[Setting] = [
    (1, 50),
    (1, 200),
    (1, 1000),
    (2, 50),
    (2, 200),
    (2, 1000),
    (4, MOST_COROUTINES),
]


def works(quick: bool) -> list[Work]:
    """All kinds of work; the argument asks for what only shows that they can be measured."""
    rounds = calibrate(LENGTH)
    blocks = max(1, round(LENGTH / block_seconds()))
    long = 0.5 if quick else 5.0

    def toil(python: float, hashing: float, waiting: float, length: float = LENGTH) -> Part:
        scale = length / LENGTH
        return Part("toil", (rounds * python * scale, blocks * hashing * scale, length * waiting))

    cores = CORES / LENGTH
    return [
        Work("pure Python", (toil(1, 0, 0),), cores, COMPUTING),
        Work("hashing", (toil(0, 1, 0),), cores, COMPUTING),
        Work(NUMPY, (Part("sort", (sortable(LENGTH),)),), cores * 1.5, COMPUTING),
        Work("waiting 20 ms", (toil(0, 0, 1),), 9_000, WAITING),
        Work("waiting 500 ms", (Part("wait", (0.5,)),), 2_200, [*WAITING, *LONG]),
        Work("half Python, half waiting", (toil(0.5, 0, 0.5),), 2 * cores, BOTH),
        Work("half Python, half hashing", (toil(0.5, 0.5, 0),), cores, BOTH),
        Work("a twentieth Python, rest waiting", (toil(0.05, 0, 0.95),), 20 * cores, WAITING),
        Work("tasks: Python, and waiting", (toil(1, 0, 0), Part("wait", (0.05,))), 2 * cores, BOTH),
        Work(
            "tasks: hashing, and waiting",
            (toil(0, 1, 0), Part("wait", (0.2,))),
            2 * cores,
            [*BOTH, (1, 32), (2, 32), (4, 32)],
        ),
        Work(
            "async tasks, waiting 50 ms",
            (Part("wait_async", (0.05,)),),
            20_000,
            LOOPS,
            model="asyncio",
        ),
        Work(
            SERVED_CASE,
            (Part("webhook", ()),),
            1.2 * SERVED / SERVICE,
            [*WAITING, (1, 48)],
            service=True,
        ),
        Work(
            "long jobs, waiting 5 s",
            (Part("wait", (long,)),),
            250,
            [(1, 8), (1, 64), *LONG],
            turn=10.0,
            settle=6.0,
        ),
    ]


class Bench:
    """One kind of work, waiting for consumers that take turns."""

    def __init__(self, rig: Rig, work: Work, group: Path | None = None) -> None:
        """Prepare.

        Args:
            group: the cgroup for consumers, if there is one.
        """
        self._rig = rig
        self._work = work
        self._group = group
        self._sent = 0

    def offer(self, seconds: float, rate: float | None = None) -> None:
        """Have more jobs waiting than are done in so many seconds, if the rate is right."""
        wanted = int((rate or self._work.rate) * seconds * 1.3) + 500
        missing = wanted - self._rig.client.llen(self._rig.system.library.queue)
        parts = self._work.parts
        chunk = INTERLEAVED if len(parts) > 1 else max(1, missing)
        while missing > 0:
            for part in parts:
                self._rig.send(Order("bulk", part.task, chunk, self._sent, part.rest))
                self._sent += chunk
                missing -= chunk

    def at_most(self, best: float) -> float:
        """Jobs a second that auto does not exceed where so many are the most of the fixed ones."""
        return min(self._work.rate, MORE * best)

    def fixed(self, setting: Setting, seconds: float | None = None) -> float:
        """Jobs a second of a fixed setting, in one turn, or for so long."""
        processes, slots = setting
        seconds = seconds or self._work.turn
        model = self._work.model or ("hybrid" if processes > 1 else "threads")
        self.offer(seconds + self._work.settle)
        with self.consuming(heori(model, processes, slots)) as url:
            time.sleep(self._work.settle)
            return self.rate(url, seconds)

    @contextlib.contextmanager
    def consuming(self, system: System) -> Iterator[str]:
        """A consumer, as long as that lasts; gives the address of its metrics."""
        before = self._rig.said().count('"consuming"')
        if self._group is not None:
            system = replace(system, words=within(self._group, system.words))
        consumer = self._rig.consume(system)
        self._rig.until(lambda: self._rig.said().count('"consuming"') > before)
        lines = [line for line in self._rig.said().splitlines() if '"consuming"' in line]
        try:
            yield str(json.loads(lines[-1])["metrics"])
        finally:
            stop(consumer)

    def rate(self, url: str, seconds: float) -> float:
        """Jobs a second that a consumer does in so long, and until it has done any."""
        before = scrape(url, SCRAPE)
        time.sleep(seconds)
        if not self._rig.client.llen(self._rig.system.library.queue):
            raise self._rig.refusal("there were too few jobs for it")
        self._rig.until(lambda: scrape(url, SCRAPE).rate(m.JOBS, before) > 0, pause=LOOK)
        return scrape(url, SCRAPE).rate(m.JOBS, before)


def _measure(
    work: Work,
    extent: Extent,
    *,
    quick: bool,
    cores: float | None = None,
    burners: bool = False,
) -> Figures:
    if cores:
        # As many jobs as elsewhere: of forty, the best of some settings is the luckiest one.
        work = replace(work, turn=work.turn * max(1.0, CORES / cores))
    work = _shown(work) if quick else work
    with ExitStack() as stack:
        group = stack.enter_context(limited(cores)) if cores else None
        asks = stack.enter_context(hook(SERVICE, SERVED)) if work.service else {}
        rig = stack.enter_context(Rig(heori("threads", 1, 1), environment=ENVIRONMENT | asks))
        if burners:
            stack.enter_context(burning())
        bench = Bench(rig, work, group)
        rates = {setting: [bench.fixed(setting)] for setting in work.tried}
        learn = 2.0 if quick else extent.learn
        measured = 1.0 if quick else max(extent.measured, work.turn)
        bench.offer(learn + measured, bench.at_most(max(rates.values())[0]))
        with bench.consuming(_auto(work)) as url:
            path = _follow(url, learn, work.second)
            found = bench.rate(url, measured)
            path |= _follow(url, 0.0, work.second, learn + measured)
            moves = _moves(url)
            memory = sum(pss(family(rig.consumers[-1])))
        for setting in reversed(work.tried) if extent.before_and_after else ():
            rates[setting].append(bench.fixed(setting))
        truth = {setting: sum(each) / len(each) for setting, each in rates.items()}
        best = max(truth, key=truth.__getitem__)
        best_rate = bench.fixed(best, measured)
        default = truth.get(DEFAULT, 0.0) if work.model is None else 0.0
        if found < NEAR * default:  # one turn may be lucky
            again = best_rate if best == DEFAULT else bench.fixed(DEFAULT, measured)
            default = (default + again) / 2
    processes, slots = path[max(path)]
    return {
        **_beside(found, best_rate, default),
        "best_processes": best[0],
        "best_slots": best[1],
        "processes": processes,
        "slots": slots,
        "moves": moves,
        "memory": memory,
        # What the chart is drawn from.
        **{f"grid {p}x{s}": rate for (p, s), rate in truth.items()},
        **{f"path {p}x{s} at {at:.1f}": at for at, (p, s) in path.items()},
    }


def _auto(*works: Work) -> System:
    """Auto, that may have as much as any setting that it stands beside, and no more."""
    words = AUTO.words
    settings = [setting for work in works for setting in work.settings]
    words += "--max-processes", str(max(processes for processes, _ in settings))
    if all(work.model is None for work in works):
        words += "--max-slots", str(max(slots for _, slots in settings))
    return replace(AUTO, words=words)


def _shown(work: Work) -> Work:
    """As much of it as shows that it can be measured."""
    return replace(work, settings=work.settings[:2], few=(), turn=0.4, settle=0.2)


def _beside(found: float, best: float, default: float) -> Figures:
    figures = {"auto": found, "best": best, "of_best": found / best}
    return figures | ({"default": default, "of_default": found / default} if default else {})


def _change(first: Work, second: Work, extent: Extent, *, quick: bool) -> Figures:
    """One kind of work, then another, and so on; each is measured in its second half."""
    works = [_shown(work) if quick else work for work in (first, second)]
    span = 1.0 if quick else CHANGE
    with Rig(heori("threads", 1, 1), environment=ENVIRONMENT) as rig:
        queue = rig.system.library.queue
        best: list[Setting] = []
        most: list[float] = []
        default: list[float] = []
        for work in works:
            bench = Bench(rig, work)
            rates = {setting: bench.fixed(setting) for setting in work.tried}
            best.append(max(rates, key=rates.__getitem__))
            most.append(rates[best[-1]])
            default.append(rates.get(DEFAULT, 0.0))
            bench.offer((extent.spans + 1) // 2 * span, bench.at_most(most[-1]))
            rig.client.rename(queue, work.name)  # out of sight
        rig.client.rename(works[0].name, queue)
        found: list[list[float]] = [[], []]
        bench = Bench(rig, works[0])
        with bench.consuming(_auto(*works)) as url:
            for turn in range(extent.spans):
                if turn:
                    last, now = works[(turn - 1) % 2], works[turn % 2]
                    rig.client.rename(queue, last.name)
                    rig.client.rename(now.name, queue)
                time.sleep(span / 2)
                found[turn % 2].append(bench.rate(url, span / 2))
        means = [sum(each) / len(each) for each in found]
        worst = min((0, 1), key=lambda each: means[each] / most[each])
        rig.client.delete(queue)
        bench = Bench(rig, works[worst])
        best_rate = bench.fixed(best[worst], 1.0 if quick else extent.measured)
    return _beside(means[worst], best_rate, default[worst])


def _follow(
    url: str, seconds: float, second: str = "slots", at: float = 0.0
) -> dict[float, Setting]:
    """The sizes that it wants meanwhile, each with the time since its start.

    Raises:
        URLError: the consumer has ended.
    """
    path: dict[float, Setting] = {}
    began = time.monotonic()
    while True:
        wanted = _told(url)["wanted"]
        path[at + time.monotonic() - began] = wanted["processes"], wanted[second]
        if time.monotonic() - began >= seconds:
            return path
        time.sleep(LOOK)


def _moves(url: str) -> int:
    return len(_told(url)["moves"])


def _told(url: str) -> Any:
    """What auto tells of itself."""
    with urllib.request.urlopen(f"{url}/slots", timeout=SCRAPE) as answer:
        return json.load(answer)["auto"]


def _cases(quick: bool) -> list[Case]:
    all_works = works(quick)
    return cases({work.name: work for work in all_works}, ALL_OF_IT, quick=quick)


def cases(
    of: Mapping[str, Work],
    extent: Extent,
    *,
    quick: bool,
    within_quota: Mapping[str, Sequence[Setting]] | None = None,
) -> list[Case]:
    """All that is measured.

    Args:
        of: the kinds of work, by name.
        within_quota: the settings that are tried where there is less than the cores that others
            have, if not the same ones.
    """
    measure = partial(_measure, extent=extent, quick=quick)
    python, waiting = of["pure Python"], of["waiting 500 ms"]

    def limited_to(work: Work, cores: float) -> Case:
        if within_quota is not None and cores < CORES:
            work = replace(work, few=within_quota[work.name])
        return Case(
            f"{work.name}, {cores:g} cores by quota", partial(measure, work, cores=cores), missing()
        )

    return [
        *(Case(work.name, partial(measure, work), work.missing()) for work in of.values()),
        Case(CHANGES, partial(_change, python, waiting, extent, quick=quick)),
        *(
            Case(f"{work.name}, beside 2 burners", partial(measure, work, burners=True))
            for work in (python, waiting)
        ),
        *(
            limited_to(work, cores)
            for work in (python, of["half Python, half waiting"])
            for cores in QUOTAS
        ),
    ]


AUTO_FINDS = Kind(
    "auto",
    f"`--model auto` after {LEARN:.0f} s, beside the best of some fixed settings, in turns",
    (
        Column("auto", "auto, jobs/s", ",.1f"),
        Column("best", "best fixed", ",.1f"),
        Column("of_best", "× best", ".2f"),
        Column("of_default", "× 1×8 threads", ".2f"),
        Column("best_processes", "best: P"),
        Column("best_slots", "S"),
        Column("processes", "auto: P"),
        Column("slots", "S"),
        Column("moves", "moves"),
        Column("memory", "MB"),
    ),
    _cases,
    seconds=150,
    turns=1,
)

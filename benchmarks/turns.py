"""Lets the cases of each kind take turns, and shows how far that is."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import Progress, TaskID

from benchmarks import beside
from benchmarks.kinds import Case, Kind
from benchmarks.report import Sample
from benchmarks.rig import Checkout, Rig
from heori.lab.steal import Steal

SURE = 60.0  # seconds after which it is known whether this machine is slower than was thought


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured of one kind."""

    kind: Kind
    cases: Sequence[Case]
    rounds: int

    @property
    def each(self) -> float:
        """Seconds that one turn of a case adds, about."""
        return self.kind.seconds / (len(self.cases) if self.kind.together else 1)

    @property
    def seconds(self) -> float:
        """How long it takes, about."""
        return self.rounds * len(self.cases) * self.each


def planned(
    kinds: Sequence[Kind],
    turns: int,
    *,
    quick: bool,
    only: Sequence[str],
    other: Checkout | None,
    leave_out: Callable[[str], None],
) -> list[Plan]:
    """What of these kinds is asked for and can be measured here.

    Args:
        leave_out: is told of what cannot.
    """
    plans = []
    for kind in kinds:
        cases = []
        for case in kind.cases(quick):
            name = f"{kind.name}: {case.name}"
            if only and not any(word in name for word in only):
                continue
            if case.missing is None:
                cases.append(case)
            else:
                leave_out(f"{name} is left out: {case.missing}")
        if other is not None:
            cases = beside.doubled(cases, other)
        if cases:
            plans.append(Plan(kind, cases, min(turns, kind.turns or turns)))
    return plans


class Watch:
    """Tells how far it is: by bars in a terminal, and elsewhere by a line for each case."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(console=self._console, disable=not self._console.is_terminal)
        self._whole = sum(plan.seconds for plan in plans)
        self._done = 0.0
        self._began = time.monotonic()
        self._all = self._bars.add_task("", total=self._whole)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def left(self) -> float:
        """Seconds until all is done: as planned, or as much slower as it was so far."""
        took = time.monotonic() - self._began
        pace = took / self._done if self._done >= SURE else 1.0
        return (self._whole - self._done) * pace

    def begin(self, plan: Plan) -> TaskID:
        """The bar of a kind."""
        return self._bars.add_task(plan.kind.name, total=plan.rounds * len(plan.cases))

    def case(self, bar: TaskID, name: str, turn: int, rounds: int) -> None:
        """One begins."""
        left = _minutes(self.left())
        self._bars.update(self._all, description=f"all, {left} left")
        self._bars.update(bar, description=name)
        Rig.tell = lambda said: self._bars.update(bar, description=f"{name}: {said}")
        if self._bars.disable:
            of = f", turn {turn + 1} of {rounds}" if rounds > 1 else ""
            self.say(f"{time.strftime('%H:%M:%S')} {name}{of}; {left} left")

    def done(self, bar: TaskID, plan: Plan) -> None:
        """One has been measured."""
        self._done += plan.each
        self._bars.advance(bar)
        self._bars.advance(self._all, plan.each)

    def end(self, bar: TaskID, plan: Plan) -> None:
        """All of a kind have been."""
        self._bars.update(bar, description=plan.kind.name)

    def say(self, line: str) -> None:
        """Above the bars."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def measure(plans: Sequence[Plan], *, together: bool) -> tuple[list[Sample], list[str]]:
    """Returns what the cases have yielded, and what was refused; Ctrl-C ends it.

    Args:
        together: whether cases may be measured at the same time where their kind allows it.
    """
    samples: list[Sample] = []
    refused: list[str] = []
    with Watch(plans) as watch:
        if plans:
            watch.say(f"This takes {_minutes(watch.left())}.")

        def refuse(reason: str) -> None:
            refused.append(reason)
            watch.say(f"refused: {reason}")

        try:
            for plan in plans:
                bar = watch.begin(plan)
                take = _take_together if together and plan.kind.together else _take_in_turns
                for turn in range(plan.rounds):
                    samples += take(plan, turn, watch, bar, refuse)
                watch.end(bar, plan)
        except KeyboardInterrupt:
            refuse("everything else: interrupted")
    return samples, refused


def _take_in_turns(
    plan: Plan, turn: int, watch: Watch, bar: TaskID, refuse: Callable[[str], None]
) -> Iterator[Sample]:
    for case in plan.cases:
        watch.case(bar, f"{plan.kind.name}: {case.name}", turn, plan.rounds)
        yield from _sample(plan.kind, turn, case, refuse)
        watch.done(bar, plan)


def _take_together(
    plan: Plan, turn: int, watch: Watch, bar: TaskID, refuse: Callable[[str], None]
) -> Iterator[Sample]:
    def sample(case: Case) -> list[Sample]:
        found = list(_sample(plan.kind, turn, case, refuse))
        watch.done(bar, plan)
        return found

    watch.case(bar, plan.kind.name, turn, plan.rounds)
    with ThreadPoolExecutor(len(plan.cases)) as pool:
        yield from itertools.chain.from_iterable(pool.map(sample, plan.cases))


def _sample(kind: Kind, turn: int, case: Case, refuse: Callable[[str], None]) -> Iterator[Sample]:
    """One, or none where it is refused."""
    steal = Steal()
    began = time.monotonic()
    try:
        figures = case.measure()
    except Exception as error:
        # Whatever it is, an hour of other figures is not lost for it.
        refuse(f"{kind.name}: {case.name}: {type(error).__name__}: {error}")
    else:
        yield Sample(kind.name, case.name, turn, figures, steal.share(), time.monotonic() - began)


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"

"""What a goal is: a figure that is to be reached, who else has it, and what has become of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.drain import FAR, ON_DISK
from benchmarks.kinds import Results
from benchmarks.memory import SENDS

# Takes one from the medians; raises KeyError or ValueError if it was not measured.
Figure = Callable[[Results], float]
# The best of them, with its name and its figure; likewise.
Peer = Callable[[Results], tuple[str, float]]
PEERS = ("rq", "celery", "dramatiq", "huey", "taskiq", "ardiq", "mayu", "redis-py")
APART = (ON_DISK, FAR, SENDS)  # how names end of what is measured in another way
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Told:
    """What has become of a target.

    Attributes:
        reached: None if it was not measured.
        met: None if it was not measured, or is only stated.
        ours: what a ratio is of, where it is one.
        peer: the best of them, where there is any; and its figure, as `ours`.
    """

    kind: str
    name: str
    goal: float | None
    most: bool
    reached: float | None
    met: bool | None
    ours: float | None
    unit: str
    peer: str | None
    theirs: float | None

    def cells(self) -> tuple[str, str, str, str]:
        """The goal, what was reached, whether it will do, and the best peer, in words."""
        goal = "" if self.goal is None else f"{'≤' if self.most else '≥'} {self.goal:,}"
        reached = "" if self.reached is None else _written(self.reached)
        if self.ours is not None:
            reached += f" ({_written(self.ours)}{self.unit})"
        verdict = "met" if self.met else "missed"
        if self.met is None:
            verdict = "not measured" if self.reached is None else "stated"
        peer = "" if self.theirs is None else f"{self.peer}: {_written(self.theirs)}{self.unit}"
        return goal, reached, verdict, peer


def _written(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


@dataclass(frozen=True, slots=True)
class Target:
    """A goal for one kind of measurement.

    Attributes:
        goal: None if the figure is only stated.
        most: whether the goal is the most that it may be, rather than the least.
        peer: who is best at it, among others.
        ours: the same figure of Heori, where that is not the target's own.
        unit: of both.
    """

    kind: str
    name: str
    goal: float | None
    figure: Figure
    most: bool = False
    peer: Peer | None = None
    ours: Figure | None = None
    unit: str = ""

    def told(self, results: Results) -> Told:
        """What has become of it."""
        reached, ours = (_measured(figure, results) for figure in (self.figure, self.ours))
        peer, theirs = _measured(self.peer, results) or (None, None)
        met = None
        if reached is not None and self.goal is not None:
            met = reached <= self.goal if self.most else reached >= self.goal
            met = met or math.isclose(reached, self.goal)  # of 30.000000000000004, say
        return Told(
            self.kind, self.name, self.goal, self.most, reached, met, ours, self.unit, peer, theirs
        )


def _measured(figure: Callable[[Results], Found] | None, results: Results) -> Found | None:
    """What it finds; None if that was not measured."""
    try:
        return None if figure is None else figure(results)
    except (KeyError, ValueError):
        return None


def best_peer(
    kind: str, figure: str, begin: str = "", end: str = "", *, least: bool = False
) -> Peer:
    """The best among the cases of peers, whose names may have something before and after."""

    def best(results: Results) -> tuple[str, float]:
        found = {
            case.removeprefix(begin).removesuffix(end): figures[figure]
            for case, figures in results[kind].items()
            if figure in figures
            and case.startswith(begin)
            and (case.endswith(end) if end else not case.endswith(APART))
        }
        peers = [name for name in found if name.startswith(PEERS)]
        name = (min if least else max)(peers, key=found.__getitem__)
        return name, found[name]

    return best

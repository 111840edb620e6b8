"""What an experiment has found: a table, charts, what holds on this machine, and what follows."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

# What was measured, as JSON can carry it.
Figures = dict[str, Any]
# Told how much is done, from 0 to 1; ends the process if nobody waits for it any more.
Step = Callable[[float], None]


class Statement(NamedTuple):
    """A sentence about this machine, as it was measured just now.

    Attributes:
        says, otherwise: where it holds, and where it does not.
        expected: what is so on every machine, however busy, with its bound. The page in docs/notes
            says it in these words, and tests hold it to that. Empty where machines differ.
    """

    holds: bool
    says: str
    otherwise: str
    expected: str = ""

    @property
    def sentence(self) -> str:
        """What is so here."""
        return self.says if self.holds else self.otherwise


@dataclass(frozen=True, slots=True)
class Bars:
    """Something of which each has so much."""

    title: str
    values: Mapping[str, float]
    form: str = ",.1f"  # of what stands beside each


@dataclass(frozen=True, slots=True)
class Curves:
    """How something changes with something else."""

    title: str
    x: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    log: bool = False  # whether both scales are logarithmic
    faint: Collection[str] = ()  # lines to compare the others with


@dataclass(frozen=True, slots=True)
class Spans:
    """What each is doing, over time."""

    title: str
    rows: Mapping[str, Sequence[tuple[str, float, float]]]  # state, from, to, in seconds
    states: Sequence[str] = ()  # in the order of the legend; by default, as they come


Chart = Bars | Curves | Spans


@dataclass(frozen=True, slots=True)
class NoteFindings:
    """What came of one experiment.

    Attributes:
        title: the note, in a sentence.
        headings, rows: the table.
        claims: what was to be shown; each is true or not of the figures.
        follows: what is to be learned from it, and where Heori does that.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    claims: Sequence[Statement]
    follows: str
    charts: Sequence[Chart] = field(default_factory=list)


class Note(Protocol):
    """A module of a note."""

    def measure(self, step: Step, *, seed: int, quick: bool) -> Figures:
        """Do the experiment."""

    def findings(self, figures: Figures) -> NoteFindings:
        """Say what these figures show."""


def joined(claims: Sequence[Statement]) -> str:
    """One paragraph of them."""
    return " ".join(claim.sentence for claim in claims)

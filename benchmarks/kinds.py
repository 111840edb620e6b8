"""What a kind of measurement is: cases that take turns, and the figures each of them yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.systems import System

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a table.

    Attributes:
        measure: takes one turn.
        missing: why it cannot be measured here, if it cannot.
    """

    name: str
    measure: Callable[[], Figures]
    missing: str | None = None

    @classmethod
    def of(cls, system: System, measure: Callable[[System], Figures]) -> "Case":
        """A case that is one system."""
        return cls(system.name, lambda: measure(system), system.missing())


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a table: its name, its heading and how it is written."""

    figure: str
    heading: str
    form: str = ",.0f"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of measurement; one with a further word in its name is measured with the first.

    Attributes:
        title: says what is measured, and in which unit where the headings do not.
        cases: those to be measured; the argument asks for sizes that only show that it works.
        seconds: that one turn of a case takes, about.
        turns: if not as many as are asked for.
        together: whether all cases are measured at the same time, as they wait and do little else.
        notes: what is to be said below the table.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    cases: Callable[[bool], list[Case]]
    seconds: float = 10.0
    turns: int | None = None
    together: bool = False
    notes: Callable[[], str] | None = None

    @property
    def group(self) -> str:
        """The name by which it is asked for: `fleet` has `fleet fairness`, too."""
        return self.name.partition(" ")[0]


# Medians by kind and by case.
Results = Mapping[str, Mapping[str, Figures]]

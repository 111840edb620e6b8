"""Tables, before anything draws them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.cells import cell_len

from heori.terminal import Text

Cell = str | Text
Value = float | str | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        kind: names lose their middle where there is no room; words and figures are whole.
        spare: 0 for what is always shown; of the others those with the highest go first.
    """

    heading: str
    kind: Literal["name", "word", "figure"] = "figure"
    spare: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        key: what it is about.
        values: of its cells, to sort by.
        about: what the row was made of.
        weight: of more rows than there is room for, those with the highest are shown.
    """

    key: tuple[str, ...]
    cells: tuple[Cell, ...]
    values: tuple[Value, ...]
    about: Any
    weight: tuple[float, ...] = ()
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: what its rows are, in the plural.
        total: how many rows there are; some may not have been read.
        widths: of the columns; 0 where no row has anything.
    """

    name: str
    columns: tuple[Column, ...]
    rows: list[Row]
    total: int
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is shown of one reading.

    Attributes:
        heading: a line that sums it up.
        notices: lines that a person should read.
        tables: by their names, in the order in which they are shown.
        paused: what is: a queue, or a task, and its name.
    """

    heading: str
    notices: list[str]
    tables: dict[str, Table]
    paused: set[tuple[str, str]] = field(default_factory=set)


def plain(cell: Cell) -> str:
    """The characters of a cell."""
    return cell if isinstance(cell, str) else cell.plain


def make_row(
    key: tuple[str, ...],
    about: Any,
    *cells: tuple[Cell, Value],
    weight: tuple[float, ...] = (),
) -> Row:
    """A row of cells and what they are sorted by."""
    drawn, values = zip(*cells, strict=True)
    return Row(key, drawn, values, about, weight)


def make_table(
    name: str, columns: tuple[Column, ...], rows: Iterable[Row], total: int | None = None
) -> Table:
    """A table of these rows.

    Args:
        total: how many there are, where these are not all.
    """
    made = list(rows)
    cells = [
        max((cell_len(plain(row.cells[n])) for row in made), default=0) for n in range(len(columns))
    ]
    widths = tuple(
        max(cell_len(column.heading), widest) if widest or n == 0 else 0
        for n, (column, widest) in enumerate(zip(columns, cells, strict=True))
    )
    return Table(name, columns, made, len(made) if total is None else total, widths)

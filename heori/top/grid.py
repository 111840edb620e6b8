"""Where rows, columns and panes have their place."""

from collections.abc import Sequence
from dataclasses import replace

from heori.terminal import LEAST, Text
from heori.top.table import Column, Row, plain

TITLE, HEADINGS = 1, 1  # lines of a pane
GAP = 2  # columns between two
_GONE = "dim strike"


class Places:
    """Keeps rows where they are: none moves, whatever comes and goes.

    The place of what is gone is taken by what comes next. Until then it stays there, struck out;
    at the end, where nothing is below it, it goes.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def arrange(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of now, in their places."""
        there = {row.key: row for row in rows}
        known = {row.key for row in self._rows}
        new = iter(sorted((row for row in rows if row.key not in known), key=lambda row: row.key))
        placed: list[Row] = []
        for old in self._rows:
            row = there.get(old.key) or next(new, None)
            placed.append(row or _struck_out(old))
        placed += new
        while placed and placed[-1].key not in there:
            placed.pop()
        self._rows = placed
        return placed


def _struck_out(row: Row) -> Row:
    if row.is_gone:
        return row
    cells = tuple(Text(plain(cell), _GONE) for cell in row.cells)
    return replace(row, cells=cells, is_gone=True)


def sort_rows(rows: Sequence[Row], column: int, *, descending: bool) -> list[Row]:
    """Rows by the values of a column; those that have none come last."""
    with_value = [row for row in rows if row.values[column] is not None]
    with_value.sort(key=lambda row: row.key)
    with_value.sort(key=lambda row: row.values[column], reverse=descending)  # type: ignore[arg-type,return-value]
    return with_value + [row for row in rows if row.values[column] is None]


def matches(row: Row, words: str) -> bool:
    """Whether a row has that text in one of its cells, whatever the case."""
    return not words or any(words.casefold() in plain(cell).casefold() for cell in row.cells)


def fit(columns: Sequence[Column], widths: Sequence[int], room: int) -> dict[int, int]:
    """Which columns there is room for, by their numbers: how wide each is.

    Args:
        widths: that they would have; 0 where there is nothing to show.
    """
    shown = [n for n, width in enumerate(widths) if width]
    least = [
        min(LEAST, width) if column.kind == "name" else width
        for column, width in zip(columns, widths, strict=True)
    ]
    while len(shown) > 1 and sum(least[n] + GAP for n in shown) - GAP > room:
        spare = max(shown, key=lambda n: (columns[n].spare, n))
        shown.remove(spare)
    fitted = {n: least[n] for n in shown}
    left = room - sum(fitted.values()) - GAP * (len(shown) - 1)
    names = [n for n in shown if columns[n].kind == "name"]
    while left > 0 and (growing := [n for n in names if fitted[n] < widths[n]]):
        for n in growing[:left]:
            more = min(max(1, left // len(growing)), widths[n] - fitted[n], left)
            fitted[n] += more
            left -= more
    return fitted


def heights(wanted: Sequence[int], focused: int | None, room: int) -> list[int]:
    """How many lines each of some panes has, one above the other.

    Args:
        wanted: how many rows each would show.
        focused: the one that gets half of the room, if it has use for it, before all others.
        room: lines in all.
    """
    given = [TITLE] * len(wanted)
    full = [TITLE + (HEADINGS + rows if rows else 0) for rows in wanted]
    left = room - sum(given)
    if focused is not None:
        more = max(0, min(full[focused] - TITLE, left, max(room // 2, HEADINGS + 3)))
        given[focused] += more
        left -= more
    while left > 0 and (growing := [n for n, lines in enumerate(given) if lines < full[n]]):
        before = left
        for n in growing:
            # A heading without a row would say nothing.
            step = HEADINGS + 1 if given[n] == TITLE else 1
            if step <= left:
                given[n] += step
                left -= step
        if left == before:
            break
    return given

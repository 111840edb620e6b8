"""One table on the screen, with a cursor."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from heori import formats
from heori.terminal import Text, without_middle
from heori.top.grid import GAP, HEADINGS, TITLE, Places, fit, matches, sort_rows
from heori.top.table import Cell, Column, Row, Table

_TITLE = Style(bold=True)
_RULE = Style(color="grey35")
_TITLE_FOCUSED = Style(bold=True, color="black", bgcolor="bright_cyan")
_HEADING = Style(color="grey62")
_SORTED = Style(bold=True, underline=True)
_CURSOR = Style(bold=True, bgcolor="dark_blue")
_EMPTY = Style(color="grey50")
_WHEEL_ROWS = 3


class Bar(Widget):
    """A line of text."""

    DEFAULT_CSS = """
    Bar { height: 1; padding: 0 1; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._text = Text()

    def show(self, text: Text) -> None:
        """Show this; where there is no room for all of it, without its middle."""
        if (text.plain, text.style) != (self._text.plain, self._text.style):
            self._text = text
            self.refresh()

    def render(self) -> Text:
        """As Textual asks for it."""
        return Text(without_middle(self._text.plain, max(1, self.size.width)), self._text.style)


class Pane(Widget, can_focus=True):
    """Shows a table; rows stay where they are, unless they are sorted.

    Attributes:
        filter: what a row must have in one of its cells to be shown; any case.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("up", "move(-1)"),
        ("down", "move(1)"),
        ("pageup", "page(-1)"),
        ("pagedown", "page(1)"),
        ("home", "move(-1000000)"),
        ("end", "move(1000000)"),
        Binding("tab", "app.focus_next", "pane", key_display="Tab"),
        Binding("enter", "open", "details", key_display="⏎"),
    ]

    class Opened(Message):
        """A person wants to know all about a row."""

        def __init__(self, pane: "Pane") -> None:
            super().__init__()
            self.pane = pane

    class Entered(Message):
        """The cursor has come to it."""

        def __init__(self, pane: "Pane") -> None:
            super().__init__()
            self.pane = pane

    class Resized(Message):
        """It needs another number of lines."""

    def __init__(self, table: Table) -> None:
        super().__init__(id=table.name)
        self._table = table
        self.filter = ""
        self._sorting: tuple[int, bool] | None = None  # by which column, and whether descending
        self._places = Places()
        self._shown: list[Row] = []
        self._widths = tuple(0 for _ in table.columns)
        self._cursor = 0
        self._first = 0  # row on the screen
        self._drawn: dict[int, Strip] = {}  # what stands on the screen, line by line
        self.wanted = 0
        self.show(table)

    @property
    def columns(self) -> Sequence[Column]:
        """Those that it may be sorted by."""
        return self._table.columns

    @property
    def sorted_by(self) -> int:
        """The number of the column, from 1; 0 when rows stay where they are."""
        return 0 if self._sorting is None else self._sorting[0] + 1

    @property
    def selected(self) -> Row | None:
        """The row at the cursor."""
        return self._shown[self._cursor] if self._shown else None

    @property
    def rows(self) -> Sequence[Row]:
        """All that are shown, from the first on, also those for which one has to scroll."""
        return self._shown

    def show(self, table: Table) -> None:
        """Show the rows of now; the cursor stays where it is, or on its row if they are sorted."""
        self._table = table
        # Columns that became narrower would have all others jump.
        pairs = zip(self._widths, table.widths, strict=True)
        self._widths = tuple(max(before, now) for before, now in pairs)
        kept = [row for row in table.rows if matches(row, self.filter)]
        if self._sorting is None:
            self._shown = self._places.arrange(kept)
        else:
            at = self.selected
            column, descending = self._sorting
            self._shown = sort_rows(kept, column, descending=descending)
            if at is not None:
                keys = [row.key for row in self._shown]
                self._cursor = keys.index(at.key) if at.key in keys else self._cursor
        self._keep_in_view()
        if len(self._shown) > self.wanted:
            self.wanted = len(self._shown)
            self.post_message(self.Resized())
        self._draw_changes()

    def filter_by(self, words: str) -> None:
        """Show those rows only that have this text."""
        self.filter = words
        self._begin_anew()

    def sort_by(self, column: int | None) -> None:
        """Sort by a column, the other way round if it is by that already; by None: not at all."""
        if column is None:
            self._sorting = None
        elif self._sorting is not None and self._sorting[0] == column:
            self._sorting = column, not self._sorting[1]
        else:
            self._sorting = column, self.columns[column].kind == "figure"
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._places = Places()
        self._cursor = self._first = 0
        self.wanted = 0
        self.show(self._table)
        self.post_message(self.Resized())

    def action_move(self, rows: int) -> None:
        """Move the cursor."""
        self._cursor += rows
        self._keep_in_view()
        self.refresh()

    def action_page(self, pages: int) -> None:
        """Move the cursor by what is on the screen."""
        self.action_move(pages * max(1, self._room))

    def action_open(self) -> None:
        """Ask for the details of the row at the cursor."""
        if self._shown:
            self.post_message(self.Opened(self))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there; a second time opens it."""
        row = self._first + event.y - TITLE - HEADINGS
        if event.y >= TITLE + HEADINGS and row < len(self._shown):
            self._cursor = row
            self.refresh()
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_down(self) -> None:
        """Go on."""
        self.action_move(_WHEEL_ROWS)

    def on_mouse_scroll_up(self) -> None:
        """Go back."""
        self.action_move(-_WHEEL_ROWS)

    def on_focus(self) -> None:
        """Say so."""
        self.post_message(self.Entered(self))

    def on_resize(self) -> None:
        """Have the cursor in view."""
        self._drawn.clear()
        self._keep_in_view()

    @property
    def _room(self) -> int:
        return self.size.height - TITLE - HEADINGS

    def _keep_in_view(self) -> None:
        last = max(0, len(self._shown) - 1)
        self._cursor = min(max(0, self._cursor), last)
        room = max(1, self._room)
        lowest = max(0, min(self._cursor, len(self._shown) - room))
        self._first = min(max(self._first, self._cursor - room + 1), lowest)

    def render_line(self, y: int) -> Strip:
        """One line, as Textual asks for it."""
        self._drawn[y] = self._strip(y, self.size.width)
        return self._drawn[y].apply_style(self.rich_style)

    def _draw_changes(self) -> None:
        """Draw no line that is as it was: terminals are far away, and most lines stay the same."""
        width = self.size.width
        lines = [y for y, strip in self._drawn.items() if strip != self._strip(y, width)]
        if lines:
            self.refresh(*(Region(0, y, width, 1) for y in lines))

    def _strip(self, y: int, width: int) -> Strip:
        if y < TITLE:
            return self._title(width)
        if y == TITLE:
            return self._headings(width)
        number = self._first + y - TITLE - HEADINGS
        if number >= len(self._shown):
            return Strip.blank(width)
        strip = self._line(self._shown[number].cells, width)
        if number == self._cursor and self.has_focus:
            strip = strip.apply_style(_CURSOR)
        return strip

    def _title(self, width: int) -> Strip:
        number, total = len(self._shown), self._table.total
        parts = [f" {self._table.name} {formats.count(total)}"]
        if self.filter:
            parts.append(f"{formats.count(number)} with “{self.filter}”")
        elif len(self._table.rows) < total:
            parts.append(f"{formats.count(len(self._table.rows))} of them read")
        if self._sorting is not None:
            column, descending = self._sorting
            way = "↓" if descending else "↑"
            parts.append(f"by {_named(self.columns[column])} {way}")
        if 0 < self._room < number:
            end = min(number, self._first + self._room)
            parts.append(f"rows {self._first + 1} to {end} of {formats.count(number)}")
        text = without_middle(Text(" · ".join(parts)).plain, width - 1) + " "
        rest = width - cell_len(text)
        if self.has_focus:
            return Strip([Segment(text + " " * rest, _TITLE_FOCUSED)], width)
        return Strip([Segment(text, _TITLE), Segment("─" * rest, _RULE)], width)

    def _headings(self, width: int) -> Strip:
        if not self._shown:
            said = " none" if not self.filter else " none with that text; Esc shows all"
            return Strip([Segment(said, _EMPTY)]).adjust_cell_length(width)
        by = None if self._sorting is None else self._sorting[0]
        cells = [
            Text(column.heading, _SORTED if number == by else _HEADING)
            for number, column in enumerate(self.columns)
        ]
        return self._line(cells, width)

    def _line(self, cells: Sequence[Cell], width: int) -> Strip:
        segments: list[Segment] = [Segment(" ")]
        for number, room in fit(self.columns, self._widths, width - 2).items():
            if len(segments) > 1:
                segments.append(Segment(" " * GAP))
            cell, column = cells[number], self.columns[number]
            text = cell if isinstance(cell, Text) else Text(cell)
            if column.kind == "name" and text.cell_len > room:
                text = Text(without_middle(text.plain, room), text.style)
            blank = [Segment(" " * (room - text.cell_len))] if text.cell_len < room else []
            drawn = [each for each in text.render(self.app.console) if each.text]
            segments += blank + drawn if column.kind == "figure" else drawn + blank
        return Strip(segments).adjust_cell_length(width)


def _named(column: Column) -> str:
    return column.heading or "bar"

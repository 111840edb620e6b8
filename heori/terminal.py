"""The one place through which what is drawn reaches a terminal; for plain lines it is `plain`.

Names, ids, errors and tracebacks come from Redis and from users, and may hold anything: what rich
takes for markup, what a terminal takes for commands, line breaks that look like another answer. So
nothing else makes a console, a styled text or prints (ruff forbids it), and here all of it is
escaped, whatever a command does with it. What has several lines is given line by line, or says so.
"""

import os
from collections.abc import Iterable
from typing import IO, Any

import rich.console
import rich.text
from rich.cells import cell_len, set_cell_size
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from heori_common.printable import LINES, printable

LONGEST = 20_000  # characters of one line; a person reads no more of them
ENDLESS = 100_000  # columns of what is no terminal
LEAST = 9  # columns that are left of a name


class Text(rich.text.Text):
    """Text with a style. Of a very long line it is the beginning.

    Args:
        lines: whether it may have several lines.
    """

    def __init__(
        self, text: str = "", style: str | Style = "", *, lines: bool = False, **options: Any
    ) -> None:
        shown = printable(text, kept=LINES) if lines else _line(text)
        super().__init__(shown, style, **options)

    def append(
        self, text: "rich.text.Text | str", style: str | Style | None = None
    ) -> "rich.text.Text":
        """Add to its end."""
        return super().append(_line(text) if isinstance(text, str) else text, style)


def _line(text: str) -> str:
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text):,} characters)"
    return printable(text)


class Name:
    """Text of one line that loses its middle where a terminal has no room for all of it.

    What tells names apart stands at their ends. On a pipe names are whole, for whoever reads them.
    """

    def __init__(self, text: str) -> None:
        self._text = Text(text)

    def __rich_measure__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> Measurement:
        length = self._text.cell_len
        return Measurement(min(LEAST, length), length).with_maximum(options.max_width)

    def __rich_console__(
        self, console: rich.console.Console, options: rich.console.ConsoleOptions
    ) -> rich.console.RenderResult:
        yield Text(without_middle(self._text.plain, options.max_width))


def without_middle(text: str, width: int) -> str:
    """Text that fills no more cells, without its middle; some characters fill two."""
    if cell_len(text) <= width:
        return text
    head, tail = width // 2, (width - 1) // 2
    return f"{set_cell_size(text, head)}…{set_cell_size(text[::-1], tail)[::-1]}"


class Console(rich.console.Console):
    """Draws on standard output, or on another stream. Strings are text of one line, not markup.

    A pipe has lines of any length, unless COLUMNS says how many columns it has.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__(file=file, markup=False, emoji=False, highlight=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = ENDLESS

    def render_str(self, text: str, *, style: str | Style = "", **options: Any) -> Text:
        """What becomes of a string, wherever it stands."""
        return Text(text, style, justify=options.get("justify"), overflow=options.get("overflow"))

    def render(
        self,
        renderable: rich.console.RenderableType,
        options: rich.console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Whatever is drawn comes through here, of rich's own, too."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, kept=LINES), segment.style)

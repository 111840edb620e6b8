"""What opens above the panes: details, help, a question, a choice."""

import textwrap
from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static

from heori.terminal import Text

UNBROKEN = {"break_long_words": False, "break_on_hyphens": False}
_MARGIN = 8  # columns beside the text of a dialog
_LEAST = 20  # columns of a value

Fields = dict[str, str]


class Dialog(ModalScreen[object]):
    """Closes by Escape and q."""

    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog .box { width: 90%; max-width: 110; height: auto; max-height: 85%;
                  border: round $accent; padding: 0 1; background: $surface; }
    Dialog .box { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 1; }
    Dialog OptionList, Dialog OptionList:focus {
        height: auto; max-height: 100%; border: none; padding: 0; background: $surface; }
    Dialog #told { width: auto; }
    Details .box { overflow-x: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "back", key_display="Esc"),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def action_close(self) -> None:
        """Leave it, and do nothing."""
        self.dismiss(None)


class Details(Dialog):
    """Values with their names. It scrolls, also sideways: no path and no id is broken."""

    def __init__(self, title: str, told: Fields) -> None:
        super().__init__(title)
        self._told = told
        self._text = Static(id="told")

    def compose(self) -> ComposeResult:
        """Make it."""
        with VerticalScroll(classes="box") as box:
            box.border_title = Text(self._title, overflow="ellipsis").plain.replace("[", r"\[")
            yield self._text
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show what is known already."""
        self.query_one(VerticalScroll).focus()
        self.fill(self._told)

    def on_resize(self) -> None:
        """Lines may be longer or shorter now."""
        self.fill(self._told)

    def fill(self, told: Fields) -> None:
        """Show this."""
        self._told = told
        width = min(110, self.app.size.width * 9 // 10) - _MARGIN
        self._text.update(Group(*_lines(told, width)))


class Help(Details):
    """What the keys do, and what is shown."""

    def __init__(self) -> None:
        super().__init__("help", _HELP)


class Question(Dialog):
    """Asks whether to do something; y does it, and all else that closes it does not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "yes"),
        Binding("n", "close", "no"),
    ]

    def __init__(self, title: str, *lines: str) -> None:
        super().__init__(title)
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Make it."""
        with Vertical(classes="box") as box:
            box.border_title = self._title
            for line in self._lines:
                yield Static(Text(line, overflow="fold"))
        yield Footer(show_command_palette=False)

    def action_yes(self) -> None:
        """Do it."""
        self.dismiss(True)


class Menu(Dialog):
    """Has one of several chosen; its result is the number of that."""

    def __init__(self, title: str, options: Sequence[str], now: int) -> None:
        super().__init__(title)
        self._options = options
        self._now = now

    def compose(self) -> ComposeResult:
        """Make it."""
        with Vertical(classes="box") as box:
            box.border_title = self._title
            yield OptionList(*map(Text, self._options))
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin at what is so now."""
        options = self.query_one(OptionList)
        options.highlighted = self._now
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(event.option_index)


def _lines(told: Fields, width: int) -> list[RenderableType]:
    """Values beside their names; what has several lines, below its name."""
    lines: list[RenderableType] = []
    margin = max(map(len, told), default=0) + 2
    for name, value in told.items():
        several = value.rstrip().split("\n")
        if len(several) > 1:
            lines.append(Text(name, "bold"))
            lines += [Text(f"  {line}", no_wrap=True) for line in several]
            continue
        room = max(_LEAST, width - margin)
        text = Text(several[0]).plain
        wrapped = textwrap.wrap(text, room, **UNBROKEN) or [""]  # type: ignore[arg-type]
        for number, line in enumerate(wrapped):
            label = f"{name:{margin}}" if number == 0 else " " * margin
            lines.append(Text.assemble((label, "bold"), Text(line), no_wrap=True))
    return lines


_HELP = {
    "Tab, Shift+Tab": "the next pane, the one before",
    "↑ ↓ PgUp PgDn Home End": "the cursor in a pane",
    "Enter": "all about the row at the cursor: a job, a worker, a lock …",
    "/": "show only the rows of this pane that have a text; Esc shows all again",
    "s": "sort this pane; the same column again turns it round",
    "p": "pause the queue, task or entry at the cursor, or let it go on",
    "k": "stop the job at the cursor, after a question",
    "n": "read all notices",
    "q, Ctrl+C": "quit",
    " ": "",
    "rows": "stay where they are, unless you sort them. What is gone is struck out until "
    "something else takes its place.",
    "bar of a worker": "what its busy threads do: run (green), wait for the GIL (red), for input "
    "and output (blue), for anything else (magenta)",
    "GIL loss": "the share of the possible throughput that waiting for the GIL costs",
    "speed-up": "how many times as many jobs of a task processes would do; an estimate",
    "jobs": "what consumers have claimed: it runs, or waits in a consumer for a slot",
    "slot of a job": "the worker and its slot that run it; lent: it waits for other jobs; empty: "
    "it waits for a slot, or its consumer does not answer",
}

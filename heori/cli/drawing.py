"""What several commands draw: values with their names, and tables."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from heori.terminal import Console, Text

LEAST_WIDTH = 20  # columns of a value, beside its name
UNBROKEN: Any = {"break_long_words": False, "break_on_hyphens": False}


def print_fields(fields: Mapping[str, str]) -> None:
    """Print values with their names; no path, id or other word is broken, so that it can be copied.

    What has several lines, such as a traceback, stands below its name. It is indented, so that none
    of its lines looks like another field.
    """
    console = Console()
    width = max(map(len, fields), default=0) + 2
    for name, value in fields.items():
        lines = value.rstrip().split("\n")
        if len(lines) > 1:
            console.print(Text(name, "bold"))
            label = indent = "  "
        else:
            label, indent = f"{name:{width}}", " " * width
            room = max(LEAST_WIDTH, console.width - width)
            lines = textwrap.wrap(Text(lines[0]).plain, room, **UNBROKEN) or [""]
        for line in lines:
            console.print(Text.assemble((label, "bold"), Text(line)), soft_wrap=True)
            label = indent


def list_table(*names: str, numbers: Sequence[str] = ()) -> Table:
    """A table of things: columns that give way on a narrow terminal, and such of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in names:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table

"""Plain lines, and JSON: what a command prints that draws nothing, and so loads nothing that does.

As in `terminal`, what a terminal would obey is escaped.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from heori_common.printable import printable


def say(*lines: str, error: bool = False) -> None:
    """Print lines of text, at once.

    Args:
        error: on standard error, for what is no answer.
    """
    shown = [printable(line, kept="\t") for line in lines]
    stream = sys.stderr if error else sys.stdout
    print(*shown, sep="\n", file=stream, flush=True)


def say_json(record: object, *, default: Callable[[Any], Any] | None = None) -> None:
    """Print a JSON value in a line, for scripts; JSON escapes all that must be.

    Args:
        default: makes JSON values of what has no JSON form.
    """
    print(json.dumps(record, default=default), flush=True)  # noqa: T201

"""How commands talk to people and to scripts: settings, times, refusals, exit codes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from common.broker import BrokerUnavailable
from common.settings import Settings

T = TypeVar("T")

FAILED, REFUSED = 1, 2  # exit codes: it went wrong; it was not begun, because of what was asked

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_settings() -> Settings:
    """The settings from the environment; refuses with one message that names what is wrong."""
    # Tasks live beside where the command is typed, as with python -m; the installed script
    # would look beside itself only.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return Settings()
    except ValidationError as error:

        def variable(name: object) -> str:
            text = str(name)
            return text if text.isupper() else f"HEORI_{text.upper()}"

        problems = "; ".join(
            f"{variable(e['loc'][0])}: {e['msg']} (got {e['input']!r})" for e in error.errors()
        )
        refuse(f"a setting does not fit: {problems}")


def duration(option: str, text: str) -> float:
    """Seconds of a time such as 45s, 30m, 12h or 7d; a bare number is seconds."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1.0)
    try:
        seconds = float(number)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        refuse(f"{option} {text}: a time such as 20s, 5m, 1h or 7d is needed")
    return seconds * unit


def guarded(action: Callable[[], T]) -> T:
    """Run; say in one line that Redis is away, instead of a traceback."""
    try:
        return action()
    except BrokerUnavailable as error:
        refuse(f"{error}\nIs the server running, and does HEORI_REDIS_URL point at it?")
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def refuse(message: str) -> NoReturn:
    """Say why it was not begun, and end."""
    print(f"heori: {message}", file=sys.stderr)
    raise typer.Exit(REFUSED)


def print_record(record: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print the same for a script or for a person."""
    print(json.dumps(record) if as_json else text)


def printable(text: str, *, lines: bool = False) -> str:
    """Text from Redis for a terminal, which must not obey it.

    Args:
        lines: whether it may have several lines.
    """
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)

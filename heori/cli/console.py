"""What commands share: options that are times, and answers."""

from datetime import datetime
from typing import Annotated, Any

import typer

from heori import formats
from heori.cli.ending import FAILED, MEND, refuse
from heori.inspect.reader import WRONG_TYPE, RedisReader
from heori.plain import say, say_json
from heori_common.duration import seconds
from heori_common.errors import cut

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def read_duration(option: str, text: str) -> float:
    """Seconds of a time such as 45s, 30m, 12h or 7d; a bare number is seconds."""
    try:
        return seconds(text)
    except ValueError as error:
        refuse(f"{option}: {error}")


def read_moment(option: str, text: str) -> datetime:
    """A point in time with its zone, in ISO 8601."""
    try:
        given = datetime.fromisoformat(text)
        if given.tzinfo is None:
            raise ValueError
    except ValueError:
        refuse(f"{option} {cut(text)}: a time with its zone is needed: 2030-01-31T10:00:00+00:00")
    return given


def tell_unreadable(reader: RedisReader) -> None:
    """Name what could not be read, if there is any; the exit code is 1 then."""
    if reader.unreadable:
        say(*(f"heori: {problem}" for problem in reader.problems()), error=True)
        if WRONG_TYPE in reader.unreadable.values():
            say(MEND, error=True)
        raise typer.Exit(FAILED)


def told_moment(text: str, now: float) -> str:
    """How long ago a moment was that is written in ISO 8601, and the moment; else what there is.

    Args:
        now: the server's time, in epoch seconds.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    if when.tzinfo is None:
        return text
    return f"{formats.age(now - when.timestamp())}, {formats.moment(when)}"


def print_record(record: dict[str, Any], *lines: str, as_json: bool) -> None:
    """Print a result: as JSON for a script, or as text for a person."""
    if as_json:
        say_json(record)
    else:
        say(*lines)

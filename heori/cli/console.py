"""What all commands share: settings, options that are times or sizes, messages, exit codes."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from heori import formats
from heori.inspect.reader import WRONG_TYPE, RedisReader
from heori.plain import say, say_json
from heori_common.duration import seconds
from heori_common.errors import cut
from heori_common.redis.errors import RedisRefused, RedisUnavailable

T = TypeVar("T")

FAILED, REFUSED = (
    1,
    2,
)  # exit codes: it went wrong; nothing was done, because the request or a setting is not valid

LOGIN = "Does HEORI_REDIS_URL hold its login?"
MEND = "`heori doctor` says how to mend it"

MOST_COUNT = 1_000_000_000  # of whatever an option counts
MOST_CHARS = 2000  # of a line of a message

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


def read_size(option: str, text: str) -> int:
    """Bytes of a size such as 500M or 2G; a bare number is bytes."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    if not number.isdecimal() or len(number) > 18 or int(number) == 0:
        refuse(f"{option} {cut(text)}: bytes are needed, or a size such as 500M or 2G")
    return int(number) * unit


def guarded(action: Callable[[], T]) -> T:
    """Do it; when Redis is away, end with a message instead of a traceback."""
    try:
        return action()
    except RedisUnavailable as error:
        refuse(str(error), "Is the server running, and does HEORI_REDIS_URL point at it?")
    except RedisRefused as error:
        refuse(str(error), *hints(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def hints(refusal: RedisRefused) -> list[str]:
    """What a person may do about it."""
    known = {"NOAUTH": LOGIN, "WRONGPASS": LOGIN, "WRONGTYPE": MEND}
    return [hint for code, hint in known.items() if code == refusal.code]


def refuse(message: str, *lines: str) -> NoReturn:
    """End with a message that says why nothing was done, and with more lines about it."""
    fail(message, *lines, code=REFUSED)


def fail(message: str, *lines: str, code: int = FAILED) -> NoReturn:
    """End with a message that says what went wrong, and with more lines about it."""
    # Whatever of a request is repeated in it, which may be very long.
    say(*(cut(line, MOST_CHARS) for line in (f"heori: {message}", *lines)), error=True)
    raise typer.Exit(code)


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

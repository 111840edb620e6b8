"""Times as people give them: lengths such as 2.5, "500ms" or a timedelta, waits, and moments."""

import re
from datetime import UTC, datetime, timedelta

from heori_common.errors import short

Duration = float | str | timedelta

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
# A century. More is a slip, such as milliseconds for seconds, and leads to dates that cannot be
# read everywhere.
LONGEST_S = 100 * 365.25 * 86400
# The last year of the calendar is left to time zones, as a datetime must fit in each of them.
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def seconds(duration: Duration) -> float:
    """A length of time in seconds, from 0 up.

    Raises:
        ValueError: it is negative, longer than a century or no length of time.
    """
    length = _seconds(duration)
    if length is None or not 0 <= length <= LONGEST_S:
        raise ValueError(
            f"{short(duration)} is no length of time: seconds from 0 up to a century are needed, "
            "or a text such as 20s, 500ms, 5min, 1h or 2d"
        )
    return length


def check_wait(name: str, given: float | None, least: float = 0.0) -> float | None:
    """How long to wait at most, in seconds; None for as long as it takes.

    Args:
        name: of the argument.

    Raises:
        ValueError: it is no number, less than `least`, or more than a century.
    """
    if given is not None and (type(given) not in (int, float) or not least <= given <= LONGEST_S):
        from_zero = " from 0 up" if least == 0 else ""
        raise ValueError(f"{name}={short(given)}: seconds{from_zero} are needed, or None")
    return given


def whole_seconds(name: str, given: int, unlimited: str) -> int:
    """A time in whole seconds, from 1 up; or -1 for what `unlimited` says.

    Args:
        name: of the argument.

    Raises:
        ValueError: it is neither, or longer than a century.
    """
    if type(given) is not int or (given != -1 and not 1 <= given <= LONGEST_S):
        raise ValueError(f"{name}={short(given)}: whole seconds from 1 up, or -1 for {unlimited}")
    return given


def moment(name: str, given: object) -> float:
    """A point in time in epoch seconds, of an aware datetime.

    Args:
        name: of the argument.

    Raises:
        ValueError: it is none, or after the year 9998.
    """
    if not isinstance(given, datetime) or given.utcoffset() is None:
        raise ValueError(
            f"{name}={short(given)}: a datetime with a time zone is needed, such as "
            "datetime.now(UTC)"
        )
    if given >= _LATEST:
        raise ValueError(f"{name}={given}: a time before the year 9999 is needed")
    return given.timestamp()


def _seconds(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, str):
        parts = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", duration, re.ASCII)
        if parts is None or parts[2] not in _UNITS:
            return None
        return float(parts[1]) * _UNITS[parts[2]]
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        # A whole number may be too large for a float.
        return float(max(-1.0, min(duration, 2 * LONGEST_S)))
    return None

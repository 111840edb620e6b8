"""Lengths of time as people write them: seconds as a number, "500ms", "5min", a timedelta."""

import re
from datetime import timedelta

Duration = float | str | timedelta

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
# A century. More is a slip, such as milliseconds for seconds, and leads to dates that cannot be
# read everywhere.
LONGEST_S = 100 * 365.25 * 86400


def seconds(duration: Duration) -> float:
    """A length of time in seconds, from 0 up.

    Raises:
        ValueError: it is negative, longer than a century or no length of time.
    """
    length = _seconds(duration)
    if length is None or not 0 <= length <= LONGEST_S:
        raise ValueError(
            f"{duration!r} is no length of time: seconds from 0 up are needed, or a text such as "
            "20s, 500ms, 5min, 1h or 2d"
        )
    return length


def check_wait(name: str, given: float | None, least: float = 0.0) -> float | None:
    """How long to wait at most, in seconds; None for as long as it takes.

    Args:
        name: of the argument.

    Raises:
        ValueError: it is no number, or less than `least`.
    """
    if given is not None and (type(given) not in (int, float) or not given >= least):
        from_zero = " from 0 up" if least == 0 else ""
        raise ValueError(f"{name}={given!r}: seconds{from_zero} are needed, or None")
    return given


def _seconds(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, str):
        parts = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", duration, re.ASCII)
        if parts is None or parts[2] not in _UNITS:
            return None
        return float(parts[1]) * _UNITS[parts[2]]
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return float(min(duration, 2 * LONGEST_S))  # a whole number may be too large for a float
    return None

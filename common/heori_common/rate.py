"""How many of a task's jobs may begin in a time, over all consumers; see rates.lua."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from heori_common.duration import seconds
from heori_common.errors import short
from heori_common.name_template import NameTemplates

_PERIODS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0, "day": 86400.0}
# What claims and the leader's clock are late by must not be lost: so long a time's jobs may begin
# at once by default, and two at least.
CATCH_UP_S = 0.1
FASTEST = 10_000.0  # a second; the time of the server has microseconds
SLOWEST_S = 366 * 86400.0  # between two jobs
MOST_AT_ONCE = 1_000_000


class Rate(NamedTuple):
    """What is counted together, as its jobs carry it."""

    name: str
    interval_us: float  # between two jobs
    burst: int  # that may begin at once after a pause


class RateTemplate:
    """What a task declares.

    Args:
        rate: such as ``"100/min"`` or ``"5/10s"``.
        key: a template of what is counted together, such as ``"api:{customer}"``; None for all jobs
            of the task.
        burst: how many may begin at once after a pause; None for what comes in a tenth of a
            second, two at least.

    Attributes:
        given: these three.

    Raises:
        TypeError: one of them is of the wrong type.
        ValueError: one of them makes no sense.
    """

    def __init__(
        self, function: Callable[..., Any], rate: str, key: str | None, burst: int | None
    ) -> None:
        per_second = parse_rate(rate)
        if burst is None:
            burst = max(2, math.ceil(per_second * CATCH_UP_S))
        if type(burst) is not int:
            raise TypeError(f"burst={short(burst)}: a whole number is needed")
        if not 1 <= burst <= MOST_AT_ONCE:
            raise ValueError(f"burst={short(burst)}: from 1 to {MOST_AT_ONCE:,} jobs")
        self.given = rate, key, burst
        self._interval_us, self._burst = 1e6 / per_second, burst
        self._names = NameTemplates("rate_key", function)
        self._key = key
        if key is not None:
            self._names.check(key)
        self._whole = f"{function.__module__}.{function.__qualname__}"

    def fill_in(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rate:
        """The rate of the job with these arguments.

        Raises:
            ValueError: an argument makes a name that no rate can have.
        """
        if self._key is None:
            return Rate(self._whole, self._interval_us, self._burst)
        name = self._names.fill_in(self._key, self._names.arguments(args, kwargs))
        return Rate(name, self._interval_us, self._burst)


def parse_rate(rate: object) -> float:
    """Jobs a second, of a text such as ``"100/min"``.

    Raises:
        TypeError: it is no text.
        ValueError: it makes no sense.
    """
    if not isinstance(rate, str):
        raise TypeError(f"rate={short(rate)}: a text such as '100/min' is needed")
    number, _, period = (part.strip() for part in rate.partition("/"))
    try:
        jobs = int(number)
        length = _PERIODS.get(period) or seconds(period)
        per_second = jobs / length
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"rate={short(rate)}: jobs and a time are needed, such as '100/min', '5/10s' or '1/h'"
        ) from None
    if not 1 / SLOWEST_S <= per_second <= FASTEST:
        raise ValueError(
            f"rate={short(rate)}: from one job a year to {FASTEST:,.0f} a second are possible"
        )
    return per_second

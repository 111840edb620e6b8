"""When a failed job is tried again: the policy that a task declares with ``@task(retry=…)``."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from heori_common.duration import Duration, seconds
from heori_common.errors import short
from heori_common.public import public

Backoff = Literal["exponential", "linear", "constant"]

MAX_RETRIES = 1000  # each of them has its delay in the record of every job


@public
@dataclass(frozen=True, init=False, slots=True)
class Retry:
    """How often a job that failed is tried again, and after what delays.

    ``Retry(max=5, backoff="exponential", base="1s", cap="5min")`` waits 1, 2, 4, 8 and 16
    seconds, each less up to a half of it; ``Retry(intervals=(1, 5, 30))`` waits just so.

    Attributes:
        max: runs after the first one, at most.
        backoff: whether each delay is twice the last one (exponential), longer than the last
            one by `base` (linear), or the same (constant).
        base: the first delay, in seconds.
        cap: the longest delay, in seconds.
        jitter: whether a delay is varied, see `with_jitter`. By default one that grows is; what is
            named, as intervals or as the base of a constant one, is waited for exactly.
        intervals: the delays themselves, in seconds, in place of backoff, base and cap; when
            there are fewer than `max`, the last one is repeated.
    """

    max: int
    backoff: Backoff
    base: float
    cap: float
    jitter: bool
    intervals: tuple[float, ...]

    def __init__(
        self,
        max: int | None = None,  # noqa: A002 - RQ's own name for it
        *,
        backoff: Backoff = "exponential",
        base: Duration = 1.0,
        cap: Duration = 300.0,
        jitter: bool | None = None,
        intervals: Iterable[Duration] = (),
    ) -> None:
        """Check a policy.

        Args:
            max: 5 by default, or as many as there are intervals.

        Raises:
            ValueError: it makes no sense.
            TypeError: intervals is a text, which would be read letter by letter.
        """
        if isinstance(intervals, str | bytes):
            raise TypeError(
                f"intervals={short(intervals)}: several delays are needed, as in (1, 5)"
            )
        if backoff not in ("exponential", "linear", "constant"):
            raise ValueError(f"backoff={short(backoff)}: exponential, linear or constant is needed")
        if jitter is not None and not isinstance(jitter, bool):
            raise TypeError(f"jitter={short(jitter)}: True, False or None is needed")
        given = tuple(_delay("intervals", each) for each in islice(intervals, MAX_RETRIES + 1))
        first, longest = _delay("base", base), _delay("cap", cap)
        if given and (backoff, first, longest) != ("exponential", 1.0, 300.0):
            raise ValueError("intervals are the delays; backoff, base and cap have no part in them")
        if first > longest:
            raise ValueError(f"base={first:g} s is over cap={longest:g} s; raise cap")
        most = (len(given) or 5) if max is None else max
        if type(most) is not int or not 1 <= most <= MAX_RETRIES:
            raise ValueError(f"max={short(most)}: a whole number from 1 to {MAX_RETRIES} is needed")
        if most < len(given):
            raise ValueError(f"max={most} leaves some of the {len(given)} intervals out")
        grows = not given and backoff != "constant"
        varied = grows if jitter is None else jitter
        values = (most, backoff, first, longest, varied, given)
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def delays(self) -> tuple[float, ...]:
        """The delay before each retry, in seconds, without jitter."""
        if self.intervals:
            return self.intervals + self.intervals[-1:] * (self.max - len(self.intervals))
        growth = {
            "exponential": (2.0**n for n in range(self.max)),
            "linear": (n + 1.0 for n in range(self.max)),
            "constant": (1.0 for _ in range(self.max)),
        }
        return tuple(min(self.cap, self.base * factor) for factor in growth[self.backoff])

    def with_jitter(self, delay: float) -> float:
        """A delay, in seconds, varied between half of it and the whole.

        Jobs that failed together, because one thing they all need was away, must not all come
        back at the same moment and take it down again. At least half of the delay remains, so
        that a longer delay gives that thing more time.
        """
        return random.uniform(delay / 2, delay) if self.jitter else delay


def _delay(name: str, value: Duration) -> float:
    try:
        return seconds(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error

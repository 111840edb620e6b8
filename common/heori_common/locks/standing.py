"""Who stands in line for locks, for those who look and have no connection to Redis."""

from collections.abc import Sequence
from typing import NamedTuple

from heori_common.current_job import CurrentJob


class Standing(NamedTuple):
    """Whoever stands in line for locks.

    Attributes:
        job: the one that it does so for, if any.
        locks: kind and name of all that it wants at once.
        since: clock.now() when it began to ask.
    """

    job: CurrentJob | None
    locks: Sequence[tuple[str, str]]
    since: float

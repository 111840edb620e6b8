"""From one size to another: why, and what came of it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from heori_consumer.auto.size import Size

Cause = Literal[
    "threads wait for the GIL",
    "jobs wait for other things",
    "jobs wait for a lock",
    "cores are idle",
    "event loops are full",
    "less does as much",
    "known from before",
    "the last move did not help",
    "too much memory",
]
Fate = Literal["kept", "undone", "overtaken"]


class CameOf(NamedTuple):
    """What came of a move.

    Attributes:
        gain: how many times the throughput is since then; None when the work has changed meanwhile,
            so that nobody can tell.
    """

    fate: Fate
    gain: float | None = None


@dataclass(eq=False, slots=True)
class Move:
    """From one size to another.

    Attributes:
        reason: for people, in one line.
        gain: how many times the throughput is expected to be.
        cause: the kind of the reason.
        outcome: None until it is known, and of one that is not judged: what takes back another, or
            what memory forces.
    """

    before: Size
    size: Size
    reason: str
    gain: float
    cause: Cause
    outcome: CameOf | None = None

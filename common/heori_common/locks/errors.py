"""What can go wrong with a lock."""

from collections.abc import Sequence
from typing import NamedTuple

from heori_common.errors import HeoriError
from heori_common.public import public


@public
class LockError(HeoriError):
    """The base of all errors of locks."""


@public
class NotHeld(LockError, RuntimeError):
    """This thread or task does not hold the lock."""


@public
class LockLost(LockError):
    """The lease ran out, or was taken away, before the lock was released.

    Others may have held the lock since, at the same time as this holder went on.
    """


@public
class FencedOut(LockError):
    """A write was refused: a later holder of the lock has written already.

    Attributes:
        fence: of the holder that was refused.
        by: the later one; None when the store does not tell.
    """

    def __init__(self, fence: int, by: int | None = None) -> None:
        self.fence = fence
        self.by = by
        later = "a later one" if by is None else str(by)
        super().__init__(
            f"the write with fence {fence} was refused: {later} has written; the lock was lost"
        )


@public
class Step(NamedTuple):
    """One owner in a deadlock, and what it waits for: a lock, or the next owner."""

    owner: str
    waits_for: str


@public
class DeadlockDetected(LockError):
    """This wait for a lock would never end.

    Raised in the one whose waiting would close the cycle, and nothing else has changed: releasing
    what it holds sets the others free.

    Attributes:
        cycle: the owners and what each waits for, beginning with the one that asked.
    """

    def __init__(self, cycle: Sequence[Step]) -> None:
        self.cycle = tuple(cycle)
        steps = "; ".join(f"{step.owner} waits for {step.waits_for}" for step in self.cycle)
        super().__init__(f"this wait would never end: {steps}")

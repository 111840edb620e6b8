"""To whom a pool says what came of its claims."""

from collections.abc import Sequence
from typing import Protocol

from heori_common.protocol.job import Claim, Settled
from heori_consumer.between.frames import Note
from heori_consumer.pool.held_results import HeldResults


class Settlement(Protocol):
    """Where the pool says what came of its claims, each exactly once; the acknowledger.

    Attributes:
        held: the results that it has yet to pass on.
    """

    held: HeldResults

    def ended(self, entries: list[Settled]) -> None:
        """Executions that came to an end."""

    def given_back(self, entries: list[Settled]) -> None:
        """Claims that will not be finished here."""

    def note(self, notes: Sequence[tuple[Claim, Note]]) -> None:
        """What jobs that still run tell of themselves; before what comes of them."""

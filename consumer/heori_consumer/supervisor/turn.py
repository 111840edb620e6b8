"""Queues in turns, so that what is done for each of them costs the same however many there are."""

from collections.abc import Sequence


class Turn:
    """Goes round some queues, a few at a time."""

    def __init__(self, queues: Sequence[str], at_a_time: int) -> None:
        self._queues = list(queues)
        self._at_a_time = at_a_time

    def next(self) -> list[str]:
        """Those whose turn it is."""
        now = self._queues[: self._at_a_time]
        self._queues = self._queues[len(now) :] + now
        return now

"""The queues whose jobs the configuration of this consumer does not let it run.

The jobs are not to blame, and another consumer may run them: they go back to where they were, and
no more are claimed of that queue. So it stays until the consumer is started anew, with the setting
that its log names.
"""

from collections.abc import Sequence
from typing import TypeVar

from heori_common import logs
from heori_common.protocol.keys import whole_queue
from heori_consumer.supervisor.stop_request import StopRequest

T = TypeVar("T")
log = logs.get_logger(__name__)


class Refusals:
    """What this consumer has refused.

    Args:
        stop: asked when no queue is left.

    Attributes:
        reasons: why, and which setting mends it, by queue.
    """

    def __init__(self, queues: Sequence[str], stop: StopRequest) -> None:
        self._queues = queues
        self._stop = stop
        self.reasons: dict[str, str] = {}

    def add(self, queue: str, reason: str) -> None:
        """A job of this queue, or of a tenant's part of it, was refused."""
        queue = whole_queue(queue)
        if queue in self.reasons:
            return
        self.reasons[queue] = reason
        log.error(
            "this consumer takes no more jobs of a queue; they wait for another one",
            queue=queue,
            reason=reason,
        )
        if self.is_total:
            self._stop.ask()

    @property
    def is_total(self) -> bool:
        """Whether no queue is left."""
        return len(self.reasons) == len(self._queues)

    @property
    def served(self) -> Sequence[str]:
        """The queues whose jobs are claimed."""
        return self.of_served(self._queues)

    def of_served(self, each: Sequence[T]) -> Sequence[T]:
        """What belongs to these, of what there is for all queues, or for the first of them."""
        if not self.reasons:
            return each
        pairs = zip(self._queues, each, strict=False)
        return tuple(value for queue, value in pairs if queue not in self.reasons)

    def __contains__(self, queue: str) -> bool:
        return whole_queue(queue) in self.reasons

    def __str__(self) -> str:
        """A line for each queue."""
        return "\n".join(f"{queue}: {reason}" for queue, reason in sorted(self.reasons.items()))

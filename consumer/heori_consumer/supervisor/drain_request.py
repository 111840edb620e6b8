"""That the consumer is to claim nothing for now, as somebody has asked from outside."""

from collections.abc import Callable

from heori_common import logs

log = logs.get_logger(__name__)


class DrainRequest:
    """Whether the consumer drains, though it goes on living.

    The request stands in the consumer's own record in Redis, and is read with each heartbeat: so it
    outlives a connection that is lost, and ends with the process.

    Attributes:
        is_on: whether it is to claim nothing.
        on_change: called when that has changed.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.on_change: list[Callable[[], None]] = []

    def read(self, *, is_on: bool) -> None:
        """Know what stands in the record."""
        if is_on == self.is_on:
            return
        self.is_on = is_on
        if is_on:
            log.info("drained: claiming nothing until `heori resume --consumer`")
        else:
            log.info("resumed")
        for tell in self.on_change:
            tell()

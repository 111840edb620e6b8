"""One builder per command, by who sends it. No I/O here: `common.broker` executes them."""

from common.protocol.commands.builder import FAILURE_TTL, GRANT, RESULT_TTL, Command, Word
from common.protocol.commands.delivery import (
    DEADLOCK,
    EXECUTION_MARK,
    LEASE_MARGIN,
    Claimed,
    Delivery,
    Ended,
    Extended,
    GivenBack,
    Reclaimed,
)
from common.protocol.commands.letters import Letters, Record
from common.protocol.commands.presence import REGISTRIES, Presence, QueueCensus, QueueCounts
from common.protocol.commands.scheduling import Moved, Scheduling
from common.protocol.commands.sending import Progress, Result, Sending

__all__ = [
    "DEADLOCK",
    "EXECUTION_MARK",
    "FAILURE_TTL",
    "GRANT",
    "LEASE_MARGIN",
    "REGISTRIES",
    "RESULT_TTL",
    "Claimed",
    "Command",
    "Commands",
    "Ended",
    "Extended",
    "GivenBack",
    "Moved",
    "Progress",
    "QueueCensus",
    "QueueCounts",
    "Reclaimed",
    "Record",
    "Result",
    "Word",
]


class Commands(Sending, Delivery, Scheduling, Presence, Letters):
    """All of them."""

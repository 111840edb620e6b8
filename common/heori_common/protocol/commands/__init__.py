"""One builder per command, by sender. No I/O here: `heori_common.redis` executes them."""

from heori_common.protocol.commands.bounds import MOST_WAITING, Bound, BoundCommands
from heori_common.protocol.commands.builder import (
    CALL_BYTES,
    EXECUTION_MARK,
    FAILURE_TTL_S,
    HANDOVER_LEASE_US,
    LEASE_MARGIN_S,
    RESULT_TTL_S,
    Command,
    Word,
)
from heori_common.protocol.commands.claiming import (
    HANDED,
    Claimed,
    ClaimingCommands,
    HandOver,
    Offer,
    read_hand_over,
)
from heori_common.protocol.commands.dead_letters import DeadLetterCommands, Record
from heori_common.protocol.commands.delivery import (
    DEADLOCK,
    UNKNOWN_WAIT_S,
    DeliveryCommands,
    Extended,
    Reclaimed,
)
from heori_common.protocol.commands.leading import CANCELED, Lead, LeadingCommands
from heori_common.protocol.commands.registry import (
    REGISTRIES,
    QueueCensus,
    QueueCounts,
    RegistryCommands,
)
from heori_common.protocol.commands.scheduling import Moved, SchedulingCommands
from heori_common.protocol.commands.sending import (
    ASKED,
    KEPT_DROPPED,
    PLACE_LEASE_S,
    Begun,
    Cursor,
    Enqueued,
    Progress,
    Result,
    SendingCommands,
    WhenFull,
)
from heori_common.protocol.commands.tidying import Tidied, TidyingCommands

__all__ = [
    "ASKED",
    "CALL_BYTES",
    "CANCELED",
    "DEADLOCK",
    "EXECUTION_MARK",
    "FAILURE_TTL_S",
    "HANDED",
    "HANDOVER_LEASE_US",
    "KEPT_DROPPED",
    "LEASE_MARGIN_S",
    "MOST_WAITING",
    "PLACE_LEASE_S",
    "REGISTRIES",
    "RESULT_TTL_S",
    "UNKNOWN_WAIT_S",
    "Begun",
    "Bound",
    "Claimed",
    "Command",
    "Commands",
    "Cursor",
    "Enqueued",
    "Extended",
    "HandOver",
    "Lead",
    "Moved",
    "Offer",
    "Progress",
    "QueueCensus",
    "QueueCounts",
    "Reclaimed",
    "Record",
    "Result",
    "Tidied",
    "WhenFull",
    "Word",
    "read_hand_over",
]


class Commands(
    SendingCommands,
    BoundCommands,
    ClaimingCommands,
    DeliveryCommands,
    SchedulingCommands,
    RegistryCommands,
    DeadLetterCommands,
    TidyingCommands,
    LeadingCommands,
):
    """All of them."""

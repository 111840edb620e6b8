"""One builder per command, by sender. No I/O here: `heori_common.redis` executes them."""

from heori_common.protocol.commands.acting import ActingCommands
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
    BEGINNING,
    DEADLOCK,
    UNKNOWN_WAIT_S,
    DeliveryCommands,
    Extended,
    Reclaimed,
    SettledUpTo,
)
from heori_common.protocol.commands.leading import CANCELED, Lead, LeadingCommands
from heori_common.protocol.commands.learning import LESSONS_TTL_S, LearningCommands
from heori_common.protocol.commands.listing import Listed, ListingCommands, Register
from heori_common.protocol.commands.maintenance import LeftBehind, MaintenanceCommands
from heori_common.protocol.commands.pausing import Pause, PausingCommands
from heori_common.protocol.commands.periodic import (
    EntryState,
    PeriodicCommands,
    PublishedSchedule,
    PublishedVersion,
    ScheduleLook,
    Ticks,
    TicksDone,
)
from heori_common.protocol.commands.publishing import Found, PublishingCommands
from heori_common.protocol.commands.registry import (
    DRAIN_FIELD,
    HEARTBEAT_TTL_S,
    LOOK,
    REGISTRIES,
    Drained,
    QueueCensus,
    QueueCounts,
    Registered,
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
    JobState,
    Progress,
    RareSend,
    Result,
    SendingCommands,
    WhenFull,
)
from heori_common.protocol.commands.tenants import LEAST_WEIGHT, MOST_WEIGHT, TenantCommands
from heori_common.protocol.commands.tidying import Tidied, TidyingCommands

__all__ = [
    "ASKED",
    "BEGINNING",
    "CALL_BYTES",
    "CANCELED",
    "DEADLOCK",
    "DRAIN_FIELD",
    "EXECUTION_MARK",
    "FAILURE_TTL_S",
    "HANDED",
    "HANDOVER_LEASE_US",
    "HEARTBEAT_TTL_S",
    "KEPT_DROPPED",
    "LEASE_MARGIN_S",
    "LEAST_WEIGHT",
    "LESSONS_TTL_S",
    "LOOK",
    "MOST_WAITING",
    "MOST_WEIGHT",
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
    "Drained",
    "Enqueued",
    "EntryState",
    "Extended",
    "Found",
    "HandOver",
    "JobState",
    "Lead",
    "LeftBehind",
    "Listed",
    "Moved",
    "Offer",
    "Pause",
    "Progress",
    "PublishedSchedule",
    "PublishedVersion",
    "QueueCensus",
    "QueueCounts",
    "RareSend",
    "Reclaimed",
    "Record",
    "Register",
    "Registered",
    "Result",
    "ScheduleLook",
    "SettledUpTo",
    "Ticks",
    "TicksDone",
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
    PublishingCommands,
    DeadLetterCommands,
    TidyingCommands,
    MaintenanceCommands,
    LeadingCommands,
    PausingCommands,
    LearningCommands,
    TenantCommands,
    PeriodicCommands,
    ListingCommands,
    ActingCommands,
):
    """All of them."""

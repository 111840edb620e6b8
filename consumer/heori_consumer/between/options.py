"""What a worker is told when it is started."""

from dataclasses import dataclass
from typing import Literal

from heori_common.protocol.payload import Serializer

Kind = Literal["threads", "coroutines"]  # of slots


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be run, from the settings."""

    tasks: tuple[str, ...]  # modules to import
    allow: tuple[str, ...]
    accept: tuple[Serializer, ...]
    max_payload: int  # bytes
    unknown_wait: float  # seconds for which what is unknown here waits for another consumer
    middleware: tuple[str, ...] = ()
    redis_url: str = ""
    strict: bool = False  # refuse results that would change


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker needs to know; crosses to the new process by pickle."""

    kind: Kind
    slots: int
    lend: int  # slots more, at most, while jobs wait for other jobs
    policy: Policy
    json_logs: bool
    log_level: str


def own_threads(slots: int) -> int:
    """How many threads a worker may need itself, at most.

    Each slot is a thread, or has one beside the event loop; a few more serve the supervisor.

    Args:
        slots: of the worker, with those that it has lent.
    """
    return 2 * slots + 16

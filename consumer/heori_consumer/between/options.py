"""What a worker is told when it is started."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from heori_common.protocol.payload import OwnSerializer, Serializer
from heori_common.protocol.unpickling import Pickles
from heori_common.rq.named import named_serializer
from heori_common.settings import Pickle, Records

# Of slots; a mixed worker has threads, and an event loop for async tasks.
Kind = Literal["threads", "coroutines", "mixed"]
# Whose the process is: a worker's own; a copy of another program, whose log it keeps; or that
# program itself, in one of its threads.
Home = Literal["own", "copy", "caller"]


@dataclass(frozen=True)
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
    pickle: Pickle = "restricted"  # how pickles are read
    records: Records = "fast"  # when RQ's tools see that a job runs
    consumer: str = ""  # the name of the consumer, as RQ's tools list it
    exception_handlers: tuple[str, ...] = ()  # what RQ calls for each job that has failed
    serializer: str | None = None  # the name of an application's own

    @cached_property
    def pickles(self) -> Pickles:
        """How pickles are read."""
        return Pickles(self.allow, restricted=self.pickle == "restricted")

    @cached_property
    def own_serializer(self) -> OwnSerializer | None:
        """What reads and writes payloads in the place of JSON and pickle.

        Raises:
            NotThere: it cannot be imported.
        """
        return named_serializer(self.serializer) if self.serializer is not None else None


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker needs to know; crosses to the new process by pickle."""

    kind: Kind
    slots: int
    lend: int  # slots more, at most, while jobs wait for other jobs
    policy: Policy
    json_logs: bool
    log_level: str
    home: Home = "own"
    coroutines: int = 0  # of a mixed worker; its slots are its threads
    most_slots: int = 0  # that a mixed worker may come to have
    most_coroutines: int = 0  # likewise
    publishes: bool = False  # whether it tells what is to be published of the tasks

    @property
    def room(self) -> int:
        """Rows of its slot table beside those of its slots, and of those that it lends."""
        if self.kind != "mixed":
            return 0
        # What is lent may be threads, and may be coroutines.
        return self.most_slots - self.slots + self.most_coroutines + self.lend


def own_threads(slots: int) -> int:
    """How many threads a worker may need itself, at most.

    Each slot is a thread, or has one beside the event loop; a few more serve the supervisor.

    Args:
        slots: of the worker, with those that it has lent.
    """
    return 2 * slots + 16

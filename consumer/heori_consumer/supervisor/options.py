"""What a consumer is started with; everything else is in the settings."""

from dataclasses import dataclass
from typing import Any

from heori_common.logs import Layout
from heori_common.platform import files_limit, usable_cores, usable_memory
from heori_common.protocol.commands import RESULT_TTL_S
from heori_common.settings import Model
from heori_consumer.auto.size import Size, SizeBounds
from heori_consumer.pool.guest import Guest
from heori_consumer.pool.zygote import Zygote
from heori_consumer.supervisor.endpoint import MOST_FILES

# Slots of a process, unless told otherwise: what waits is cheap, and cheaper as a coroutine.
THREADS = 8
COROUTINES = 100
# What the model auto may come to have, unless told otherwise: processes for each core, slots and
# coroutines of each process, and the part of the memory that is there.
MOST_PROCESSES = 2  # for each core
MOST_SLOTS = 64
MOST_COROUTINES = 1000
MEMORY_SHARE = 0.75
# A worker process is recycled above this share of the files that it may have open, unless told
# otherwise; and above so many threads beside its own.
FILES_SHARE = 0.9
MAX_THREADS = 1000
# Files that a supervisor has open: for itself, with some in reserve; for whoever looks at its
# metrics, as many as are let in; and for each worker process while all of them start.
FILES = 32 + MOST_FILES
FILES_OF_WORKER = 8
# Files that a worker process has open for itself.
FILES_IN_WORKER = 16


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What to consume and how; everything else is in the settings."""

    queues: tuple[str, ...]
    model: Model
    processes: int
    slots: int  # of each process; of the model auto these two are its size to begin with
    bounds: SizeBounds | None = None  # of the model auto
    advises_only: bool = False  # whether it only says what size it would have
    weights: tuple[int, ...] | None = None  # of the queues; None: strictly in their order
    batch: int = 128  # jobs per claim at most
    wait: bool = True  # for Redis to be there at start
    recycle_after: int | None = None  # jobs of a worker process, until it is replaced
    max_rss: int | None = None  # its memory, in bytes, likewise
    max_files: int | None = None  # that it has open, likewise
    max_threads: int | None = None  # that tasks have left in it, likewise
    most_alone: int | None = None  # worker processes for one suspect each, at a time
    preload: bool = False  # whether workers share what the modules of tasks make when imported
    json_logs: bool = True
    layout: Layout | None = None  # of other lines, where somebody has said so
    name: str | None = None  # under which it is known; None: one that no other has
    at_random: bool = False  # which queue is served first
    burst: bool = False  # whether it ends when no job is left
    max_jobs: int | None = None  # after which it ends
    max_idle: float | None = None  # seconds without a job, likewise
    exception_handlers: tuple[str, ...] = ()  # names of what is called for each job that fails
    serializer: str | None = None  # the name of an application's own
    keeps_failures: bool = True  # whether jobs that have failed get a result and are listed
    result_ttl: int = RESULT_TTL_S  # seconds, of jobs that do not say; -1 for ever
    zygote: Zygote | None = None  # what forks the workers, if it is there already
    guest: Guest | None = None  # where it runs inside another program

    @classmethod
    def create(
        cls,
        queues: tuple[str, ...],
        model: Model,
        processes: int | None = None,
        slots: int | None = None,
        *,
        max_processes: int | None = None,
        max_slots: int | None = None,
        max_memory: int | None = None,
        **others: Any,
    ) -> "ConsumerOptions":
        """Fill in what was not said, from the model and the machine.

        Args:
            max_processes, max_slots, max_memory: of the model auto, see `SizeBounds`.

        Raises:
            ValueError: the numbers do not fit the model.
        """
        if model != "auto" and any(
            most is not None for most in (max_processes, max_slots, max_memory)
        ):
            raise ValueError(
                f"the {model} model keeps its size; only auto has --max-processes, --max-slots and "
                "--max-memory"
            )
        if model != "auto" and others.get("advises_only"):
            raise ValueError(f"the {model} model has no advice to give; only auto has --advise")
        if model in ("threads", "inline") and processes not in (None, 1):
            raise ValueError(f"the {model} model has one process; hybrid and asyncio have several")
        if model in ("processes", "inline") and slots not in (None, 1):
            raise ValueError(
                f"the {model} model has one slot each; hybrid and asyncio have several"
            )
        if model == "inline" and any(
            others.get(limit) for limit in ("recycle_after", "max_rss", "max_files", "max_threads")
        ):
            raise ValueError("the inline model has no worker process that could be recycled")
        if model == "inline" and others.get("preload"):
            raise ValueError("the inline model has no worker processes that could share tasks")
        cores = max(1, int(usable_cores()))
        usual = {
            "threads": (1, THREADS),
            "processes": (cores, 1),
            "hybrid": (cores, THREADS),
            "asyncio": (cores, COROUTINES),
            "auto": (cores, THREADS),
            "inline": (1, 1),
        }[model]
        if model == "auto":
            given = max_processes, max_slots, max_memory
            bounds = others["bounds"] = _bounds(cores, (processes, slots), *given)
            usual = min(cores, bounds.max_processes), min(THREADS, bounds.max_slots)
        processes = processes or usual[0]
        if (most := files_limit()) is not None:
            there_may_be = processes if model != "auto" else others["bounds"].max_processes
            needed = FILES + FILES_OF_WORKER * there_may_be
            if most < needed:
                raise ValueError(
                    f"a consumer with {there_may_be} worker processes needs {needed} open files at "
                    f"least, and may have {most} (ulimit -n)"
                )
            others["max_files"] = others.get("max_files") or int(most * FILES_SHARE)
            others["most_alone"] = max(1, (most - needed) // FILES_OF_WORKER)
        others["max_threads"] = others.get("max_threads") or MAX_THREADS
        return cls(queues, model, processes, slots or usual[1], **others)

    @property
    def size(self) -> Size:
        """What the model auto begins with."""
        assert self.bounds is not None
        coroutines = min(COROUTINES, self.bounds.max_coroutines)
        return Size(self.processes, self.slots, coroutines)

    @property
    def files_short(self) -> str:
        """What a worker process has too few open files for, in a sentence; empty if nothing."""
        most, needed = files_limit(), FILES_IN_WORKER + self.slots
        if most is None or most >= needed or self.model == "inline":
            return ""
        return (
            f"a worker process of {self.slots} slots needs {needed} open files if each job has one "
            f"of its own, such as a connection, and may have {most} (ulimit -n)"
        )


def _bounds(
    cores: int,
    begins: tuple[int | None, int | None],
    max_processes: int | None,
    max_slots: int | None,
    max_memory: int | None,
) -> SizeBounds:
    """How large a consumer of the model auto may become.

    Args:
        begins: the processes and slots that it is to begin with, if that was said.

    Raises:
        ValueError: it is to begin with more than that.
    """
    for name, begin, most in zip(
        ("processes", "slots"), begins, (max_processes, max_slots), strict=True
    ):
        if begin is not None and most is not None and begin > most:
            raise ValueError(f"--{name} {begin} is more than --max-{name} {most}")
    processes, slots = (begin or 0 for begin in begins)
    if max_memory is None and (memory := usable_memory()) is not None:
        max_memory = int(memory * MEMORY_SHARE)
    return SizeBounds(
        max_processes or max(MOST_PROCESSES * cores, processes),
        max_slots or max(MOST_SLOTS, slots),
        MOST_COROUTINES,
        max_memory,
    )

"""What a consumer is started with; everything else is in the settings."""

from dataclasses import dataclass
from typing import Any

from heori_common.platform import files_limit, usable_cores
from heori_common.settings import Model

# Slots of a process, unless told otherwise: what waits is cheap, and cheaper as a coroutine.
THREADS = 8
COROUTINES = 100
# A worker process is recycled above this share of the files that it may have open, unless told
# otherwise; and above so many threads beside its own.
FILES_SHARE = 0.9
MAX_THREADS = 1000
# Files that a consumer has open: itself, while it starts, and for each worker process, with some
# for those that are about to replace others.
FILES = 26
FILES_OF_WORKER = 5


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What to consume and how; everything else is in the settings."""

    queues: tuple[str, ...]
    model: Model
    processes: int
    slots: int  # of each process
    weights: tuple[int, ...] | None = None  # of the queues; None: strictly in their order
    batch: int = 64  # jobs per claim at most
    wait: bool = True  # for Redis to be there at start
    max_jobs: int | None = None  # of a worker process, until it is recycled
    max_rss: int | None = None  # its memory, in bytes, likewise
    max_files: int | None = None  # that it has open, likewise
    max_threads: int | None = None  # that tasks have left in it, likewise
    preload: bool = False  # whether workers share what the modules of tasks make when imported
    json_logs: bool = True

    @classmethod
    def create(
        cls,
        queues: tuple[str, ...],
        model: Model,
        processes: int | None = None,
        slots: int | None = None,
        **others: Any,
    ) -> "ConsumerOptions":
        """Fill in what was not said, from the model and the machine.

        Raises:
            ValueError: the numbers do not fit the model.
        """
        if model in ("threads", "inline") and processes not in (None, 1):
            raise ValueError(f"the {model} model has one process; hybrid and asyncio have several")
        if model in ("processes", "inline") and slots not in (None, 1):
            raise ValueError(
                f"the {model} model has one slot each; hybrid and asyncio have several"
            )
        if model == "inline" and any(
            others.get(limit) for limit in ("max_jobs", "max_rss", "max_files", "max_threads")
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
            "inline": (1, 1),
        }[model]
        processes = processes or usual[0]
        if (most := files_limit()) is not None:
            needed = FILES + FILES_OF_WORKER * processes
            if most < needed:
                raise ValueError(
                    f"a consumer with {processes} worker processes needs {needed} open files at "
                    f"least, and may have {most} (ulimit -n)"
                )
            others["max_files"] = others.get("max_files") or int(most * FILES_SHARE)
        others["max_threads"] = others.get("max_threads") or MAX_THREADS
        return cls(queues, model, processes, slots or usual[1], **others)

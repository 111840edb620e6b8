"""What a consumer is started with; everything else is in the settings."""

from dataclasses import dataclass
from typing import Any

from heori_common.platform import usable_cores
from heori_common.settings import Model

# Slots of a process, unless told otherwise: what waits is cheap, and cheaper as a coroutine.
THREADS = 8
COROUTINES = 100


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
        if model == "inline" and (others.get("max_jobs") or others.get("max_rss")):
            raise ValueError("the inline model has no worker process that could be recycled")
        cores = max(1, int(usable_cores()))
        usual = {
            "threads": (1, THREADS),
            "processes": (cores, 1),
            "hybrid": (cores, THREADS),
            "asyncio": (cores, COROUTINES),
            "inline": (1, 1),
        }[model]
        return cls(queues, model, processes or usual[0], slots or usual[1], **others)

"""Options of whatever consumes: the execution model, its size, and how much they may count."""

from typing import Annotated

import typer

from heori_common.settings import Model
from heori_consumer.supervisor.options import MEMORY_SHARE, MOST_SLOTS

MOST_COUNT = 1_000_000_000  # of whatever an option counts

ModelOption = Annotated[
    Model,
    typer.Option(
        "--model",
        help="threads: 1 process x S threads, for work that waits. "
        "processes: P x 1, for work that computes. hybrid: P x S threads, for both. "
        "asyncio: P event loops x S coroutines, for async tasks. "
        "auto: P x S threads and an event loop in each, for all at once; it finds its size itself, "
        "and is experimental. "
        "inline: in the supervisor itself, for debugging only.",
    ),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        "-p",
        min=1,
        max=1000,
        help="Worker processes (P); by default as many as there are usable cores.",
    ),
]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--slots",
        "-s",
        min=1,
        max=10_000,
        help="Jobs at once in each process (S); by default 8 threads or 100 coroutines.",
    ),
]
MaxProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--max-processes",
        min=1,
        max=1000,
        help="Of the model auto: worker processes at most.  [default: 2 for each usable core]",
    ),
]
MaxSlotsOption = Annotated[
    int | None,
    typer.Option(
        "--max-slots",
        min=1,
        max=1000,
        help=f"Of the model auto: threads of each process at most.  [default: {MOST_SLOTS}]",
    ),
]
MaxMemoryOption = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Of the model auto: memory of the consumer and its worker processes at most, such as "
        f"2G.  [default: {MEMORY_SHARE:.0%} of what the machine or cgroup has]",
    ),
]
AdviseOption = Annotated[
    bool,
    typer.Option(
        "--advise",
        help="Of the model auto: only say which size it would have, and why, in the log.",
    ),
]

"""The options that choose an execution model and its size: of `heori consume` and `heori up`."""

from typing import Annotated

import typer

from heori_common.settings import Model

ModelOption = Annotated[
    Model,
    typer.Option(
        "--model",
        help="threads: 1 process x S threads, for work that waits. "
        "processes: P x 1, for work that computes. hybrid: P x S threads, for both. "
        "asyncio: P event loops x S coroutines, for async tasks. "
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

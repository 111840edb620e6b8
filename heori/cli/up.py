"""`heori up`: see it work."""

from typing import Annotated

import typer

from heori.cli.console import JsonOption, guarded, read_duration, refuse
from heori.cli.models import ModelOption, ProcessesOption, SlotsOption
from heori.demo.up import UpOptions, run


def up(
    *,
    seconds: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Go on for so long, such as 20s or 5m, rather than one round.",
        ),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Go on until Ctrl-C.")] = False,
    model: ModelOption = "threads",
    processes: ProcessesOption = None,
    slots: SlotsOption = None,
    as_json: JsonOption = False,
) -> None:
    """See it work: an embedded Valkey, a producer and a consumer, on real work.

    Puts every file of Python's standard library through three tasks: counting tokens (holds
    the GIL), digesting (releases it) and fetching over HTTP (waits). Ctrl-C drains.
    """
    limit = None if seconds is None else read_duration("--for", seconds)
    if limit == 0:
        refuse(f"--for {seconds}: a time such as 20s, 5m or 1h is needed")
    options = UpOptions(
        seconds=limit,
        forever=forever,
        model=model,
        processes=processes,
        slots=slots,
        json=as_json,
    )
    raise typer.Exit(guarded(lambda: run(options)))

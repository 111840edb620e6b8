"""`heori up`: see it work."""

from typing import Annotated

import typer

from heori.cli import runs
from heori.cli.console import JsonOption, read_duration
from heori.cli.ending import FAILED, refuse
from heori.cli.models import ModelOption, ProcessesOption, SlotsOption
from heori.demo.display import make_display, report
from heori.demo.processes import BY_SIGNAL, Interrupt
from heori.demo.tally import RunResult
from heori.demo.up import plan_run, run_up
from heori.terminal import Console


def up(
    *,
    seconds: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Go on for this time, such as 20s or 5m, instead of one round.",
        ),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Go on until Ctrl-C.")] = False,
    model: ModelOption = "threads",
    processes: ProcessesOption = None,
    slots: SlotsOption = None,
    as_json: JsonOption = False,
) -> None:
    """See it work: an embedded Valkey, a producer and a consumer, on real work.

    Every file of Python's standard library goes through three tasks: counting its tokens (holds
    the GIL), digesting it (releases the GIL) and fetching it over HTTP (waits). Ctrl-C drains.

    The exit code is 0 when every job was done, and only once; 1 when some failed, were lost or
    ran twice, or when a process died; and 128 with the number of the signal that stopped it early.
    """
    limit = None if seconds is None else read_duration("--for", seconds)
    if limit == 0:
        refuse(f"--for {seconds}: a time such as 20s, 5m or 1h is needed")
    if forever and seconds is not None:
        refuse("--for and --forever exclude each other")
    try:
        plan = plan_run(model, processes, slots, limit, forever=forever)
    except ValueError as error:
        refuse(str(error))
    console = Console()

    def run(interrupt: Interrupt) -> RunResult:
        with make_display(console, plan, json=as_json) as display:
            return run_up(plan, display, interrupt)

    result = runs.run(run)
    report(console, plan, result, json=as_json)
    if not result.well:
        raise typer.Exit(BY_SIGNAL + result.signal if result.interrupted else FAILED)

"""`heori lab`: small experiments that show what there is to know, on real processes."""

from typing import Annotated

import typer

from heori.console import JsonOption, guarded

app = typer.Typer(
    help="Experiments that show what there is to know, on a Redis of their own.",
    no_args_is_help=True,
)


@app.callback()
def lab() -> None:
    """A callback makes it a group, even of one command."""


@app.command()
def locks(
    *,
    transfers: Annotated[
        int, typer.Option(min=1, max=100_000, help="Transfers in each of the first three runs.")
    ] = 500,
    consumers: Annotated[
        int, typer.Option(min=1, max=16, help="Consumers, each of them with four threads.")
    ] = 3,
    seed: Annotated[
        int, typer.Option(help="Of the transfers: the same number gives the same ones.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """What goes wrong without locks, and how they help: four runs, with their totals.

    Several consumers move money between a few accounts: without a lock, so that money appears or
    vanishes; with a mutex per account; with two mutexes one after the other, in whatever order,
    so that deadlocks are found and resolved. At last 50 jobs share three printers by a semaphore.
    The code is in heori/examples/accounts.py. The exit code is 1 if a lock did not hold.
    """
    from heori.lab.locks import LockOptions, run  # noqa: PLC0415 - its imports are for this alone

    raise typer.Exit(guarded(lambda: run(LockOptions(transfers, consumers, seed, as_json))))

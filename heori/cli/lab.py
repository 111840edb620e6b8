"""`heori lab`: experiments on this machine, with real processes."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from heori.cli import runs
from heori.cli.console import JsonOption
from heori.cli.ending import FAILED, refuse
from heori.demo.processes import Interrupt
from heori.lab.locks import LockOptions, run_locks
from heori.lab.locks import show as show_locks
from heori.lab.models import ModelOptions, OtherPython, run_models
from heori.lab.notes import showing
from heori.lab.notes.running import NOTES, NoteOptions, run_notes
from heori.lab.report import show as show_models
from heori_common.errors import short

app = typer.Typer()


@app.callback(invoke_without_command=True)
def lab(context: typer.Context) -> None:
    """Experiments on this machine: models, locks, and the notes that Heori comes from.

    `models` measures which execution model suits which work. `locks` shows what goes wrong
    without locks, and how they help. `notes` shows, one after the other, what a process, a thread
    and so on is, and where it matters in a production system.

    Without a command: `models`, with its defaults.
    """
    if context.invoked_subcommand is None:
        models()


@app.command()
def models(
    *,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            metavar="PATH",
            help="Measure another interpreter as well, such as a free-threaded one, and compare.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the jobs' data, and of the order in which everything is measured."
        ),
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer setups, less work and less time: rough figures.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of models.png and models.html; by default ./heori-lab, none with --json.",
        ),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            hidden=True,
            help="The sizes of the jobs as JSON, to do the same work as another interpreter.",
        ),
    ] = "{}",
    as_json: JsonOption = False,
) -> None:
    """Which execution model to choose: the same work on all of them, on this machine.

    Pure Python, hashing, HTTP, HTTP and then Python, and NumPy's sorting where it is installed,
    each on threads, processes, a hybrid and an event loop, with a real consumer: throughput,
    what the GIL costs, CPU time, memory and context switches, and a sentence for
    each workload that says which to take. At the end the model auto finds its size for each, beside
    the fastest of the others. Takes six minutes, in which nothing else should run.
    """
    out = _folder(out, as_json=as_json)
    options = ModelOptions(python, seed, quick, out, json.loads(sizes), as_json)
    try:
        found = runs.run(lambda interrupt: run_models(options, interrupt))
    except OtherPython as error:
        refuse(str(error))
    show_models(found, seed=seed, out=out, as_json=as_json)


@app.command()
def notes(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NOTE]...",
            help="Which; all of them, in this order, if none is named. "
            + ". ".join(f"{name}: {about}" for name, about in NOTES.items())
            + ".",
            show_default=False,
        ),
    ] = None,
    *,
    seed: Annotated[int, typer.Option(help="Seed of whatever is drawn by lot.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Less work: rough figures.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of a picture and a page for each; by default ./heori-lab, none "
            "with --json.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What processes, threads and the like are, seen on this machine, and what follows from it.

    Each takes less than a minute, and ends with a table, a chart, what it has shown and where that
    matters in Heori. Where this machine shows something else than is expected, it says so. Nothing
    else should run meanwhile.
    """
    if unknown := [name for name in names or [] if name not in NOTES]:
        refuse(f"there is no note {short(unknown[0])}; there are {', '.join(NOTES)}")
    options = NoteOptions(seed, quick, _folder(out, as_json=as_json), as_json)

    def show(interrupt: Interrupt) -> None:
        measured = run_notes(names or list(NOTES), options, interrupt)
        if as_json:
            showing.tell(list(measured), options)
        for each in measured:
            showing.show(each, options)

    runs.run(show)


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
        int, typer.Option(help="Seed of the transfers: the same seed gives the same transfers.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """What goes wrong without locks, and how they help: four runs, with their totals.

    Several consumers move money between a few accounts: without a lock, so that money appears or
    vanishes; with a mutex for each account; with two mutexes taken one after the other, in any
    order, so that deadlocks happen, are detected and are resolved. In the fourth run 50 jobs share
    three printers, guarded by a semaphore.
    The code is in heori/examples/accounts.py. The exit code is 1 if a lock did not hold.
    """
    options = LockOptions(transfers, consumers, seed, as_json)
    findings = runs.run(lambda interrupt: run_locks(options, interrupt))
    show_locks(findings, as_json=as_json)
    if not findings.well:
        raise typer.Exit(FAILED)


def _folder(out: Path | None, *, as_json: bool) -> Path | None:
    """Where charts go, if anywhere; refused before anything is measured if they cannot go there."""
    if out is None:
        return None if as_json else _folder(Path("heori-lab"), as_json=False)
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        refuse(f"no chart can be written to {short(str(out))}: --out names another folder")
    return out

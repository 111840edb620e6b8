"""The command line of the benchmarks: which kinds, how many turns, where to write."""

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    apart,
    auto,
    auto_short,
    beside,
    bound,
    claims,
    drain,
    features,
    fleet,
    flows,
    gil,
    heavy,
    kills,
    locks,
    memory,
    page,
    pickles,
    profile,
    queues,
    redelivery,
    report,
    sending,
    start,
    stored,
    storms,
    targets,
    tenants,
    workloads,
)
from benchmarks.goals import SELECTION
from benchmarks.kinds import Kind, Results
from benchmarks.rig import Checkout, Rig
from benchmarks.turns import measure, planned

KINDS = (
    drain.DRAIN,
    features.FEATURES_OF_RQ,
    flows.FLOWS,
    pickles.PICKLES,
    sending.LATENCY,
    bound.IO,
    bound.MANY_IO,
    bound.CPU,
    sending.ENQUEUE,
    claims.CLAIM,
    queues.QUEUES,
    memory.MEMORY,
    start.START,
    stored.BYTES,
    redelivery.REDELIVERY,
    kills.KILLS,
    gil.GIL,
    locks.LOCKS,
    tenants.TENANTS,
    heavy.HEAVY,
    fleet.FLEET,
    fleet.PICK_UP,
    fleet.FAIRNESS,
    storms.STORMS,
    page.PAGE,
    workloads.WORKLOAD,
    auto.AUTO_FINDS,
    apart.KEPT_APART,
)
ONLY_BY_NAME = (auto_short.AUTO_SHORT,)
GROUPS = tuple(dict.fromkeys(kind.group for kind in (*KINDS, *ONLY_BY_NAME)))
ALL, GOALS, PROFILE = "all", "goals", "profile"
WORDS = (*GROUPS, GOALS, ALL, PROFILE)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Let nothing else run meanwhile. docs/benchmarks.md says what is measured and how.",
)
def main(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar=f"[{'|'.join(WORDS)}]...", show_default=ALL),
    ] = None,
    *,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each; medians are shown.")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write every turn there.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD", help="Only what has this word in its name or its kind's; repeatable."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes, one turn: shows that it works, no more.")
    ] = False,
    other: Annotated[
        Path | None,
        typer.Option(
            "--beside",
            metavar="FOLDER",
            help="Measure the Heori of another checkout, too, in turns: what a change has cost.",
        ),
    ] = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep the first core for the server, the rest for all.")
    ] = False,
) -> None:
    """Measure Heori beside its peers, in turns, each on a fresh server.

    Without a name everything but the profile and `auto-short`, which takes three hours. `goals` is
    of each kind what tells whether Heori is light and fast, and of no more. `auto-short` is all
    cases of `auto` in 25 minutes, beside fewer fixed settings. Ctrl-C shows what there is so far,
    and writes it.
    """
    chosen = _chosen(kinds or [ALL])
    if json_file:
        _check_writable(json_file)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: workers end, too
    if pin:
        _pin()
    try:
        checkout = None if other is None else beside.checkout(other)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error), param_hint="--beside") from error
    console = Console(width=None if sys.stdout.isatty() else 160)
    machine = report.machine()
    for name, value in machine.items():
        console.print(f"{name}: {value}", highlight=False)
    if kinds and PROFILE in kinds:
        profile.show(console, quick=quick)
    plans = planned(
        chosen,
        1 if quick else turns,
        quick=quick,
        only=only or [],
        other=checkout,
        leave_out=lambda said: console.print(said, markup=False, highlight=False),
    )
    samples, refused = measure(plans, together=checkout is None)
    results = report.medians(samples)
    _show(console, chosen, results, quick=quick, checkout=checkout)
    if samples:
        console.print(report.stolen(samples), highlight=False)
    if json_file:
        record = {
            "machine": machine,
            "quick": quick,
            "turns": turns,
            "goals": [asdict(told) for told in targets.told(results)],
            "medians": results,
            "notes": {kind.name: kind.notes() for kind in chosen if kind.notes},
            "samples": [asdict(sample) for sample in samples],
            "refused": refused,
        }
        json_file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    raise typer.Exit(1 if refused or (chosen and not samples) else 0)


def _show(
    console: Console,
    chosen: list[Kind],
    results: Results,
    *,
    quick: bool,
    checkout: Checkout | None,
) -> None:
    for kind in [kind for kind in chosen if kind.name in results]:
        console.print(f"[bold]{kind.title}[/]", report.table(kind, results), sep="\n")
        if kind.notes is not None:
            console.print(kind.notes(), markup=False, highlight=False)
    if results and checkout is not None:
        console.print("[bold]Beside[/]", beside.table(chosen, results), sep="\n")
    if results:
        meaning = " (--quick: none of this counts)" if quick else ""
        console.print(f"[bold]Targets[/]{meaning}", targets.table(results), sep="\n")


def _chosen(names: list[str]) -> list[Kind]:
    if unknown := set(names) - set(WORDS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(WORDS)}")
    of_goals = {kind.name: kind for kind in SELECTION if GOALS in names}
    kinds = [
        kind if ALL in names or kind.group in names else of_goals.get(kind.name) for kind in KINDS
    ]
    named = [kind for kind in ONLY_BY_NAME if kind.group in names]
    return [kind for kind in kinds if kind is not None] + named


def _pin() -> None:
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise typer.BadParameter("there is only one core", param_hint="--pin")
    os.sched_setaffinity(0, rest)  # whatever is started from here on inherits it
    Rig.server_cores = [first]


def _check_writable(file: Path) -> None:
    """Now, rather than after an hour."""
    try:
        file.touch()
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--json") from error


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")

"""The command line of the benchmarks: which kinds, how many turns, where to write."""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer
from redis import RedisError
from rich.console import Console
from rich.progress import Progress, TaskID, TimeElapsedColumn

from benchmarks import (
    auto,
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
from benchmarks.kinds import Case, Kind, Results
from benchmarks.report import Sample
from benchmarks.rig import Checkout, Refused, Rig
from heori.lab.steal import Steal

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
)
GROUPS = tuple(dict.fromkeys(kind.group for kind in KINDS))
ALL, PROFILE = "all", "profile"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Let nothing else run meanwhile. docs/benchmarks.md says what is measured and how.",
)
def main(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar=f"[{'|'.join([*GROUPS, ALL, PROFILE])}]...", show_default=ALL),
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

    Without a name everything but the profile, which takes two hours. Ctrl-C shows what
    there is so far.
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
    samples, refused = _measure(
        chosen, 1 if quick else turns, quick=quick, only=only or [], other=checkout
    )
    results = report.medians(samples)
    _show(console, chosen, results, quick=quick, checkout=checkout)
    if samples:
        console.print(report.stolen(samples), highlight=False)
    if json_file:
        record = {
            "machine": machine,
            "quick": quick,
            "turns": turns,
            "medians": results,
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


def _measure(
    chosen: list[Kind], turns: int, *, quick: bool, only: list[str], other: Checkout | None
) -> tuple[list[Sample], list[str]]:
    """Let the cases of each kind take turns; returns what they yielded, and what was refused."""
    samples: list[Sample] = []
    refused: list[str] = []
    with Progress(
        *Progress.get_default_columns(), TimeElapsedColumn(), console=Console(stderr=True)
    ) as progress:

        def refuse(reason: str) -> None:
            refused.append(reason)
            progress.console.print(f"refused: {reason}", markup=False)

        try:
            for kind in chosen:
                cases = _present(kind, quick=quick, only=only, progress=progress)
                if other is not None:
                    cases = beside.doubled(cases, other)
                rounds = min(turns, kind.turns or turns)
                if not cases:
                    continue
                bar = progress.add_task(kind.name, total=rounds * len(cases))
                for turn in range(rounds):
                    taken = _take_together if kind.together and other is None else _take_in_turns
                    samples += taken(kind, turn, cases, progress, bar, refuse)
                progress.update(bar, description=kind.name)
        except KeyboardInterrupt:
            refuse("everything else: interrupted")
    return samples, refused


def _take_in_turns(
    kind: Kind,
    turn: int,
    cases: list[Case],
    progress: Progress,
    bar: TaskID,
    refuse: Callable[[str], None],
) -> Iterator[Sample]:
    for case in cases:
        name = f"{kind.name}: {case.name}"
        progress.update(bar, description=name)
        Rig.tell = _teller(progress, bar, name)
        yield from _sample(kind, turn, case, refuse)
        progress.advance(bar)


def _take_together(
    kind: Kind,
    turn: int,
    cases: list[Case],
    progress: Progress,
    bar: TaskID,
    refuse: Callable[[str], None],
) -> Iterator[Sample]:
    def sample(case: Case) -> list[Sample]:
        found = list(_sample(kind, turn, case, refuse))
        progress.advance(bar)
        return found

    with ThreadPoolExecutor(len(cases)) as pool:
        yield from itertools.chain.from_iterable(pool.map(sample, cases))


def _sample(kind: Kind, turn: int, case: Case, refuse: Callable[[str], None]) -> Iterator[Sample]:
    """One, or none where it is refused."""
    steal = Steal()
    try:
        yield Sample(kind.name, case.name, turn, case.measure(), steal.share())
    except (Refused, RedisError, psutil.Error, OSError) as error:
        refuse(f"{kind.name}: {case.name}: {error}")


def _teller(progress: Progress, bar: TaskID, name: str) -> Callable[[str], None]:
    return lambda said: progress.update(bar, description=f"{name}: {said}")


def _chosen(names: list[str]) -> list[Kind]:
    if unknown := set(names) - {*GROUPS, ALL, PROFILE}:
        raise typer.BadParameter(
            f"{', '.join(sorted(unknown))}: choose from {', '.join([*GROUPS, ALL, PROFILE])}"
        )
    return [kind for kind in KINDS if ALL in names or kind.group in names]


def _pin() -> None:
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise typer.BadParameter("there is only one core", param_hint="--pin")
    os.sched_setaffinity(0, rest)  # whatever is started from here on inherits it
    Rig.server_cores = [first]


def _present(kind: Kind, *, quick: bool, only: list[str], progress: Progress) -> list[Case]:
    """The cases that can be measured here and are asked for."""
    cases = []
    for case in kind.cases(quick):
        if only and not any(word in f"{kind.name}: {case.name}" for word in only):
            continue
        if case.missing is None:
            cases.append(case)
        else:
            progress.console.print(f"{kind.name}: {case.name} is left out: {case.missing}")
    return cases


def _check_writable(file: Path) -> None:
    """Now, rather than after an hour."""
    try:
        file.touch()
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="--json") from error


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")

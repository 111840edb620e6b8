"""What `heori lab models` shows: a table, a sentence for each workload, and a chart."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from heori.lab.figures import COLUMNS, AutoFound, Figures, Interpreter, advice, by_workload, choice
from heori.plain import say_json
from heori.terminal import Console, Text

DISTURBED = 0.05  # of the cores, taken by others


def show(found: Sequence[Interpreter], *, seed: int, out: Path | None, as_json: bool) -> None:
    """Print what was measured, and write the chart if a folder is given."""
    charts = []
    missing = ""
    if out is not None:
        try:
            from heori.lab.chart import write  # noqa: PLC0415 - an extra, and slow to import

            charts = write(found, out)
        except ImportError as error:
            missing = f"No chart: {error}; pip install 'heori[lab]' brings it."
        except OSError as error:
            missing = f"No chart: {error}"
    if as_json:
        say_json(_record(found, seed, charts))
        return
    console = Console()
    for interpreter in found:
        console.print(_table(interpreter, seed))
    console.print(*map(Text, _sentences(found)), sep="\n", soft_wrap=True)
    if missing or charts:
        console.print(missing or f"Charts: {', '.join(map(str, charts))}", soft_wrap=True)


def interpreters(record: dict[str, Any]) -> list[Interpreter]:
    """What `--json` has printed."""
    return [
        Interpreter(
            each["python"],
            each["cores"],
            each["stolen"],
            [Figures.from_json(one) for one in each["figures"]],
            [AutoFound.from_json(one) for one in each["auto"]],
        )
        for each in record["interpreters"]
    ]


def _record(found: Sequence[Interpreter], seed: int, charts: Sequence[Path]) -> dict[str, Any]:
    return {
        "seed": seed,
        "interpreters": [
            {
                "python": each.name,
                "cores": each.cores,
                "stolen": round(each.stolen, 3),
                "figures": [one.to_json() for one in each.figures],
                "auto": [one.to_json() for one in each.auto],
                "advice": {
                    figures[0].workload: {
                        "setup": choice(figures).setup.name,
                        "because": advice(figures),
                    }
                    for _, figures in by_workload(each.figures)
                },
            }
            for each in found
        ],
        "charts": [str(chart) for chart in charts],
    }


def _table(interpreter: Interpreter, seed: int) -> Table:
    gil = "" if interpreter.figures[0].gil else ", no GIL"
    table = Table(
        title=f"Python {interpreter.name}{gil}, {interpreter.cores:g} cores, seed {seed}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    for heading, _ in COLUMNS:
        table.add_column(heading, justify="right")
    fixed = dict(by_workload(interpreter.figures))
    for about, figures in interpreter.by_workload():
        table.add_row(Text(about, "bold"))
        taken = choice(fixed[about])
        for number, each in enumerate(figures, 1):
            table.add_row(
                f"  {each.setup.name}",
                *(tell(each) for _, tell in COLUMNS),
                style="green" if each is taken else None,
                end_section=number == len(figures),
            )
    return table


def _sentences(found: Sequence[Interpreter]) -> Iterator[str]:
    stolen = max(each.stolen for each in found)
    if stolen > DISTURBED:
        yield (
            f"Other guests of this machine took {stolen:.0%} of its cores meanwhile: these figures "
            "are not to be trusted."
        )
    for interpreter in found:
        if len(found) > 1:
            yield f"On Python {interpreter.name}:"
        for _, figures in by_workload(interpreter.figures):
            yield f"- {advice(figures)}"
        if interpreter.auto:
            yield "What --model auto found by itself, beside the fastest fixed setup:"
        for found_size in interpreter.auto:
            yield f"- {found_size.sentence}."
    for interpreter in found[1:]:
        yield f"Python {interpreter.name} beside {found[0].name}, jobs/s:"
        first = {(each.workload, each.setup): each.rate for each in found[0].figures}
        for about, figures in by_workload(interpreter.figures):
            ratios = [
                f"{each.setup.name} {each.rate / first[each.workload, each.setup]:.1f}×"
                for each in figures
                if (each.workload, each.setup) in first
            ]
            yield f"- {about}: {', '.join(ratios)}"

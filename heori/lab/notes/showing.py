"""What is shown of an experiment: a table, a paragraph, a picture and a page of charts; or JSON."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from heori import formats
from heori.lab.notes.findings import NoteFindings, joined
from heori.lab.notes.measuring import note_of
from heori.lab.notes.running import Measured, NoteOptions
from heori.plain import say_json
from heori.terminal import Console, Text

DISTURBED = 0.05  # of the cores, taken by others


def show(measured: Sequence[Measured], options: NoteOptions) -> None:
    """Print what was found, and write the charts if a folder is given."""
    found = [(each, _findings(each)) for each in measured]
    charts: list[Path] = []
    missing = ""
    if options.out is not None:
        try:
            from heori.lab.notes.drawing import write  # noqa: PLC0415 - an extra, and slow to import

            charts = [path for each, of in found for path in write(each.name, of, options.out)]
        except ImportError as error:
            missing = f"No chart: {error}; pip install 'heori[lab]' brings it."
    if options.json:
        say_json({"seed": options.seed, "notes": [_record(*each) for each in found]})
        return
    console = Console()
    for each, of in found:
        console.print(Text(of.title, "bold"), soft_wrap=True)
        console.print(_table(of))
        console.print(Text(joined(of.claims)), Text(of.follows), sep="\n", soft_wrap=True)
        took = f"It took {formats.duration(each.seconds)}."
        if each.stolen > DISTURBED:
            took += (
                f" Other guests of this machine took {each.stolen:.0%} of its cores meanwhile: "
                "these figures are not to be trusted."
            )
        console.print(Text(took, "dim"), "")
    if missing or charts:
        console.print(missing or f"Charts: {', '.join(map(str, charts))}", soft_wrap=True)


def _findings(measured: Measured) -> NoteFindings:
    found: NoteFindings = note_of(measured.name).findings(measured.figures)
    return found


def _record(measured: Measured, found: NoteFindings) -> dict[str, object]:
    return {
        "note": measured.name,
        "title": found.title,
        "seconds": round(measured.seconds, 2),
        "stolen": round(measured.stolen, 3),
        "claims": [{"holds": claim.holds, "says": claim.sentence} for claim in found.claims],
        "follows": found.follows,
        "figures": measured.figures,
    }


def _table(found: NoteFindings) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(found.headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in found.rows:
        table.add_row(*map(Text, row))
    return table

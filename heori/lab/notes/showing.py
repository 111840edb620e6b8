"""What is shown of an experiment: a table, a paragraph, a picture and a page of charts; or JSON."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from heori import formats
from heori.lab.notes.findings import NoteFindings, joined
from heori.lab.notes.measuring import note_of
from heori.lab.notes.running import Measured, NoteOptions
from heori.plain import say_json
from heori.terminal import Console, Text

DISTURBED = 0.05  # of the cores, taken by others


def show(measured: Measured, options: NoteOptions) -> None:
    """Print what was found, and write the charts if a folder is given."""
    found = _findings(measured)
    charts = _write(measured, found, options)
    console = Console()
    console.print(Text(found.title, "bold"), soft_wrap=True)
    console.print(_table(found))
    console.print(Text(joined(found.claims)), Text(found.follows), sep="\n", soft_wrap=True)
    took = f"It took {formats.duration(measured.seconds)}."
    if measured.stolen > DISTURBED:
        took += (
            f" Other guests of this machine took {measured.stolen:.0%} of its cores meanwhile: "
            "these figures are not to be trusted."
        )
    console.print(Text(took, "dim"), Text(charts, "dim"), "", sep="\n", soft_wrap=True)


def tell(measured: Sequence[Measured], options: NoteOptions) -> None:
    """Print what was found of all as JSON, and write the charts if a folder is given."""
    found = [(each, _findings(each)) for each in measured]
    for each, of in found:
        _write(each, of, options)
    say_json({"seed": options.seed, "notes": [_record(*each) for each in found]})


def _write(measured: Measured, found: NoteFindings, options: NoteOptions) -> str:
    """Where the charts are, or why there are none."""
    if options.out is None:
        return ""
    try:
        from heori.lab.notes.drawing import write  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        return f"No chart: {error}; pip install 'heori[lab]' brings it."
    try:
        return f"Charts: {', '.join(map(str, write(measured.name, found, options.out)))}"
    except OSError as error:
        return f"No chart: {error}"


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

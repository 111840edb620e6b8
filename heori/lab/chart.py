"""The chart of `heori lab models`, as a picture and as a page that needs nothing else."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from heori.lab.figures import COLUMNS, Figures, Interpreter, advice, by_workload

# Colour-blind safe (Okabe and Ito), by execution model; a second interpreter is hatched.
COLOURS = {
    "threads": "#0072B2",
    "processes": "#D55E00",
    "hybrid": "#009E73",
    "asyncio": "#CC79A7",
    "auto": "#E69F00",
}

PAGE_STYLE = """\
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
</style>"""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>heori lab models</title>
{style}
<h1>The same work on every execution model</h1>
{chart}
<ul>{advice}</ul>
{auto}
{tables}
</html>
"""


def write(found: Sequence[Interpreter], folder: Path) -> list[Path]:
    """Write models.png and models.html; returns their paths.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(found)
    picture, page = folder / "models.png", folder / "models.html"
    figure.savefig(picture, dpi=110)
    vectors = io.StringIO()
    figure.savefig(vectors, format="svg")
    page.write_text(_page(found, vectors.getvalue()), encoding="utf-8")
    return [picture, page]


def draw(found: Sequence[Interpreter]) -> Figure:
    """One row of bars for each workload: how many times one thread's throughput."""
    groups = [each.by_workload() for each in found]
    rows = len(groups[0])
    bars = len(groups[0][0][1]) * len(found)
    figure = Figure(figsize=(10, 0.8 + rows * (0.5 + bars * 0.22)), layout="constrained")
    python = " and ".join(each.name for each in found)
    figure.suptitle(
        f"Throughput, × one thread    (Python {python}, {found[0].cores:g} cores)",
        fontsize=14,
        fontweight="bold",
    )
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for row, axis in enumerate(axes):
        about = groups[0][row][0]
        one = groups[0][row][1][0].rate
        cases = [
            (interpreter, each)
            for each_setup in zip(*(group[row][1] for group in groups), strict=True)
            for interpreter, each in zip(found, each_setup, strict=True)
        ]
        most = max(each.rate / one for _, each in cases)
        for place, (interpreter, each) in enumerate(cases):
            times = each.rate / one
            second = interpreter is not found[0]
            axis.barh(
                place,
                times,
                color=COLOURS[each.setup.model],
                height=0.8,
                hatch="//" if second else None,
                edgecolor="white",
            )
            lost = f", {each.gil_loss:.0%} lost to the GIL" if each.gil_loss >= 0.05 else ""
            axis.text(
                times + most * 0.01,
                place,
                f"{times:.1f}×  {each.rate:,.0f}/s{lost}",
                va="center",
                fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        axis.set_yticks(range(len(cases)), [_label(*case, many=len(found) > 1) for case in cases])
        axis.tick_params(axis="y", length=0, labelsize=9)
        axis.invert_yaxis()
        axis.set_xlim(0, most * 1.32)
        axis.axvline(1, color="#888888", linewidth=0.8, linestyle=":", zorder=0)
        axis.set_title(about, loc="left", fontsize=11, fontweight="bold")
        axis.set_xticks([])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def _label(interpreter: Interpreter, each: Figures, *, many: bool) -> str:
    return f"{each.setup.name}, {interpreter.name}" if many else each.setup.name


def _page(found: Sequence[Interpreter], vectors: str) -> str:
    told = "".join(
        f"<li>{html.escape(f'Python {one.name}: ' if len(found) > 1 else '')}"
        f"{html.escape(advice(figures))}</li>"
        for one in found
        for _, figures in by_workload(one.figures)
    )
    chart = vectors[vectors.index("<svg") :]  # without the declaration of a document of its own
    return PAGE.format(
        style=PAGE_STYLE,
        chart=chart,
        advice=told,
        auto="".join(map(_auto, found)),
        tables="".join(map(_table, found)),
    )


def _auto(interpreter: Interpreter) -> str:
    """The path that the model auto took through sizes, and why."""
    told = "".join(
        f"<li>{html.escape(each.sentence)}"
        f"<ol>{''.join(f'<li>{html.escape(move)}</li>' for move in each.moves)}</ol></li>"
        for each in interpreter.auto
    )
    heading = f"<h2>Python {html.escape(interpreter.name)}: --model auto, by itself</h2>"
    return f"{heading}<ul>{told}</ul>" if told else ""


def _table(interpreter: Interpreter) -> str:
    headings = ["", *(heading for heading, _ in COLUMNS)]
    rows = (
        [f"{each.about}, {each.setup.name}", *(tell(each) for _, tell in COLUMNS)]
        for _, figures in interpreter.by_workload()
        for each in figures
    )
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return f"<h2>Python {html.escape(interpreter.name)}</h2><table>{''.join(lines)}</table>"


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in cells)}</tr>"

"""The charts of an experiment, as a picture and as a page that needs nothing else."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from heori.lab.chart import PAGE_STYLE
from heori.lab.notes.findings import Bars, Curves, NoteFindings, Spans, joined

# Colour-blind safe (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Points of a line that are each marked and named; of more, only the line is drawn.
FEW = 12

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
{style}
<h1>{title}</h1>
{chart}
{table}
<p>{claims}</p>
<p>{follows}</p>
</html>
"""


def write(name: str, found: NoteFindings, folder: Path) -> list[Path]:
    """Write NAME.png and NAME.html; returns their paths.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(found)
    picture, page = folder / f"{name}.png", folder / f"{name}.html"
    figure.savefig(picture, dpi=110)
    vectors = io.StringIO()
    figure.savefig(vectors, format="svg")
    page.write_text(_page(found, vectors.getvalue()), encoding="utf-8")
    return [picture, page]


def draw(found: NoteFindings) -> Figure:
    """All charts, one below the other."""
    heights = [_height(chart) for chart in found.charts]
    figure = Figure(figsize=(9, sum(heights) + 0.6), layout="constrained")
    grid = figure.subplots(len(found.charts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, chart in zip(grid, found.charts, strict=True):
        axis.set_title(chart.title, loc="left", fontsize=12, fontweight="bold")
        axis.spines[["top", "right"]].set_visible(False)
        match chart:
            case Bars():
                _bars(axis, chart)
            case Curves():
                _lines(axis, chart)
            case Spans():
                _spans(axis, chart)
    return figure


def _height(chart: Bars | Curves | Spans) -> float:
    match chart:
        case Bars(values=values):
            return 0.6 + 0.4 * len(values)
        case Curves():
            return 3.6
        case Spans(rows=rows):
            return 1.2 + 0.35 * len(rows)


def _bars(axis: Any, chart: Bars) -> None:
    most = max([*chart.values.values(), 0.0]) or 1.0
    axis.barh(range(len(chart.values)), chart.values.values(), color=COLOURS[0], height=0.7)
    for place, value in enumerate(chart.values.values()):
        axis.text(value + most * 0.01, place, format(value, chart.form), va="center", fontsize=9)
    axis.set_yticks(range(len(chart.values)), chart.values)
    axis.invert_yaxis()
    axis.set_xlim(0, most * 1.12)
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0)
    axis.spines["bottom"].set_visible(False)


def _lines(axis: Any, chart: Curves) -> None:
    for number, (name, points) in enumerate(chart.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        xs, ys = zip(*points, strict=True)
        faint = name in chart.faint
        marker, line = "" if faint or len(points) > FEW else "o", ":" if faint else "-"
        axis.plot(xs, ys, line, color=colour, marker=marker, markersize=4, label=name)
    axis.set_xlabel(chart.x)
    if chart.log:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(lambda value, _: f"{value:,.7g}")
        each.set_minor_locator(NullLocator())
    places = sorted({x for points in chart.lines.values() for x, _ in points})
    if len(places) <= FEW and all(x == float(f"{x:.3g}") for x in places):
        axis.set_xticks(places)  # those that were chosen, and not when it was looked
    if not chart.log:
        axis.set_ylim(bottom=0)
    if len(chart.lines) > 1:
        _legend(axis, chart.title, *axis.get_legend_handles_labels())


def _spans(axis: Any, chart: Spans) -> None:
    seen = (state for row in chart.rows.values() for state, *_ in row)
    states = chart.states or list(dict.fromkeys(seen))
    last = max(end for row in chart.rows.values() for *_, end in row)
    scale, unit = (1e3, "milliseconds") if last < 1 else (1.0, "seconds")
    for place, row in enumerate(chart.rows.values()):
        for state, start, end in row:
            colour = COLOURS[states.index(state) % len(COLOURS)]
            axis.barh(place, (end - start) * scale, left=start * scale, color=colour, height=0.7)
    axis.set_yticks(range(len(chart.rows)), chart.rows)
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.set_xlabel(unit)
    handles = [Patch(color=COLOURS[n % len(COLOURS)]) for n in range(len(states))]
    _legend(axis, chart.title, handles, states)


def _legend(axis: Any, title: str, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Between the title and what is drawn, where it hides nothing and all have the same width."""
    where = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0, "borderpad": 0.2}
    legend = axis.legend(handles, names, frameon=False, ncols=len(names), **where)
    legend.set_in_layout(False)  # its room is the title's distance
    axis.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=26)


def _page(found: NoteFindings, vectors: str) -> str:
    rows: list[tuple[str, Sequence[str]]] = [("th", found.headings)]
    rows += [("td", row) for row in found.rows]
    lines = (
        f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in row)}</tr>"
        for kind, row in rows
    )
    return PAGE.format(
        title=html.escape(found.title),
        style=PAGE_STYLE,
        chart=vectors[vectors.index("<svg") :],  # without the declaration of a document of its own
        table=f"<table>{''.join(lines)}</table>",
        claims=html.escape(joined(found.claims)),
        follows=html.escape(found.follows),
    )

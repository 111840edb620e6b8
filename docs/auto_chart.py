"""Draws docs/auto.png: where `--model auto` went, over what fixed settings did on the same work.

python docs/auto_chart.py [FILE]    FILE is what `make bench ARGS="auto-short --json FILE"` has
                                    written, or auto. What is drawn of it is kept in auto.json;
                                    without it, that is.
"""

import io
import json
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from math import ceil, log2
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

KEPT = Path(__file__).parent / "auto.json"
PICTURE = KEPT.with_suffix(".png")
DPI, COLOURS, COLUMNS = 100, 96, 3
GRID = re.compile(r"grid (\d+)x(\d+)")
PATH = re.compile(r"path (\d+)x(\d+) at ([\d.]+)")
KINDS = "auto", "auto-short"
ABOUT = "processor", "cores", "python", "commit", "load before"
COLOUR_MAP = colormaps["viridis"]
IDLE = 1.0  # of the load before: with more, a machine was busy with other things
PATH_COLOUR = "#D55E00"
BRIGHT = 0.6  # of the best: where dark words can be read

Setting = tuple[int, int]  # processes, slots of each


def main() -> None:
    """Draw."""
    if sys.argv[1:]:
        record = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        kept = json.dumps(reduced(record), ensure_ascii=False)
        KEPT.write_text(kept + "\n", encoding="utf-8")
    drawn = io.BytesIO()
    draw(json.loads(KEPT.read_text(encoding="utf-8"))).savefig(drawn, dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB")


def told(rate: float) -> str:
    """Jobs a second, as people read them."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def reduced(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is drawn of a run: of each case the grid, and each size of the path when it came."""
    cases, kind = {}, "auto"
    for sample in record["samples"]:
        grid, path = _grid(sample["figures"]), _path(sample["figures"])
        if sample["kind"] in KINDS and grid and sample["turn"] == 0:
            kind = sample["kind"]
            cases[sample["case"]] = {
                "auto": round(sample["figures"]["auto"], 1),
                "grid": [[*setting, round(rate, 1)] for setting, rate in grid.items()],
                "path": [[*setting, at] for setting, at in path],
                "stolen": round(sample["stolen"], 3),
            }
    about = {name: record["machine"][name] for name in ABOUT if name in record["machine"]}
    return {"machine": about, "kind": kind, "quick": record["quick"], "cases": cases}


def _grid(figures: Mapping[str, float]) -> dict[Setting, float]:
    found = ((GRID.fullmatch(name), rate) for name, rate in figures.items())
    return {(int(match[1]), int(match[2])): rate for match, rate in found if match}


def _path(figures: Mapping[str, float]) -> list[tuple[Setting, float]]:
    matches = (PATH.fullmatch(name) for name in figures)
    looks = sorted((float(match[3]), int(match[1]), int(match[2])) for match in matches if match)
    path: list[tuple[Setting, float]] = []
    for at, processes, slots in looks:
        if slots and (not path or path[-1][0] != (processes, slots)):
            path.append(((processes, slots), at))
    return path


def draw(kept: Mapping[str, Any]) -> Figure:
    """A panel for each case."""
    cases = kept["cases"]
    rows = ceil(len(cases) / COLUMNS)
    figure = Figure(figsize=(11, 2.5 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for panel, (name, case) in zip(panels, cases.items(), strict=False):
        _panel(panel, name, case)
    for panel in figure.axes[len(cases) :]:
        panel.set_visible(False)
    machine = kept["machine"]
    rough = ": NONE OF THIS COUNTS" if kept["quick"] else ""
    if not rough and float(machine["load before"]) > IDLE:
        rough = ", after something else had kept the machine busy"
    stolen = [case["stolen"] for case in cases.values()]
    figure.supxlabel(
        f"make bench ARGS={kept.get('kind', 'auto')}" + rough + "; "
        f"Python {machine['python']}, cores {machine['cores']}, commit {machine['commit']}; "
        f"load before {machine['load before']}; "
        f"other guests had {min(stolen):.0%} to {max(stolen):.0%} of the cores",
        fontsize=8,
        color="#777777",
    )
    return figure


def _panel(panel: Any, name: str, case: Mapping[str, Any]) -> None:
    best = max(rate for *_, rate in case["grid"])
    panel.set_title(
        f"{name}\nauto {told(case['auto'])} jobs/s, best fixed {told(best)}", fontsize=8, loc="left"
    )
    # Counts are apart by how many times they are, as that is what matters of them.
    places = [(log2(slots), log2(processes), rate) for processes, slots, rate in case["grid"]]
    width, height = (_cell({place[side] for place in places}) for side in (0, 1))
    for x, y, rate in places:
        corner = x - width / 2, y - height / 2
        panel.add_patch(Rectangle(corner, width, height, color=COLOUR_MAP(rate / best)))
        colour = "black" if rate / best > BRIGHT else "white"
        below = y - height * 0.3  # the path goes through the middle
        panel.text(x, below, f"{rate:,.0f}", ha="center", va="center", fontsize=6, color=colour)
    steps = [(log2(slots), log2(processes)) for processes, slots, _ in case["path"]]
    outlined = [withStroke(linewidth=3, foreground="white")]
    for before, after in pairwise(steps):
        arrow = {"arrowstyle": "->", "color": PATH_COLOUR, "linewidth": 1.4}
        panel.annotate("", after, before, arrowprops={**arrow, "path_effects": outlined})
    for place, marker, size in ((steps[0], "o", 5), (steps[-1], "*", 12)):
        panel.plot(*place, marker, color=PATH_COLOUR, markersize=size, markeredgecolor="white")
    settings = [(p, s) for p, s, _ in [*case["grid"], *case["path"]]]
    _count(panel.xaxis, panel.set_xlim, [slots for _, slots in settings], "slots of each")
    _count(panel.yaxis, panel.set_ylim, [processes for processes, _ in settings], "processes")


def _cell(places: set[float]) -> float:
    """As wide or as high as fits, with a gap."""
    return 0.95 * min([1.0, *(after - before for before, after in pairwise(sorted(places)))])


def _count(axis: Any, limit: Any, numbers: list[int], label: str) -> None:
    powers = range(int(log2(max(numbers))) + 1)
    axis.set_ticks(powers, [str(2**power) for power in powers], fontsize=7)
    axis.set_label_text(label, fontsize=7)
    limit(log2(min(numbers)) - 0.7, log2(max(numbers)) + 0.7)


if __name__ == "__main__":
    main()

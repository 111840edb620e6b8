"""Writes what a run has found into the pages that tell of it.

``python -m benchmarks.published`` renews the tables of README.md, of its twin and of
docs/benchmarks.md by `RUN`, which ``make bench ARGS="goals workloads --json …"`` has written.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.report import Sample
from benchmarks.systems import RQ_SIMPLE
from benchmarks.target import APART, Told

ROOT = Path(__file__).parents[1]
RUN = ROOT / "benchmarks/run.json"
BEGIN, END = "<!-- {}: written by benchmarks/published.py -->", "<!-- {} end -->"
FEW = ("heori", "ardiq", "mayu", "dramatiq", RQ_SIMPLE.name)  # of which the README tells
NAMES = {
    " + results": ", results kept",
    "heori threads 1×1": "heori threads 1×1, results kept",
    "ardiq": "ardiq (Rust)",
    "mayu": "mayu (Rust)",
}
KOREAN = {
    "| system | jobs/s | of rq |": "| 시스템 | 작업/초 | rq 대비 |",
    "heori threads": "heori 스레드",
    "results kept": "결과 보관",
}
NOT_MEASURED = ["", "Not measured in this run.", ""]
Run = Mapping[str, Any]


def pages(run: Run) -> dict[Path, str]:
    """The pages of which a part is written here, and what they should be."""
    parts: Mapping[str, Mapping[str, Callable[[Run], Sequence[str]]]] = {
        "README.md": {"drain": few_drains},
        "README.ko.md": {"drain": lambda run: [_put(line, KOREAN) for line in few_drains(run)]},
        "docs/benchmarks.md": {
            "drain": drains,
            "machine": machine,
            "kills": kills,
            "goals": goals,
            "workloads": workloads,
        },
    }
    written = {}
    for name, tables in parts.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for part, table in tables.items():
            text = replaced(text, part, table(run))
        written[ROOT / name] = text
    return written


def replaced(page: str, part: str, lines: Sequence[str]) -> str:
    """A page with this part of it written anew.

    Raises:
        ValueError: the page has no place for it.
    """
    begin, end = BEGIN.format(part), END.format(part)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"there is no {begin} with an {end}")
    return "\n".join([before + begin, *lines, end + after])


def few_drains(run: Run) -> list[str]:
    """How fast a few systems are, each at its best."""
    rates = {
        case: figures["rate"]
        for case, figures in run["medians"]["drain"].items()
        if not case.endswith(APART)
    }
    of = {system: [case for case in rates if case.startswith(system)] for system in FEW}
    best = [max(cases, key=rates.__getitem__) for cases in of.values() if cases]
    lines = ["| system | jobs/s | of rq |", "|---|---:|---:|"]
    for case in sorted(best, key=rates.__getitem__, reverse=True):
        bold = "**" if case.startswith("heori") else ""
        cells = (f"{rates[case]:,.0f}", f"{rates[case] / rates[RQ_SIMPLE.name]:,.1f} ×")
        lines.append(_row(_put(case, NAMES), *(f"{bold}{cell}{bold}" for cell in cells)))
    return lines


def drains(run: Run) -> list[str]:
    """The same of all that were measured, with what each job takes."""
    found = run["medians"]["drain"]
    rq = found[RQ_SIMPLE.name]["rate"]
    lines = [
        "",
        "| system | jobs/s | of rq | main process, µs | others | server | commands | round trips |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case, figures in sorted(found.items(), key=lambda each: -each[1]["rate"]):
        bold = "**" if case == "heori threads 1×1" else ""
        lines.append(
            _row(
                _put(case, NAMES),
                f"{bold}{figures['rate']:,.0f}{bold}",
                f"{bold}{figures['rate'] / rq:,.1f} ×{bold}",
                *(f"{figures[each]:,.0f}" for each in ("main_us", "others_us", "server_us")),
                f"{figures['commands']:.1f}",
                f"{figures['reads']:.3g}",
            )
        )
    return [*lines, ""]


def machine(run: Run) -> list[str]:
    """Where and with what it was measured."""
    about = run["machine"]
    samples = [Sample(**sample) for sample in run["samples"]]
    said = [
        f"{about['cores'].partition(',')[0]} cores ({about['processor']})",
        f"Python {about['python']}, {about['server']}, {about['date']}",
        f"medians of {run['turns']}",
        report.stolen(samples),
        about["libraries"],
    ]
    return ["", "; ".join(said) + ".", ""]


def goals(run: Run) -> list[str]:
    """What was to be reached, and whether it was."""
    lines = ["", "| | | goal | reached | | best peer |", "|---|---|---:|---:|---|---|"]
    for each in run["goals"]:
        told = Told(**each)
        lines.append(_row(told.kind, told.name, *told.cells()))
    return [*lines, ""]


def kills(run: Run) -> list[str]:
    """What becomes of jobs whose processes are killed."""
    found = run["medians"].get("redelivery by peers")
    if not found:
        return NOT_MEASURED
    lines = [
        "",
        "| killed | jobs in flight | not run in 100 s | run twice | again after, s |",
        "|---|---:|---:|---:|---:|",
    ]
    for case, figures in found.items():
        counts = (f"{figures[each]:.0f}" for each in ("in_flight", "lost", "twice"))
        late = f"{figures['seconds']:.1f}" if "seconds" in figures else ""
        lines.append(_row(_put(case, NAMES), *counts, late))
    return [*lines, ""]


def workloads(run: Run) -> list[str]:
    """What users run, each system at its best setting."""
    found = run["medians"].get("workloads")
    if not found:
        return NOT_MEASURED
    lines = ["", "| | jobs/s | CPU, µs a job | server, µs | MB |", "|---|---:|---:|---:|---:|"]
    for case, figures in found.items():
        cells = (figures[each] for each in ("rate", "client_us", "server_us", "memory"))
        bold = "**" if case.endswith(": heori") else ""
        lines.append(_row(case, *(f"{bold}{cell:,.0f}{bold}" for cell in cells)))
    return [*lines, "", "```text", *run["notes"]["workloads"].strip().splitlines(), "```", ""]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _put(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


def main() -> None:
    for page, text in pages(json.loads(RUN.read_text(encoding="utf-8"))).items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

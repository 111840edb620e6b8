"""The goals: what is measured for them, what is told of them, and what pages say."""

import json
import os
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import published
from benchmarks.goals import SELECTION
from benchmarks.target import Target, Told, best_peer
from benchmarks.targets import TARGETS, told
from tests.rigs.benchmarks import ENOUGH_S
from tests.rigs.zygote import Started


class Everything(dict[str, float]):
    """The figures of a case, whichever is asked for."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> float:
        return 1.0


def test_the_selection_measures_what_each_of_its_goals_is_about() -> None:
    results = {
        kind.name: {case.name: Everything() for case in kind.cases(False)} for kind in SELECTION
    }
    assert len(told(results)) > 35
    peers = {(target.kind, target.name): target.peer for target in TARGETS}
    for each in told(results):
        assert each.reached == 1, each
        assert (each.peer is None) == (peers[each.kind, each.name] is None), each


def test_the_best_peer_is_one_that_was_measured_in_the_same_way() -> None:
    results = {
        "drain": {
            "heori threads 1×1": {"rate": 9.0},
            "floor": {"rate": 10.0},
            "ardiq 1×16 + results": {"rate": 3.0},
            "mayu 2×1 + results": {"rate": 4.0},
            "ardiq 2×16 + results, 1 ms away": {"rate": 5.0},
        }
    }
    assert best_peer("drain", "rate")(results) == ("mayu 2×1 + results", 4.0)
    assert best_peer("drain", "rate", least=True)(results) == ("ardiq 1×16 + results", 3.0)
    assert best_peer("drain", "rate", end=", 1 ms away")(results)[1] == 5.0


@pytest.mark.parametrize(
    ("figure", "goal", "cells"),
    [
        (1.26, 1.0, ("≤ 1.0", "1.26 (1.38 ms)", "missed", "huey: 1.1 ms")),
        (0.9, 1.0, ("≤ 1.0", "0.9 (1.38 ms)", "met", "huey: 1.1 ms")),
        (34_482.7, None, ("", "34,483 (1.38 ms)", "stated", "huey: 1.1 ms")),
    ],
)
def test_what_has_become_of_a_goal_is_told(
    figure: float, goal: float | None, cells: tuple[str, ...]
) -> None:
    target = Target(
        "latency",
        "p50",
        goal,
        lambda results: results["latency"]["ratio"]["p50"],
        most=True,
        peer=lambda results: ("huey", results["latency"]["huey"]["p50"]),
        ours=lambda results: results["latency"]["heori"]["p50"],
        unit=" ms",
    )
    found = {"ratio": {"p50": figure}, "heori": {"p50": 1.38}, "huey": {"p50": 1.1}}
    assert target.told({"latency": found}).cells() == cells
    of_nothing = target.told({"latency": {}})
    assert (of_nothing.reached, of_nothing.met, of_nothing.theirs) == (None, None, None)
    assert of_nothing.cells()[1:] == ("", "not measured", "")


def test_a_run_that_is_ended_shows_and_writes_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    words = ("goals", "--quick", "--json", str(file), "--only", "enqueue: floor, a bare socket")
    with Started(
        # The last takes so long that it is not over before it is ended, however late that is.
        *("benchmarks", *words, "--only", "enqueue: heori", "--only", "redelivery by peers: heori"),
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        nested=True,
    ) as measuring:
        assert measuring.stderr is not None
        said = iter(measuring.stderr.readline, "")
        assert next(said).startswith("This takes about ")
        next(line for line in said if "enqueue: heori threads 1×1; about" in line)
        measuring.send_signal(signal.SIGTERM)
        out, _ = measuring.communicate(ENOUGH_S)
    assert measuring.returncode == 1
    assert "one by one, × a bare socket" in out
    run = json.loads(file.read_text())
    assert run["refused"] == ["everything else: interrupted"]
    sample, *others = run["samples"]
    assert len(others) < 2
    assert sample["figures"]["each"] > 0 < sample["seconds"]
    assert others or {each["met"] for each in run["goals"]} == {None}


def run_of(**drains: float) -> dict[str, Any]:
    names = {"heori": "heori threads 1×1", "ardiq": "ardiq 2×16 + results", "rq": "rq SimpleWorker"}
    figures = dict.fromkeys(("main_us", "others_us", "server_us", "commands", "reads"), 7.0)
    sample = {"kind": "drain", "case": "floor", "turn": 0, "figures": {}, "seconds": 1.0}
    return {
        "machine": {
            "processor": "AMD EPYC",
            "cores": "2, usable 2",
            "python": "3.13.0",
            "server": "Valkey 9.1.2, loopback",
            "date": "2026-11-29",
            "libraries": "rq 3.0.0",
        },
        "turns": 3,
        "samples": [{**sample, "stolen": 0.02}],
        "goals": [asdict(Told("io", "threads", 0.99, False, 1.01, True, None, "", None, None))],
        "medians": {
            "drain": {names[name]: figures | {"rate": rate} for name, rate in drains.items()}
        },
        "notes": {},
    }


def test_pages_tell_what_a_run_has_found() -> None:
    pages = published.pages(run_of(heori=20_000, rq=250, ardiq=10_000))
    found = {page.name: text for page, text in pages.items()}
    rows = "| **20,000** | **80.0 ×** |\n| ardiq (Rust) 2×16, {} | 10,000 | 40.0 × |\n"
    assert rows.format("results kept") in found["README.md"]
    assert rows.format("결과 보관") in found["README.ko.md"]
    benchmarks = found["benchmarks.md"]
    assert "| **20,000** | **80.0 ×** | 7 | 7 | 7 | 7.0 | 7 |" in benchmarks
    assert (
        "2 cores (AMD EPYC); Python 3.13.0, Valkey 9.1.2, loopback, 2026-11-29; medians of 3"
        in benchmarks
    )
    assert "2% of the cores" in benchmarks
    assert "| io | threads | ≥ 0.99 | 1.01 | met |  |" in benchmarks
    assert benchmarks.count("Not measured in this run.") == 2


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no <!-- drain: written"):
        published.replaced("A page.", "drain", [])


def test_pages_tell_what_the_run_that_is_kept_has_found() -> None:
    for page, text in published.pages(json.loads(published.RUN.read_text())).items():
        assert page.read_text() == text, f"{page.name} is old: run python -m benchmarks.published"

"""The benchmarks, at sizes that only show that they work."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import features, locks, tenants
from benchmarks.rig import ROOT, Refused, Rig
from benchmarks.sender import Order
from benchmarks.systems import heori
from tests.rigs.benchmarks import medians, run, started


def test_a_quick_drain_shows_its_figures_and_writes_every_turn(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    shown = run("drain", "--only", "heori processes 2×1", "--json", str(file))
    assert "heori processes 2×1" in shown
    assert "none of this counts" in shown
    written = json.loads(file.read_text())
    [sample] = written["samples"]
    assert sample["case"] == "heori processes 2×1"
    assert sample["figures"]["rate"] > 0
    assert sample["figures"]["repeats"] == 0
    assert 5 < sample["figures"]["commands"] < 15
    assert written["machine"]["python"]


def test_another_checkout_is_measured_in_turns_and_compared(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT, other, ignore=shutil.ignore_patterns(".*", "node_modules"))
    (other / ".venv-bench/bin").mkdir(parents=True)
    # Its interpreter says that it was used.
    python = other / ".venv-bench/bin/python"
    used = tmp_path / "used"
    python.write_text(f'#!/bin/sh\necho "$*" >> {used}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    shown = run("enqueue", "--only", "heori threads 1×1", "--beside", str(other))
    assert "heori threads 1×1, beside" in shown
    assert "here / beside" in shown
    assert used.read_text().splitlines() == ["-m benchmarks.sender heori"]


def test_a_folder_without_an_interpreter_is_refused(tmp_path: Path) -> None:
    code, _, err = started("enqueue", "--quick", "--beside", str(tmp_path), COLUMNS="200")
    assert code == 2
    assert "make .venv-bench/installed" in err


def test_a_quick_run_of_locks_shows_its_figures(tmp_path: Path) -> None:
    figures = medians(tmp_path / "figures.json", "locks", "heori", "floor")["locks"]
    assert figures["heori: alone"]["of_floor"] > 0
    contended = figures["heori: nothing inside"]
    assert 0 < contended["changes"] <= contended["rate"]
    assert 1.9 < contended["reads"] < 3
    assert figures["heori: 1,000 held"]["calls"] >= 10


def test_a_quick_run_of_tenants_shows_that_a_flood_keeps_no_other_waiting(tmp_path: Path) -> None:
    figures = medians(tmp_path / "figures.json", "tenants")["tenants"]
    alone, beside, without = (
        figures[name] for name in (tenants.ALONE, tenants.BESIDE, tenants.WITHOUT)
    )
    assert 50 < alone["wait"] < without["wait"]
    assert beside["wait"] < without["wait"]
    assert beside["left"] > 0


def test_a_quick_run_of_large_jobs_shows_what_they_do_to_others(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "heavy", "output limit")["heavy"].values()
    assert figures["done"] == 10
    assert figures["small"] > 0 < figures["block"]
    assert figures["before"] <= figures["peak"]


def test_a_quick_run_of_features_shows_what_they_cost(tmp_path: Path) -> None:
    only = ("on_success", features.PAIRS, features.RETRY)
    callback, pairs, retry = medians(tmp_path / "figures.json", "features", *only)[
        "features"
    ].values()
    assert callback["rate"] > 0
    assert callback["commands"] > 5
    assert pairs["pairs"] > 0
    assert retry["rate"] > 0


def test_a_quick_run_of_flows_shows_what_each_job_takes(tmp_path: Path) -> None:
    only = ("a fan-in of 300", "a chain of 20")
    for case in medians(tmp_path / "figures.json", "flows", *only)["flows"].values():
        assert 0 < case["run_ms"] < case["job_ms"]


def test_two_inside_a_lock_at_once_refuse_the_figure() -> None:
    with pytest.raises(Refused, match="two were inside at once"):
        locks._contend(2, 0.3, 0.001, locks.BARE)  # which excludes nobody


def test_a_figure_is_refused_when_not_every_job_was_run() -> None:
    with Rig(heori("threads", 1, 1)) as rig:
        rig.send(Order("each", "nothing", 3))
        with pytest.raises(Refused, match="0 of 3 jobs were run"):
            rig.verify(3)


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    code, _, err = started("drian")
    assert code == 2
    assert "drian" in err
    assert "redelivery" in err

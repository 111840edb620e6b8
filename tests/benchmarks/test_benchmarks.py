"""The benchmarks, at sizes that only show that they work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import locks, tenants
from benchmarks.rig import ROOT, Refused, Rig
from benchmarks.sender import Order
from benchmarks.systems import heori
from tests.rigs.benchmarks import medians, run


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
    words = ["enqueue", "--quick", "--beside", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert "make .venv-bench/installed" in done.stderr


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


def test_two_inside_a_lock_at_once_refuse_the_figure() -> None:
    with pytest.raises(Refused, match="two were inside at once"):
        locks._contend(0.3, 0.001, locks.BARE)  # which excludes nobody


def test_a_figure_is_refused_when_not_every_job_was_run() -> None:
    with Rig(heori("threads", 1, 1)) as rig:
        rig.send(Order("each", "nothing", 3))
        with pytest.raises(Refused, match="0 of 3 jobs were run"):
            rig.verify(3)


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "drian"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "drian" in done.stderr
    assert "redelivery" in done.stderr

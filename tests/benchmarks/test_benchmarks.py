"""The benchmarks, at sizes that only show that they work."""

import asyncio
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from redis import Redis

from benchmarks import (
    auto,
    auto_short,
    claims,
    drain,
    features,
    locks,
    memory,
    stored,
    tasks,
    tenants,
    work,
    workloads,
)
from benchmarks.rig import ROOT, Refused, Rig
from benchmarks.sender import Order
from benchmarks.systems import heori
from benchmarks.tasks import RECORD, TALLY
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
    assert sample["figures"]["commands"] > 5
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
    for _ in range(5):  # a machine may stand still for as long as is measured
        figures = medians(tmp_path / "figures.json", "locks", "heori", "floor")["locks"]
        contended = figures["heori: nothing inside"]
        if contended["changes"]:
            break
    assert figures["heori: alone"]["of_floor"] > 0
    assert 0 < contended["changes"] <= contended["rate"]
    assert contended["reads"] > 1.9
    assert figures["heori: 1,000 held"]["calls"] >= 10


def test_a_quick_run_of_tenants_tells_how_long_a_few_jobs_take(tmp_path: Path) -> None:
    figures = medians(tmp_path / "figures.json", "tenants")["tenants"]
    assert set(figures) == {tenants.ALONE, tenants.BESIDE, tenants.WITHOUT}
    for found in figures.values():  # a flood of this size may be over before the few are sent
        assert 50 <= found["wait"] <= found["most"]
        assert found["left"] >= 0


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


def test_a_quick_run_far_from_a_server_that_writes_to_disk(tmp_path: Path) -> None:
    ours = drain.OURS.name
    only = (ours + drain.ON_DISK, ours + drain.FAR)
    for case in medians(tmp_path / "figures.json", "drain", *only)["drain"].values():
        assert case["rate"] > 0 == case["repeats"]
        assert case["alone"] > 0


def test_what_a_relay_passes_on_comes_whole_and_later(redis_url: str, redis: "Redis") -> None:
    port = redis_url.rpartition(":")[2].partition("/")[0]
    words = [sys.executable, "-m", "benchmarks.relay", port, "0.01"]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as relay,
        Redis(port=int(relay.stdout.readline()), socket_timeout=None) as far,  # type: ignore[union-attr]
    ):
        for _ in range(3):
            began = time.perf_counter()
            far.ping()
            assert time.perf_counter() - began >= 0.02
        data = os.urandom(3_000_000)
        far.set("data", data)
        assert redis.get("data") == far.get("data") == data
        relay.communicate()  # which ends its standard input
    assert relay.returncode == 0


def test_a_kill_of_a_worker_loses_nothing_of_heori(tmp_path: Path) -> None:
    found = medians(tmp_path / "figures.json", "redelivery", "heori processes 2×1: a worker")
    [figures] = found["redelivery by peers"].values()
    assert (figures["in_flight"], figures["lost"], figures["twice"]) == (1, 0, 1)
    assert figures["needless"] == 0 < figures["seconds"]


def test_many_queues_and_thousands_of_waits_are_measured(tmp_path: Path) -> None:
    [many] = medians(tmp_path / "figures.json", "queues", "50 queues")["queues"].values()
    assert many["rate"] > 0 < many["commands"]
    [waits] = medians(tmp_path / "figures.json", "io", "thousands: heori")[
        "io of thousands"
    ].values()
    assert waits["of_ceiling"] > 0
    assert waits["memory"] > waits["workers_memory"] > 0


def test_the_best_setting_is_found_and_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    shown = run("workloads", "--only", "webhook: heori", "--json", str(file))
    [figures] = json.loads(file.read_text())["medians"]["workloads"].values()
    assert figures["rate"] > 0 == figures["repeats"]
    assert figures["memory"] > 5
    [tried] = [line for line in shown.splitlines() if line.startswith("webhook: heori: ")]
    assert tried.count("/s)") == 2


def test_what_users_run_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = tmp_path / "tally"
    tally.touch()
    monkeypatch.setenv(TALLY, str(tally))
    tasks._tally.cache_clear()
    monkeypatch.setattr(work, "SMTP", 0.0)
    assert work.mail(1) == asyncio.run(work.mail_async(1)) > 500
    with Image.open(io.BytesIO(work._photograph())) as photograph:
        assert photograph.size == work.PICTURE
    assert 1_000 < work.thumbnail(2) < len(work._photograph())
    assert work.import_json(3) == work.import_json(4) > 0
    with workloads.hook() as environment:
        monkeypatch.setenv(work.HOOK, environment[work.HOOK])
        assert work.webhook(5) == asyncio.run(work.webhook_async(6)) == 204
    assert tally.stat().st_size == 7 * RECORD.size


def test_a_quick_start_is_measured(tmp_path: Path) -> None:
    [figures] = medians(tmp_path / "figures.json", "start", "heori threads")["start"].values()
    assert figures["seconds"] > 0 < figures["cpu"]


def test_bytes_are_told_of_jobs_that_wait_and_of_those_that_have_ended(tmp_path: Path) -> None:
    only = stored.bytes_case(stored.OURS, stored.LETTER) + stored.THEIR_OWN
    [figures] = medians(tmp_path / "figures.json", "bytes", only)["bytes"].values()
    assert stored.LETTER_BYTES < figures["waiting"] < figures["used"]


def test_a_process_that_sends_is_measured(tmp_path: Path) -> None:
    name = memory.producer_case(heori("threads", 1, 1))
    [figures] = medians(tmp_path / "figures.json", "memory", name)["memory"].values()
    assert figures["total"] > 5


def test_the_longest_queue_is_as_long_as_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "AT_ONCE", 100)
    monkeypatch.setattr(claims, "_room", lambda _: 200_000)
    figures = claims.claims(100_000, 2)
    assert 100 <= figures["jobs"] < 1_000
    assert figures["ratio_64"] > 0


def test_two_inside_a_lock_at_once_refuse_the_figure() -> None:
    with pytest.raises(Refused, match="two were inside at once"):
        locks._contend(2, 0.3, 0.001, locks.BARE)  # which excludes nobody


def test_a_figure_is_refused_when_not_every_job_was_run() -> None:
    with Rig(heori("threads", 1, 1)) as rig:
        rig.send(Order("each", "nothing", 3))
        with pytest.raises(Refused, match="0 of 3 jobs were run"):
            rig.verify(3)


def test_what_auto_finds_is_measured_beside_fixed_settings(tmp_path: Path) -> None:
    found = medians(tmp_path / "figures.json", "auto", auto.SERVED_CASE, auto.CHANGES)["auto"]
    figures, changes = found[auto.SERVED_CASE], found[auto.CHANGES]
    grid = {name: rate for name, rate in figures.items() if name.startswith("grid ")}
    assert set(grid) == {"grid 1x8", "grid 1x32"}
    best = f"grid {figures['best_processes']:.0f}x{figures['best_slots']:.0f}"
    assert grid[best] == max(grid.values())
    assert figures["best"] > 0 < figures["auto"]
    assert figures["of_best"] == figures["auto"] / figures["best"]
    assert figures["of_default"] == figures["auto"] / figures["default"] > 0
    path = sorted((at, name.split()[1]) for name, at in figures.items() if name[:5] == "path ")
    assert path[-1][0] > 2, "it is followed until it has been measured"
    assert path[-1][1] == f"{figures['processes']:.0f}x{figures['slots']:.0f}"
    assert figures["memory"] > 20
    assert changes["of_best"] == changes["auto"] / changes["best"] > 0
    chart = runpy.run_path(str(ROOT / "docs/auto_chart.py"))
    kept = chart["reduced"](json.loads((tmp_path / "figures.json").read_text()))
    [(name, case)] = kept["cases"].items()
    assert name == auto.SERVED_CASE, "the change has no grid"
    assert case["path"][-1][:2] == [figures["processes"], figures["slots"]]
    [panel] = [each for each in chart["draw"](kept).axes if each.get_visible()]
    assert len(panel.patches) == len(grid)


def test_the_short_form_of_auto_leaves_out_no_case_and_only_settings() -> None:
    works = {work.name: work.settings for work in auto.works(quick=True)}
    assert auto_short.FEW.keys() == works.keys()
    for name, few in auto_short.FEW.items():
        assert auto.DEFAULT in few or name.startswith("async")
        assert set(few) < set(works[name])
    names = [
        [case.name for case in kind.cases(True)]
        for kind in (auto.AUTO_FINDS, auto_short.AUTO_SHORT)
    ]
    assert names[0] == names[1]


def test_jobs_that_wait_are_timed_beside_jobs_that_compute(tmp_path: Path) -> None:
    found = medians(tmp_path / "figures.json", "auto", "fixed 1×8")["auto apart"]["fixed 1×8"]
    assert found["kept"] == 0, "it is no pool of auto"
    assert 50 <= found["waiting_p50"] <= found["waiting_p99"]
    assert 0 < found["waiting"] < found["rate"]
    assert found["computing_p50"] > 20


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    code, _, err = started("drian")
    assert code == 2
    assert "drian" in err
    assert "redelivery" in err

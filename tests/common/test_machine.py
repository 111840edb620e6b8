"""What the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heori_common.platform import cgroups, oom_counter, oom_kills, usable_cores
from tests.rigs.cgroups import part_of_a_core

ROOT = Path(__file__).parents[2]


V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


@pytest.mark.parametrize(
    ("files", "affinity", "cores"),
    [
        ({}, 8, 8.0),
        ({"cpu.max": "max 100000"}, 8, 8.0),
        ({"cpu.max": "200000 100000\n"}, 8, 2.0),
        ({"cpu.max": "50000 100000"}, 8, 0.5),
        ({"cpu.max": "6400000 100000"}, 8, 8.0),
        ({"cpu.max": "400000 100000"}, 3, 3.0),
        ({"cpu.max": "garbage"}, 8, 8.0),
        ({"cpu.max": ""}, 8, 8.0),
        ({"cpu.max": "100000"}, 8, 8.0),
        ({"cpu.max": "100000 0"}, 8, 8.0),
        ({V1[0]: "150000\n", V1[1]: "100000\n"}, 8, 1.5),
        ({V1[0]: "-1", V1[1]: "100000"}, 8, 8.0),
        ({V1[0]: "100000"}, 8, 8.0),
        ({"cpu.max": "max 100000", V1[0]: "300000", V1[1]: "100000"}, 8, 3.0),
        ({"cpu.max": "max 100000"}, 1, 1.0),
    ],
)
def test_the_cores_are_what_affinity_and_cgroup_leave(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    affinity: int,
    cores: float,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores("", tmp_path) == cores


MAX = "max 100000"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": MAX}, 1.5),
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "200000 100000"}, 1.5),
        ("0::/a/b\n", {"cpu.max": "100000 100000", "a/b/cpu.max": "200000 100000"}, 1.0),
        ("0::/a\n", {"a/b/cpu.max": "50000 100000", "other/cpu.max": "50000 100000"}, 8.0),
        ("0::/seen/outside\n", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/../..\n", {"cpu.max": "300000 100000"}, 3.0),
        ("4:cpu,cpuacct:/a\n0::/\n", {f"cpu/a/{name[4:]}": "150000" for name in V1}, 1.0),
        (
            "9:memory:/m\n4:cpuacct,cpu:/a/b\n0::/\n",
            {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        ("3:cpuset:/a\n", {"cpu/a/cpu.cfs_quota_us": "1", "cpu/a/cpu.cfs_period_us": "1"}, 8.0),
    ],
)
def test_the_quotas_of_the_cgroup_itself_and_of_those_around_it_count(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    cores: float,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores(groups, tmp_path) == cores


def test_a_process_in_a_cgroup_has_the_part_of_a_core_that_it_leaves() -> None:
    code = (
        "import sys; sys.stdin.readline(); "
        "from heori_common.platform import usable_cores; print(usable_cores())"
    )
    with part_of_a_core(40) as processes:
        inside = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.write_text(str(inside.pid))
        told, _ = inside.communicate("\n")
    assert told == "0.4\n"


def test_a_system_without_affinity_counts_all_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores("", tmp_path) == 6.0
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores("", tmp_path) == 1.0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_core_has_at_most_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from heori_common.platform import usable_cores; print(usable_cores())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 0 < float(ran.stdout) <= 1.0


V1_GROUPS = "4:memory:/jobs/one\n3:cpuset:/\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        (
            "0::/jobs/one\n",
            "jobs/one/memory.events",
            "oom 3\noom_kill 2\noom_group_kill 7\n",
        ),
        ("0::/as/seen/outside\n", "memory.events", "oom_kill 2\n"),
        (V1_GROUPS, "memory/jobs/one/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        (V1_GROUPS, "memory/memory.oom_control", "oom_kill 2"),
    ],
)
def test_a_cgroup_tells_how_many_the_kernel_killed_for_memory(
    tmp_path: Path, groups: str, file: str, text: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    counter = oom_counter(groups, tmp_path)
    assert counter == tmp_path / file
    assert oom_kills(counter) == 2
    counter.unlink()
    assert oom_kills(counter) == 0
    assert oom_counter(groups, tmp_path) is None


def test_a_process_without_cgroups_has_no_such_counter() -> None:
    assert oom_counter(cgroups(-1)) is None

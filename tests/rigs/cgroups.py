"""Cgroups with little memory, or a part of a core."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from heori_common.platform import CGROUP
from tests.rigs.waiting import until


def little_memory(megabytes: int) -> contextlib.AbstractContextManager[Path]:
    """One for a worker that is to be killed by the kernel."""
    size = str(megabytes << 20)
    return _cgroup("memory", {"memory.limit_in_bytes": size}, {"memory.max": size})


@contextlib.contextmanager
def part_of_a_core(milliseconds: int) -> Iterator[Path]:
    """One with so much time of each 100 ms, and within it one without a limit of its own."""
    quota = str(milliseconds * 1000)
    limits = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": quota}
    with _cgroup("cpu", limits, {"cpu.max": f"{quota} 100000"}) as processes:
        inner = processes.parent / "inner"
        inner.mkdir()
        try:
            yield inner / "cgroup.procs"
        finally:
            _remove(inner)


@contextlib.contextmanager
def _cgroup(controller: str, first: dict[str, str], second: dict[str, str]) -> Iterator[Path]:
    """Make a cgroup; skips the test where that is not allowed. It ends what is left in it.

    Args:
        first, second: its limits, by the version of the cgroups that there are here.

    Yields:
        the file that takes the ids of processes which are to be in it.
    """
    one = (CGROUP / controller).is_dir()  # cgroup v1
    folder = (CGROUP / controller if one else CGROUP) / f"heori-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        for name, limit in (first if one else second).items():
            if not (folder / name).exists():
                pytest.skip(f"the cgroups here do not limit {controller}")
            (folder / name).write_text(limit)
        yield folder / "cgroup.procs"
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a cgroup, and end what is left in it."""
    for pid in (folder / "cgroup.procs").read_text().split():
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).kill()
    until(lambda: not (folder / "cgroup.procs").read_text())
    os.rmdir(folder)  # noqa: PTH106 - its files go with it

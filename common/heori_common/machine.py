"""What this machine, or this container, really has."""

import os
from pathlib import Path

import psutil


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Cores this process may use: its CPU affinity, cut by its cgroup's quota.

    ``os.cpu_count()`` knows neither, so a container limited to one core of 64 would start
    64 workers. Reads cgroup v2's ``cpu.max`` and v1's ``cpu.cfs_*_us`` (Linux kernel
    documentation, "Control Group v2" and "CFS Bandwidth Control").
    """
    cores = float(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = map(int, " ".join((cgroup / f).read_text() for f in files).split())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            cores = min(cores, quota / period)
    return cores


class Steal:
    """What other guests of a virtual machine take, from when this was made on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def share(self) -> float:
        """Of the time of all cores; 0 where the system does not tell (psutil, ``steal``)."""
        now = psutil.cpu_times()
        spent = sum(now) - sum(self._before)
        stolen = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return stolen / spent if spent > 0 else 0.0

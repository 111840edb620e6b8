"""What this machine, or this container, really has."""

import os
from pathlib import Path


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

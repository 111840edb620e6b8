"""A share of the cores: ``python -m benchmarks.quota FOLDER WORDS…`` runs Python within a cgroup.

Of cgroup v2 the quota is ``cpu.max``, of v1 ``cpu.cfs_quota_us`` (Linux kernel documentation,
"Control Group v2" and "CFS Bandwidth Control").
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PERIOD_US = 100_000
ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))  # of v1, and of v2


def missing() -> str | None:
    """Why no quota can be set here, if none can."""
    try:
        with limited(1.0):
            return None
    except OSError as error:
        return f"no cgroup can be made here ({error.strerror})"


@contextlib.contextmanager
def limited(cores: float) -> Iterator[Path]:
    """A cgroup with a quota, as long as that lasts; its processes must have ended by then.

    Raises:
        OSError: this user or this system does not let it.
    """
    root = next((each for each in ROOTS if (each / "cgroup.procs").exists()), ROOTS[-1])
    folder = Path(tempfile.mkdtemp(prefix="heori-bench-", dir=root))
    try:
        quota = int(cores * PERIOD_US)
        if (folder / "cpu.cfs_quota_us").exists():
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (folder / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        yield folder
    finally:
        folder.rmdir()


def within(folder: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """What runs Python with these words within a cgroup."""
    return ("-m", "benchmarks.quota", str(folder), *words)


if __name__ == "__main__":
    (Path(sys.argv[1]) / "cgroup.procs").write_text(str(os.getpid()))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])

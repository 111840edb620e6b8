"""A cgroup with little memory, for a worker that is to be killed by the kernel."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from heori_common.platform import CGROUP
from tests.rigs.waiting import until


@contextlib.contextmanager
def little_memory(megabytes: int) -> Iterator[Path]:
    """Make a cgroup; skips the test where that is not allowed. It ends what is left in it.

    Yields:
        the file that takes the ids of processes which are to be in it.
    """
    one = (CGROUP / "memory").is_dir()  # cgroup v1
    folder = (CGROUP / "memory" if one else CGROUP) / f"heori-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        limit = folder / ("memory.limit_in_bytes" if one else "memory.max")
        if not limit.exists():
            pytest.skip("the cgroups here do not limit memory")
        limit.write_text(str(megabytes << 20))
        yield folder / "cgroup.procs"
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(pid)).kill()
        until(lambda: not (folder / "cgroup.procs").read_text())
        os.rmdir(folder)  # noqa: PTH106 - its files go with it

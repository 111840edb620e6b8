"""What a consumer takes of a machine: its processes share what they have in common."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from heori_common.platform import TELLS_OF_THREADS, below
from tests.rigs.consumers import Consumer

pytestmark = pytest.mark.skipif(
    not TELLS_OF_THREADS, reason="the system tells nothing of threads and memory"
)

# An interpreter that has imported what a consumer needs has written 30 MB and more. One that was
# started, and not forked, shares nothing of that with the process that has started it.
SHARED_KB = 8_000


def shared_kb(process: psutil.Process) -> int:
    """What a process has written, or the one that it is a fork of, and shares with others."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    [found] = [line.split()[1] for line in rollup if line.startswith("Shared_Dirty:")]
    return int(found)


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_all_processes_of_a_consumer_share_what_they_have_imported(
    model: str, consume: Callable[..., Consumer]
) -> None:
    consumer = consume("--model", model, "--processes", "1", fresh=True).ready()
    family = [psutil.Process(consumer.process.pid), *consumer.family]
    assert len(family) == 3
    assert min(map(shared_kb, family)) > SHARED_KB
    assert consumer.stop() == 0


def files(pid: int) -> set[Path]:
    """What a process has open."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found.add(each.readlink())
    return found


def test_what_whoever_started_a_consumer_has_open_does_not_reach_its_workers(
    redis_url: str, redis: Any
) -> None:
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "HEORI_TASKS": "tests.tasks.sample_tasks",
        "HEORI_METRICS_PORT": "0",
    }
    reading, writing = os.pipe()
    pipe = Path(f"/proc/self/fd/{writing}").readlink()

    def have_it(pids: list[int]) -> list[int]:
        return [pid for pid in pids if pipe in files(pid)]

    with (
        os.fdopen(reading),
        os.fdopen(writing),
        subprocess.Popen(
            [sys.executable, "-m", "heori", "consume"],
            env=environment,
            pass_fds=[writing],
            stderr=subprocess.PIPE,
            text=True,
        ) as consumer,
    ):
        assert consumer.stderr is not None
        try:
            assert any("consuming" in line for line in consumer.stderr)
            assert have_it([consumer.pid]) == [consumer.pid]
            assert len(below(consumer.pid)) == 2
            assert have_it(below(consumer.pid)) == []
        finally:
            consumer.terminate()
            consumer.stderr.read()
        assert consumer.wait(60) == 0

"""Where the system is not Linux: what only Linux has is hidden, and jobs and locks work as ever."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAC = Path(__file__).parent / "mac"
CONFORMANCE = ("tests/consumer/test_models.py", "tests/locks/test_locks.py")
# By these names, Linux's own things are reached.
LINUX_ONLY = re.compile(r"/proc\b|/sys/|prctl|memfd|sched_(get|set)|epoll|eventfd|pidfd|SEQPACKET")


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a Python, and of all that it starts, that has not what a Mac has not."""
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(MAC), *filter(None, more)])
    return {**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""}


def test_linux_is_reached_through_one_module() -> None:
    using = {
        str(path.relative_to(ROOT))
        for package in ("common", "consumer", "heori", "producer")
        for path in (ROOT / package).rglob("*.py")
        if LINUX_ONLY.search(path.read_text(encoding="utf-8"))
    }
    assert using == {"common/heori_common/platform.py"}


def test_what_a_mac_has_not_is_told_as_missing(environment: dict[str, str]) -> None:
    program = """
import json, multiprocessing.connection, os, selectors, tempfile
from heori_common import platform
from heori_consumer.gil.inside import find_gil

cores = platform.usable_cores() == os.cpu_count()
print(json.dumps({
    "all cores": cores,
    "threads": platform.TELLS_OF_THREADS,
    "peak": platform.peak_memory(os.getpid()),
    "own peak": platform.own_peak_memory() > 0,
    "end with": platform.end_with(os.getpid()),
    "gil": find_gil(),
    "selector": selectors.DefaultSelector.__name__,
    "abstract": multiprocessing.connection.arbitrary_address("AF_UNIX").startswith("\\0"),
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {
        "all cores": True,
        "threads": False,
        "peak": 0,
        "own peak": True,
        "end with": None,
        "gil": None,
        "selector": "PollSelector",
        "abstract": False,
    }


@pytest.mark.skipif("HEORI_TEST_MAC" not in os.environ, reason="`make test-mac` runs these")
@pytest.mark.parametrize("suite", CONFORMANCE)
def test_jobs_and_locks_work_without_what_only_linux_has(
    environment: dict[str, str], suite: str
) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", suite]
    done = subprocess.run(
        [*words, "--timeout", "150"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"\b[1-9]\d* passed", done.stdout)

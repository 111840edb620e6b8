"""rq 3.0.0's own test suite with Heori's worker classes in place of rq's.

`make test-rq-suite` runs it: two minutes. It downloads rq's source, as only that has the tests.
"""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rq.version import VERSION

from heori_common.embedded import EmbeddedValkey

WANTED = "HEORI_TEST_RQ_SUITE" in os.environ
RELEASE = "3.0.0"
HERE = Path(__file__).parent
EXCEPTIONS = tomllib.loads((HERE / "suite_exceptions.toml").read_text(encoding="utf-8"))
FILES = (
    "callbacks", "cli", "commands", "connection", "cron", "cron_job", "cron_job_registry",
    "cron_scheduler_registry", "decorator", "dependencies", "executions", "fixtures", "group",
    "helpers", "intermediate_queue", "job", "job_dependency", "job_lifecycle", "key_prefix",
    "queue", "queue_unique", "rate_limit", "registry", "repeat", "results", "retry", "scheduler",
    "scripts", "serializers", "spawn_worker", "timeouts", "utils", "webhooks", "worker",
    "worker_pool", "worker_registration",
)  # fmt: skip
LONGEST_S = 1800  # for one file, where a test hangs

pytestmark = [
    pytest.mark.skipif(not WANTED, reason="`make test-rq-suite` runs rq's own tests"),
    pytest.mark.skipif(VERSION != RELEASE, reason=f"these are the tests of rq {RELEASE}"),
    pytest.mark.timeout(LONGEST_S),
]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rq's tests, without the rq beside them: the installed one is to be tested."""
    folder = tmp_path_factory.mktemp("rq")
    words = ["download", "--quiet", "--no-deps", "--no-binary", "rq", f"rq=={RELEASE}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"rq's source cannot be downloaded: {done.stderr.strip()[-500:]}")
    [archive] = folder.glob("rq-*.tar.gz")
    with tarfile.open(archive) as packed:
        members = [each for each in packed if each.name.split("/")[1] == "tests"]
        packed.extractall(folder, members, filter="data")
    return folder / f"rq-{RELEASE}"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server of the suite's own: it looks for databases that are empty."""
    with EmbeddedValkey() as server:
        found = urlsplit(server.url).port
        assert found is not None
        yield found


@pytest.fixture(scope="module")
def ways() -> Counter[str]:
    """In which ways the calls of `work` were done."""
    return Counter()


def test_all_files_of_the_suite_are_run(suite: Path) -> None:
    assert {path.stem.removeprefix("test_") for path in suite.glob("tests/test_*.py")} == {*FILES}


@pytest.mark.parametrize("file", FILES)
def test_rq_itself(file: str, suite: Path, port: int, ways: Counter[str], tmp_path: Path) -> None:
    told = _run(f"tests/test_{file}.py", suite, port, tmp_path / "report.json")
    ways.update(told["ways"])
    failed = {_name(test) for test, outcome in told["outcomes"].items() if outcome == "failed"}
    assert told["outcomes"]
    excepted = {name for name in EXCEPTIONS["fails"] if name.startswith(f"test_{file}.py::")}
    assert failed - EXCEPTIONS["depends_on_time"].keys() == excepted


def test_in_which_ways_it_was_done(ways: Counter[str], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for way, calls in ways.most_common():
            print(f"\n{calls} calls of work() ran on {way}", end="")
    assert ways.total() > 0


def test_each_exception_has_a_reason() -> None:
    reasons = {**EXCEPTIONS["fails"], **EXCEPTIONS["depends_on_time"]}
    assert [name for name, reason in reasons.items() if len(reason.split()) < 5] == []


def _run(test: str, suite: Path, port: int, report: Path) -> dict[str, Any]:
    path = [str(HERE / "suite"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "heori_workers",
            test,
        ],
        cwd=suite,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(path),
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "RQ_SUITE_PORT": str(port),
            "RQ_SUITE_REPORT": str(report),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return told


def _name(test: str) -> str:
    return test.removeprefix("tests/")

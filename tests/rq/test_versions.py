"""What the tests in this folder say of rq 3.0 holds with older ones, too.

`make test-rq-versions` runs it: some minutes. It downloads them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rigs.rq_versions import VERSIONS, environment_with

WANTED = "HEORI_TEST_RQ_VERSIONS"
HERE = Path(__file__).parent
APART = {"test_versions", "test_suite"}  # this, and the tests of one version
FILES = sorted(path.stem for path in HERE.glob("test_*.py") if path.stem not in APART)
LONGEST_S = 1200  # for one file, where a test hangs
# What rq 2 leaves lying: event loops, and callbacks that are coroutines.
WARNINGS = (
    "ignore::ResourceWarning",
    "ignore::RuntimeWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

pytestmark = [
    pytest.mark.skipif(WANTED not in os.environ, reason="`make test-rq-versions` runs them"),
    pytest.mark.timeout(LONGEST_S),
]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("versions")


@pytest.mark.parametrize("version", VERSIONS)
def test_this_version_is_what_is_tested(version: str, parent: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from tests.rigs.stock_rq import VERSION; print(VERSION)"],
        env=environment_with(version, parent),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.strip() == str(tuple(map(int, version.split(".")[:2])))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES)
def test_with(version: str, file: str, parent: Path) -> None:
    environment = environment_with(version, parent)
    del environment[WANTED]
    words = ["-q", "-p", "no:cacheprovider", *(f"-W{each}" for each in WARNINGS)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(HERE / f"{file}.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # 5: there is nothing in it that this version has
    assert done.returncode in (0, 5), done.stdout[-10_000:] + done.stderr[-2000:]

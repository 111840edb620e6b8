"""Heori's worker classes where Django and Sentry have rq's.

`make test-rq-suite` runs it, too. It downloads django-rq and sentry-sdk.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heori.rq.worker import ENGINE_RQ
from tests.rigs.frameworks import PAGES

WANTED = "HEORI_TEST_RQ_SUITE" in os.environ
PACKAGES = ("django-rq==4.2.0", "django>=5", "sqlparse", "asgiref", "sentry-sdk==2.75.0", "urllib3",
            "certifi", "croniter", "python-dateutil", "six")  # fmt: skip
EVENTS = [
    ["transaction", "tests.tasks.horse_tasks.add", []],
    ["event", "tests.tasks.horse_tasks.fail", ["ValueError"]],
    ["transaction", "tests.tasks.horse_tasks.fail", []],
]

pytestmark = pytest.mark.skipif(not WANTED, reason="`make test-rq-suite` runs these")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with them, without the rq and the redis that they would bring."""
    folder = tmp_path_factory.mktemp("packages")
    words = ["install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"they cannot be downloaded: {done.stderr.strip()[-500:]}")
    return folder


def run(name: str, redis_url: str, packages: Path) -> dict[str, Any]:
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(packages)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.rigs.frameworks", name, redis_url],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return seen


def test_djangos_rqworker_and_its_pages(redis_url: str, packages: Path) -> None:
    seen = run("django", redis_url, packages)
    assert seen["class"] == "heori.rq.worker.Worker"
    assert seen["jobs"] == [["finished", 1], ["failed", None]]
    assert seen["pages"] == dict.fromkeys(PAGES, 200)


def test_sentry_sees_what_it_sees_with_rqs_workers(redis_url: str, packages: Path) -> None:
    seen = run("sentry", redis_url, packages)
    for kind in ("Worker", "SimpleWorker"):
        assert seen[kind]["way"] == ENGINE_RQ
        assert seen[kind]["jobs"] == ["finished", "failed"]
        assert seen[kind]["events"] == EVENTS

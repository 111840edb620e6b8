"""What mypy and pyright say of an application against the installed wheel.

With HEORI_LONG=1 pyright reads the editable installation, too. By default mypy alone does: both
follow its .pth file to the same sources, and each run of pyright takes seven seconds of CPU.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

APPLICATION = Path(__file__).parent / "application" / "typed.py"
PYRIGHT = Path(__file__).parent / "pyright" / "node_modules" / ".bin" / "pyright"


def expected() -> dict[int, str]:
    """What a checker is to say, by line."""
    lines = APPLICATION.read_text(encoding="utf-8").splitlines()
    said = ((number, line.partition("  # ")[2]) for number, line in enumerate(lines, 1))
    return {number: what for number, what in said if what}


def plain(revealed: str) -> str:
    """A type without the modules of its parts."""
    return re.sub(r"\b[a-z_]+\.", "", revealed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application's folder outside of this repository."""
    shutil.copy(APPLICATION, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of the libraries, which are the same in both environments."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("install", ["wheel", "editable"])
def test_mypy_knows_what_jobs_return(
    folder: Path, install: str, cache: Path, request: pytest.FixtureRequest
) -> None:
    interpreter = request.getfixturevalue("python") if install == "wheel" else sys.executable
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(interpreter),
         "--output", "json", "--cache-dir", str(cache), APPLICATION.name],
        cwd=folder, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    said = {}
    for line in done.stdout.splitlines():
        found = json.loads(line)
        revealed = re.fullmatch('Revealed type is "(.*)"', found["message"])
        said[found["line"]] = plain(revealed[1]) if revealed else found["severity"]
    assert said == expected(), done.stdout + done.stderr


@pytest.mark.skipif(not PYRIGHT.exists(), reason="pyright is not installed: make test needs npm")
@pytest.mark.parametrize("install", ["wheel", *["editable"] * ("HEORI_LONG" in os.environ)])
def test_pyright_knows_what_jobs_return(
    folder: Path, install: str, request: pytest.FixtureRequest
) -> None:
    interpreter = request.getfixturevalue("python") if install == "wheel" else sys.executable
    done = subprocess.run(
        [PYRIGHT, "--outputjson", "--pythonpath", str(interpreter), APPLICATION.name],
        cwd=folder, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    said = {}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        revealed = re.fullmatch('Type of ".*" is "(.*)"', found["message"])
        said[found["range"]["start"]["line"] + 1] = revealed[1] if revealed else found["severity"]
    assert said == expected(), done.stdout

"""The wheel as it is built from here, and an environment that has nothing else of this folder."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.rigs.wheel import ROOT, build


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install heori` gets."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with that wheel.

    Its dependencies are those of this environment: a .pth file names their folder, in which
    Python looks for no further .pth files, so that the editable install is not seen.
    """
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    made = home / "bin" / "python"
    names = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", "venv", names))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(made), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=120)
    return made

"""Other versions of rq, beside Heori as it is: each in a folder that comes first in the path."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

# Both are served, as `rq>=2,<4` says: what most have, and the last before 3.
VERSIONS = ("2.6.1", "2.12.0")


@cache
def folder_of(version: str, parent: Path) -> Path:
    """A folder with that rq alone; skips the test, with a word, where it cannot be had."""
    folder = parent / f"rq-{version}"
    words = ["install", "--quiet", "--no-deps", "--target", str(folder), f"rq=={version}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"rq {version} cannot be downloaded: {done.stderr.strip()[-500:]}")
    return folder


def environment_with(version: str, parent: Path) -> dict[str, str]:
    """The environment of a program that is to import that rq."""
    path = [str(folder_of(version, parent)), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

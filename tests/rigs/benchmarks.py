"""Runs the benchmarks at sizes that only show that they work."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ENOUGH_S = 110


def run(*words: str) -> str:
    """Run them so; returns what they print."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--quick"],
        capture_output=True,
        text=True,
        timeout=ENOUGH_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def medians(file: Path, kind: str, *only: str) -> dict[str, Any]:
    """Run those cases, and have it all written there; returns the medians by kind."""
    run(kind, "--json", str(file), *(word for case in only for word in ("--only", case)))
    found: dict[str, Any] = json.loads(file.read_text())["medians"]
    return found

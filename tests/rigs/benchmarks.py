"""Runs the benchmarks at sizes that only show that they work."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.rigs.zygote import Started

ENOUGH_S = 270


def started(*words: str, **environment: str) -> tuple[int | None, str, str]:
    """Run them to their end; returns the exit code, and what they write to output and error."""
    with Started(
        *("benchmarks", *words),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        nested=True,
    ) as measuring:
        out, err = measuring.communicate(ENOUGH_S)
    return measuring.returncode, out, err


def run(*words: str) -> str:
    """Run them so; returns what they print."""
    code, out, err = started(*words, "--quick")
    assert code == 0, err
    return out


def medians(file: Path, kind: str, *only: str) -> dict[str, Any]:
    """Run those cases, and have it all written there; returns the medians by kind."""
    run(kind, "--json", str(file), *(word for case in only for word in ("--only", case)))
    found: dict[str, Any] = json.loads(file.read_text())["medians"]
    return found

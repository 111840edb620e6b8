"""Building what is published."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(source: Path, kind: str, into: Path) -> Path:
    """Build a wheel or an sdist."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    subprocess.run(words, cwd=source, check=True, capture_output=True, timeout=120)
    [built] = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built

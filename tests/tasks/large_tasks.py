"""Tasks with large arguments and results."""

import time
from pathlib import Path

from heori import task


@task(timeout=120)
def echo(text: str) -> str:
    """Both."""
    return text


@task(timeout=120)
def make_when(path: str, size: int) -> str:
    """Return so many bytes, once there is a file."""
    while not Path(path).exists():
        time.sleep(0.02)
    return "x" * size

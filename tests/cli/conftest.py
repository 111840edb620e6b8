"""A laboratory to start."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rigs.lab import Lab
from tests.rigs.zygote import Started


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a run keeps its temporary files. A short path, as sockets may be among them."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def lab(folder: Path) -> Iterator[Callable[..., Lab]]:
    """Start `heori lab`."""
    started: list[Lab] = []

    def start(*arguments: str, program: str = "heori", nested: bool = False) -> Lab:
        process = Started(
            *(program, "lab", *arguments),
            # Settings that must not reach its processes.
            env={
                **os.environ,
                "TMPDIR": str(folder),
                "HEORI_DEADLOCK": "off",
                "RQ_KEY_PREFIX": "other",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            nested=nested,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                process.terminate()

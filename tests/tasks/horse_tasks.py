"""Jobs for Heori's worker classes of rq."""

import importlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

PREPARED = {"by": "nobody"}  # set by a program before it starts its worker


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise ValueError("as it was to be")


def where() -> tuple[int, str, str]:
    """Its process, what the program has prepared there, and its own id."""
    return os.getpid(), PREPARED["by"], os.environ["RQ_JOB_ID"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_in(folder: str) -> str:
    """Tells that it has begun, and ends when it is told to."""
    (Path(folder) / "begun").touch()
    pause = threading.Event()
    while not (Path(folder) / "go").exists():
        pause.wait(0.02)
    return "waited"


def count_users() -> int:
    """Asks Django's database."""
    users: Any = importlib.import_module("django.contrib.auth.models").User
    found: int = users.objects.count()
    return found

"""One small application per library, written as its own users would write it.

A worker of the library imports it, and so does `benchmarks.sender`, through which it is sent
jobs. Each module has:

- ``send_each(task, calls)``: send one by one; returns time.time_ns() before each.
- ``send_bulk(task, calls)``, where the library can send many at once.
- ``call(task, call, queue)``, where it can wait for a result: send one, and do so.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import tasks, work

Call = tuple[Any, ...]  # the arguments of a job; the first is its number

REDIS_URL = "BENCH_REDIS_URL"
RESULTS = "BENCH_RESULTS"  # "1" where results are to be kept
RESULT_PATIENCE = 60  # seconds for one result
RESULT_TTL = 500  # seconds, as RQ's
SLOTS = "BENCH_SLOTS"  # jobs at once in a process, for libraries that have no option for it
PROFILE = "BENCH_PROFILE"  # the file that a profile is written to


def redis_url() -> str:
    """The server of this measurement."""
    return os.environ[REDIS_URL]


def results_kept() -> bool:
    """Whether results are to be kept, for libraries that leave the choice."""
    return os.environ[RESULTS] == "1"


def function(name: str) -> Callable[..., Any]:
    """A task by its name."""
    found: Callable[..., Any] = getattr(tasks, name, None) or getattr(work, name)
    return found


def stamped(send: Callable[..., object], calls: Iterable[Call]) -> list[int]:
    """Call `send` with each call's arguments; returns time.time_ns() before each."""
    stamps = []
    for call in calls:
        stamps.append(time.time_ns())
        send(*call)
    return stamps

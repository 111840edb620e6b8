"""Waiting for what has no signal of its own."""

import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], object], timeout: float = 120.0) -> None:
    """Wait until something that has no signal of its own is so.

    Args:
        timeout: after how many seconds it is taken for what never comes. A machine may have ten
            times as much to do as it has cores, and some tests start an interpreter anew.
    """
    deadline = time.monotonic() + timeout
    pause = 0.005
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(pause)
        pause = min(0.1, pause * 1.5)  # a look may take more than what it looks for


def connected(redis: Any) -> int:
    """How many clients the server has. Of one that is gone, all is done that it has sent."""
    return int(redis.info("clients")["connected_clients"])


def about(seconds: float) -> Any:
    """What is left of so many seconds, or when they end, at whatever time a test looks at it.

    What is no time, as the TTL of a key that stays or is gone, is exactly that.
    """
    return pytest.approx(seconds, abs=min(50.0, seconds / 2)) if seconds > 0 else seconds

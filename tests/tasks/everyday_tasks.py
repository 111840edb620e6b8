"""Functions as an application of RQ has them: no tasks of Heori's."""

import os
import time

from redis import Redis

server = Redis.from_url(
    os.environ.get("HEORI_REDIS_URL", "redis://127.0.0.1:1"), socket_timeout=None
)


def add(a: int, b: int = 2) -> int:
    return a + b


def double(n: int) -> int:
    return n * 2


def work_when_told(key: str) -> str:
    """Fails until somebody has set a key."""
    if not server.exists(key):
        raise RuntimeError("not yet")
    return "at last"


def hold(key: str) -> None:
    """Runs until somebody pushes to a key."""
    server.set(f"{key}:begun", 1)
    server.blpop([key])


def sleep() -> None:
    time.sleep(60)

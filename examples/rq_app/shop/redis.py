"""Where jobs leave marks: that they ran, and how often."""

import os
from functools import cache

from redis import Redis


@cache
def redis() -> Redis:
    """The server that the workers use, too."""
    return Redis.from_url(os.environ["RQ_REDIS_URL"], socket_timeout=None)


def mark(key: str) -> int:
    """Count one more; returns how many there are."""
    return int(redis().incr(f"shop:{key}"))


def marks(key: str) -> int:
    """How many were counted."""
    return int(redis().get(f"shop:{key}") or 0)

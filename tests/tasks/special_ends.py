"""Functions without @task, for jobs whose ends are special; they note in Redis what they see."""

import time
from typing import Any

import redis
from rq import Retry


def run_alone(url: str, name: str, seconds: float) -> int:
    """Returns how many run at once of those with that name, this one included."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        together = client.incr(f"{name}:together")
        client.incr(f"{name}:runs")
        time.sleep(seconds)
        client.decr(f"{name}:together")
        return int(str(together))


def count(url: str, name: str) -> int:
    """Returns how often it has run."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        return int(str(client.incr(name)))


def ask_again(url: str, name: str, times: int) -> Any:
    """Returns a Retry so often, and then how often it has run."""
    run = count(url, name)
    return Retry(max=2) if run <= times else run

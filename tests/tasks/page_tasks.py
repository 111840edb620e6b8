"""Tasks for looking at the page: one of each that a person might look for."""

import os
import time

import redis

from heori import Mutex, current_job, task

HOSTILE = "<script>window.struck = 1</script>\"'><img src=x onerror='window.struck = 2'>"


@task(every="1h")
def hourly() -> str:
    """A periodic one."""
    return "done"


@task(every="2s")
def often() -> str:
    """One whose numbers move while one looks."""
    return "done"


@task
def refuse(order: int, card: str = HOSTILE) -> None:
    """Fails, with an error that no page should run."""
    raise ValueError(f"card {card} of order {order} was refused")


@task
def ship(order: int, seconds: float = 0.1) -> int:
    """What there is much of: waits mostly, and computes a little."""
    time.sleep(seconds)
    return sum(number * order for number in range(20_000))


@task(timeout=7200)
def count_up(name: str, seconds: float = 3600) -> str:
    """Runs for long and tells how far it is."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        current_job().progress(1 - left / seconds, f"{name}: {HOSTILE}")
        time.sleep(0.2)
    return name


@task(timeout=7200)
def keep(account: str, seconds: float = 3600) -> None:
    """Holds a lock for long."""
    with Mutex(f"account:{account}"):
        time.sleep(seconds)


@task(timeout=7200)
def cross(first: str, second: str) -> None:
    """Two of these, each with the names the other way round, wait for each other for ever."""
    with (
        Mutex(first),
        redis.Redis.from_url(os.environ["HEORI_REDIS_URL"], socket_timeout=None) as client,
    ):
        client.rpush(f"has:{first}", "a lock")
        client.blpop([f"has:{second}"])
        with Mutex(second):
            pass


@task(rate="1/h")
def seldom(number: int) -> int:
    """Waits for its rate, mostly."""
    return number


@task
def add(a: int, b: int) -> int:
    """The simplest one."""
    return a + b

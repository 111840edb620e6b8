"""Tasks for looking at the page: one of each that a person might look for."""

import time

from heori import Mutex, current_job, task

HOSTILE = "<script>window.struck = 1</script>\"'><img src=x onerror='window.struck = 2'>"


@task(every="1h")
def hourly() -> str:
    """A periodic one."""
    return "done"


@task
def refuse(order: int, card: str = HOSTILE) -> None:
    """Fails, with an error that no page should run."""
    raise ValueError(f"card {card} of order {order} was refused")


@task
def count_up(name: str, seconds: float = 600) -> str:
    """Runs for long and tells how far it is."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        current_job().progress(1 - left / seconds, f"{name}: {HOSTILE}")
        time.sleep(0.2)
    return name


@task
def keep(account: str, seconds: float = 600) -> None:
    """Holds a lock for long."""
    with Mutex(f"account:{account}"):
        time.sleep(seconds)


@task
def add(a: int, b: int) -> int:
    """The simplest one."""
    return a + b

"""Tasks for the dashboards: work that each thread state, outcome and failure can be seen in."""

import asyncio
import hashlib
import os
import signal
import time

from heori import Mutex, Retry, task

BLOCK = bytes(1 << 20)


@task(queue="busy")
def count(seconds: float) -> int:
    """Computes in Python for so much CPU time, and holds the GIL all the while."""
    end = time.thread_time() + seconds
    number = 0
    while time.thread_time() < end:
        number += 1
    return number


@task(queue="busy")
def digest() -> str:
    """Computes without the GIL."""
    return hashlib.sha256(BLOCK).hexdigest()


@task(queue="busy")
def nap(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)


@task(queue="narrow")
def squeeze(seconds: float) -> None:
    """Waits, and lets others wait to be sent."""
    time.sleep(seconds)


@task(queue="loop", every="1s")
def tick() -> None:
    """Comes by itself."""


@task(queue="loop")
async def nap_in_loop(seconds: float) -> None:
    """Waits in an event loop, after computing a little."""
    sum(range(10_000))
    await asyncio.sleep(seconds)


@task(queue="loop")
def nap_beside_loop(seconds: float) -> None:
    """A plain function, where coroutines run."""
    time.sleep(seconds)


@task(queue="busy", retry=Retry(max=1, intervals=("100ms",)))
def fail() -> None:
    """Fails, is tried again, and fails."""
    raise ValueError("as it should")


@task(queue="busy")
def die() -> None:
    """Takes its worker with it, each time."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(queue="busy", locks=["account:{account}"], permits={"gpu": 2})
def transfer(account: int) -> None:
    """Waits for its account and a permit, and holds them for a while."""
    time.sleep(0.05)


@task(queue="busy")
def enter(account: int) -> None:
    """Takes the account by itself."""
    with Mutex(f"account:{account}"):
        time.sleep(0.01)

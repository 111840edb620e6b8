"""Four tasks that share something: three ways to move money, and printers of which there are few.

The balances and the printers are in Redis, where all consumers see them. Each balance is in cents
under `balance:NUMBER`.
"""

import time
from functools import cache
from typing import Any

from heori import DeadlockDetected, Mutex, Retry, Semaphore, Settings, acquire_all, connect, task

ACCOUNTS = 6
OPENING = 100_000  # cents in each account at the beginning
PRINTERS = 3
PAGE_TIME = 0.02  # seconds that printing takes

DEADLOCKS = "deadlocks"  # list: the messages of DeadlockDetected
PRINTING = "printing"  # string: how many jobs print now
SEEN = "printing:seen"  # list: what that was, each time that a job began
KEPT = 1000  # of each list, the first: whoever runs this for days must not fill Redis


@cache
def redis() -> Any:  # its hints mix in those of asyncio
    """This process's client; it is safe to share between threads."""
    return connect(Settings().redis_url)


def move(source: int, target: int, cents: int) -> None:
    """Read both balances, compute, write both: four commands, and others may come in between."""
    there = int(redis().get(f"balance:{source}"))
    here = int(redis().get(f"balance:{target}"))
    redis().set(f"balance:{source}", there - cents)
    redis().set(f"balance:{target}", here + cents)


def note(name: str, what: str | int) -> None:
    """Put something on a list that has an end."""
    redis().rpush(name, what)
    redis().ltrim(name, 0, KEPT - 1)


@task(queue="unlocked", timeout=60)
def transfer_unlocked(source: int, target: int, cents: int) -> None:
    """Wrong: a job that reads a balance before another has written it undoes what the other did."""
    move(source, target, cents)


@task(queue="locked", timeout=60)
def transfer(source: int, target: int, cents: int) -> None:
    """Right: both accounts are ours, all the time from the first read to the last write."""
    with acquire_all([Mutex(f"account:{source}"), Mutex(f"account:{target}")]):
        move(source, target, cents)


@task(
    queue="crosswise",
    timeout=60,
    retry=Retry(max=100, base="20ms", cap="200ms"),
    retry_on=DeadlockDetected,
)
def transfer_crosswise(source: int, target: int, cents: int) -> None:
    """Asking for trouble: two that go in opposite directions may each hold what the other needs.

    One of them gets an error instead of waiting for ever. It releases what it holds, so that the
    other goes on, and is retried a little later.
    """
    try:
        with Mutex(f"account:{source}"), Mutex(f"account:{target}"):
            move(source, target, cents)
    except DeadlockDetected as deadlock:
        note(DEADLOCKS, str(deadlock))
        raise


@task(queue="printers", timeout=60)
def print_page() -> None:
    """There are three printers, no matter which: so a semaphore, with three permits."""
    with Semaphore("printers", PRINTERS):
        note(SEEN, redis().incr(PRINTING))
        time.sleep(PAGE_TIME)
        redis().decr(PRINTING)

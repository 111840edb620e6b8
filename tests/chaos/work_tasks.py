"""The jobs that run while Redis is in trouble, and the sections in which few may be at once."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from heori import LockLost, Mutex, Retry, Semaphore, task
from tests.chaos.tasks import note

LEASE = 10.0  # seconds, of jobs and of locks; a busy machine may stand still for some
COMPANY = "company"  # the file that says when there was one too many
LOST = "lost"  # the file that says when a job has lost its mutex
# For what may meet a lock that it cannot have just then.
PATIENTLY = Retry(max=100, intervals=("200ms",))


@contextmanager
def section(directory: str, name: str, permits: int = 1) -> Iterator[None]:
    """Be inside, as one of so many: each is a file that only one can make."""
    for number in range(permits):
        place = os.path.join(directory, f"{name}.{number}")  # noqa: PTH118 - the cheapest way
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        try:
            yield
        finally:
            os.unlink(place)  # noqa: PTH108
        return
    with open(os.path.join(directory, COMPANY), "a") as file:  # noqa: PTH118, PTH123
        file.write(f"{name}\n")
    yield


@task
def strive(path: str, number: int, seconds: float) -> int:
    """Note the run, then take some time."""
    note(path, number)
    time.sleep(seconds)
    return number


@task
async def strive_later(path: str, number: int, seconds: float) -> int:
    """The same as a coroutine."""
    note(path, number)
    await asyncio.sleep(seconds)
    return number


@task(retry=Retry(max=1, intervals=("700ms",)))
def strive_twice(path: str, directory: str, number: int) -> int:
    """Note the run, fail, and succeed the next time: a file remembers."""
    note(path, number)
    try:
        os.close(os.open(os.path.join(directory, f"failed-{number}"), os.O_CREAT | os.O_EXCL))  # noqa: PTH118
    except FileExistsError:
        return number
    raise ValueError(number)


@task(locks=["declared"], retry=PATIENTLY)
def strive_alone(path: str, directory: str, number: int) -> int:
    """Have two mutexes, one declared and one taken here, and a semaphore; note that it was done."""
    with section(directory, "declared"):
        with Mutex("taken", lease=LEASE), section(directory, "taken"):
            time.sleep(0.02)
        with Semaphore("shared", 2, lease=LEASE), section(directory, "shared", 2):
            time.sleep(0.02)
    note(path, number)
    return number


@task(retry=PATIENTLY)
def hold(path: str, directory: str, number: int, seconds: float) -> int:
    """Note the run when it has a mutex, and keep that for some time; note if it is lost."""
    try:
        with Mutex("held", lease=LEASE), section(directory, "held"):
            note(path, number)
            time.sleep(seconds)
    except LockLost:
        note(os.path.join(directory, LOST), number)  # noqa: PTH118
    return number

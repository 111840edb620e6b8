"""Tasks for the tests: each does one thing that a test needs to see."""

import asyncio
import ctypes
import os
import signal
import threading
import time

import redis

from common import Retry, task


@task
def add(a: int, b: int = 2) -> int:
    """The simplest job."""
    return a + b


@task
async def add_later(a: int, b: int) -> int:
    """The simplest async job."""
    await asyncio.sleep(0)
    return a + b


@task
def fail(text: str) -> None:
    """A job that fails."""
    raise ValueError(text)


@task(retry=3)
def flaky(number: int) -> int:
    """A job that may be tried again after seconds."""
    return number


@task(retry=Retry(intervals=("20ms", 1.5)))
def flaky_soon(number: int) -> int:
    """A job that may be tried again after fractions of a second."""
    return number


@task
def leave(how: str) -> None:
    """A job that takes its process, or tries to, in one of several ways."""
    match how:
        case "SystemExit":
            raise SystemExit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "os._exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "close files":
            os.closerange(0, 4096)
            time.sleep(3600)


@task
def unserialisable() -> object:
    """A job whose result has no JSON form."""
    return threading.Lock()


@task
def wrong_type() -> int:
    """A job whose result is not what its hint promises."""
    return "not a number"  # type: ignore[return-value]


@task
def large(size: int) -> str:
    """A job with a large result."""
    return "x" * size


@task
def spin(seconds: float) -> None:
    """Holds the GIL, in Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@task(timeout=1)
def spin_limited(seconds: float) -> None:
    """Holds the GIL for longer than it may."""
    spin(seconds)


@task(timeout=1)
def sleep_limited(seconds: float) -> None:
    """Sleeps in C, where no exception reaches it."""
    time.sleep(seconds)


@task(timeout=1)
async def wait_limited(seconds: float) -> None:
    """Waits in the event loop for longer than it may."""
    await asyncio.sleep(seconds)


@task
def nap(seconds: float) -> float:
    """Waits without the GIL."""
    time.sleep(seconds)
    return seconds


@task
def count_run(url: str, key: str, member: str, seconds: float = 0.0) -> None:
    """Records in Redis that it ran, then takes some time."""
    with redis.Redis.from_url(url) as client:
        client.hincrby(key, member, 1)
    time.sleep(seconds)


@task
def hold(url: str, key: str) -> str:
    """Says that it runs, then waits to be let go: tests need no sleep to catch it running."""
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        client.rpush(f"{key}:running", os.getpid())
        client.blpop([f"{key}:go"], timeout=50)
    return key


@task
def record(path: str, number: int) -> int:
    """Notes in a file that it ran: one line, appended in one write."""
    with open(path, "ab", buffering=0) as file:  # noqa: PTH123 - unbuffered
        file.write(b"%d\n" % number)
    return number


@task
def wait_for_file(path: str) -> bool:
    """Runs until a file is there, whatever becomes of Redis."""
    deadline = time.monotonic() + 50
    while not os.path.exists(path):  # noqa: PTH110
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

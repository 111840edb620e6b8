"""Tasks that do not end in time, each in its own way, and those that stand beside them.

Each says in Redis that it has begun: under its own name, and how often.
"""

import asyncio
import ctypes
import re
import time

import redis

from heori import Retry, task

# Of most of them. Those that are in time when nobody keeps them from it must be so where a process
# stands still for a while, too.
LIMIT_S = 4


def begin(url: str, name: str) -> int:
    """Say that a job has begun; returns how often it has."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        starts = int(client.hincrby("starts", name, 1))
        client.rpush(f"{name} began", "now")
    return starts


def wait_for(url: str, name: str) -> None:
    """Wait until another has begun, at any time so far."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.blmove(f"{name} began", f"{name} began", timeout=170)


@task(timeout=LIMIT_S)
def hang(url: str, name: str) -> None:
    """A call into C that comes back too late."""
    begin(url, name)
    time.sleep(60)


@task(timeout=LIMIT_S, retry=Retry(max=1, base=0.01))
def hang_twice(url: str, name: str) -> None:
    """The same, with a retry."""
    hang(url, name)


@task(timeout=LIMIT_S)
def clean_up(url: str, name: str) -> None:
    """Is interrupted, and then computes for 50 ms."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        begin(url, name)
        try:
            while True:
                time.sleep(0.01)
        finally:
            began = time.thread_time()
            while time.thread_time() - began < 0.05:
                pass
            client.incr(f"{name} cleaned up")


@task
def hold(url: str, name: str) -> str:
    """Has no limit, and waits to be let go."""
    begin(url, name)
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.blpop([f"{name} may go"], timeout=170)
    return name


@task(timeout=LIMIT_S)
def hog(url: str, name: str, beside: str) -> None:
    """Computes in C for ever, once another is there, and does not let go of the GIL."""
    begin(url, name)
    wait_for(url, beside)
    re.match(r"(a+)+$", "a" * 60 + "b")


@task(timeout=60)
def hog_in_time(url: str, name: str, beside: str) -> str:
    """Keeps the GIL for long at its first run, but within its own limit."""
    if begin(url, name) == 1:
        wait_for(url, beside)
        ctypes.PyDLL(None).sleep(10 * LIMIT_S)
    return name


@task(timeout=LIMIT_S)
def nap(url: str, name: str) -> str:
    """Ends in time, if it gets the GIL."""
    begin(url, name)
    time.sleep(LIMIT_S / 2)
    return name


@task(timeout=LIMIT_S)
async def nap_later(url: str, name: str) -> str:
    """Ends in time, if it gets the event loop."""
    begin(url, name)
    await asyncio.sleep(LIMIT_S / 2)
    return name


@task(timeout=LIMIT_S)
async def block_later(url: str, name: str, beside: str) -> None:
    """Keeps the event loop, once another is there."""
    begin(url, name)
    await asyncio.to_thread(wait_for, url, beside)
    time.sleep(60)  # noqa: ASYNC251 - this is what it is about

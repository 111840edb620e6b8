"""Tasks for a consumer whose size changes while they run."""

import os
import threading
import time
from functools import cache

import redis
from redis.asyncio import Redis

from heori import Mutex, Producer, Semaphore, task


@cache
def producer() -> Producer:
    """This process's own."""
    return Producer()


@task
def hold(url: str, key: str) -> int:
    """Says that it runs, then waits to be let go; returns its process."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{key}:running", os.getpid())
        client.blpop([f"{key}:go"], timeout=170)
    return os.getpid()


@task
async def hold_later(url: str, key: str) -> str:
    """The same as a coroutine; returns its thread's name."""
    async with Redis.from_url(url, socket_timeout=None) as client:
        await client.rpush(f"{key}:running", os.getpid())
        await client.blpop([f"{key}:go"], timeout=170)
    return threading.current_thread().name


@task
async def hold_loop(url: str, key: str) -> int:
    """The same as `hold`, and wrong: no other coroutine of its loop goes on meanwhile."""
    return hold(url, key)


@task
def book() -> None:
    """Does a little while no other does."""
    with Mutex("ledger"):
        time.sleep(0.03)


@task
def dine() -> None:
    """Does a little while one other does, at most."""
    with Semaphore("seats", 2):
        time.sleep(0.03)


@task
def spin(seconds: float) -> None:
    """Computes in Python for so long, if it has the GIL."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(100))


@task
def visit() -> None:
    """Waits, and has the GIL for a moment in between."""
    for _ in range(4):
        time.sleep(0.01)


@task
def process() -> int:
    """Returns its process."""
    return os.getpid()


@task
def thread() -> str:
    """Returns its thread's name."""
    return threading.current_thread().name


@task
def wait_for(depth: int) -> int:
    """Waits for a job that waits for another, so many in all, of either kind in turns."""
    return producer().submit(wait_for_later, depth - 1).result() + 1 if depth else 0


@task
def wait_for_plain(depth: int) -> int:
    """Waits for a job that waits for another, so many in all, all of this task."""
    return producer().submit(wait_for_plain, depth - 1).result() + 1 if depth else 0


@task
async def wait_for_later(depth: int) -> int:
    """The same as a coroutine."""
    return await producer().submit(wait_for, depth - 1) + 1 if depth else 0

"""Tasks that declare locks, and tasks that use them."""

import asyncio
import contextlib
import importlib
import os
import signal
import time
from functools import partial
from pathlib import Path

import redis

from heori import (
    DeadlockDetected,
    Fence,
    FencedOut,
    JobFailed,
    LockLost,
    Mutex,
    NotHeld,
    Producer,
    Semaphore,
    current_job,
    task,
)

KEEP = partial(redis.Redis.from_url, socket_timeout=None)  # as long as a test says
LEAVE_S = 8  # time enough to take two locks where a process stands still for a while


def _inside(client: "redis.Redis", name: str, most: int, number: int) -> None:
    """Counts in Redis who is inside at once, and notes in which order they came."""
    client.rpush(f"order:{name}", number)
    if int(client.incr(f"inside:{name}")) > most:
        client.incr("overlaps")
    time.sleep(0.002)
    client.decr(f"inside:{name}")


@task(locks=["account:{account}"])
def enter(url: str, account: int, number: int) -> int:
    """Alone on its account, or it tells."""
    with KEEP(url) as client:
        _inside(client, f"account:{account}", 1, number)
    return number


@task(locks=["account:{account}"])
async def enter_later(url: str, account: int, number: int) -> int:
    """The same, in a coroutine."""
    with KEEP(url) as client:
        if int(client.incr("inside")) > 1:
            client.incr("overlaps")
        await asyncio.sleep(0.002)
        client.decr("inside")
    return number


@task(locks=["account:{a}", "account:{b}"])
def transfer(url: str, a: int, b: int, number: int) -> int:
    """Alone on two accounts."""
    with KEEP(url) as client:
        for account in {a, b}:
            if int(client.incr(f"inside:account:{account}")) > 1:
                client.incr("overlaps")
        time.sleep(0.001)
        for account in {a, b}:
            client.decr(f"inside:account:{account}")
    return number


@task(permits={"gpu": 2})
def compute(url: str, number: int) -> int:
    """One of two at a time."""
    with KEEP(url) as client:
        _inside(client, "gpu", 2, number)
    return number


@task(locks=["account:{account}"])
def hold_account(url: str, account: int, key: str) -> str:
    """Says that it runs and where, then waits to be let go."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{key}:running", os.getpid())
        client.blpop([f"{key}:go"], timeout=170)
    return key


@task(locks=["account:{account}"], permits={"gpu": 2})
def use_what_it_holds(account: int) -> list[object]:
    """Enters the mutex that its job holds, twice, and asks who that is."""
    job = current_job()
    mutex = Mutex(f"account:{account}")
    with mutex, Mutex(f"account:{account}") as again:
        party = mutex.owner()
        assert party is not None
        found = [mutex.fence == again.fence == job.fences[mutex.name] == party.fence, party.job]
    try:
        mutex.release()
    except NotHeld as error:
        found.append(str(error))
    with Semaphore("gpu", 2) as other:
        return [*found, other.fence > job.fences["gpu"], sorted(job.fences)]


@task
def use_a_mutex(name: str) -> str:
    """Who holds a mutex while a job is in it."""
    with Mutex(name) as mutex:
        party = mutex.owner()
        assert party is not None
        return f"{party.job} {party.pid == os.getpid()}"


@task(locks=["account:{account}"])
def hold_until(url: str, account: int, gate: str, lease: float) -> str:
    """Says that it runs, and holds a mutex beside that of its job until there is such a file."""
    with KEEP(url) as client, Mutex(f"own:{account}", url, lease=lease):
        client.rpush("running", account)
        while not Path(gate).exists():
            time.sleep(0.01)
    return "held"


@task(locks=["account:{account}"])
def write_when_lost(url: str, account: int, key: str) -> None:
    """Goes on when it is stopped, and tries to write."""
    mutex = Mutex(f"account:{account}", url)
    with redis.Redis.from_url(url, socket_timeout=None) as client, mutex:
        client.rpush(f"{key}:running", os.getpid())
        try:
            while True:
                time.sleep(0.01)
        except BaseException as error:
            client.rpush(f"{key}:stopped", f"{type(error).__name__}: {error}")
            client.rpush(f"{key}:lost", f"{mutex.lost.is_set()} {current_job().lease_lost}")
            client.blpop([f"{key}:write"], timeout=170)
            try:
                Fence("row", mutex).execute("SET", "row", "late")
            except FencedOut as refused:
                client.rpush(f"{key}:refused", type(refused).__name__)
            try:
                mutex.release()
            except LockLost as lost:
                client.rpush(f"{key}:told", type(lost).__name__)
            raise


@task(locks=["account:{account}"])
def write(url: str, account: int) -> int:
    """Writes with its fence."""
    Fence("row", Mutex(f"account:{account}", url)).execute("SET", "row", "in time")
    return current_job().fences[f"account:{account}"]


@task(locks=["account:{account}"])
def child(account: int) -> int:
    """Needs the account."""
    return account


@task(locks=["account:{account}"])
def parent(url: str, account: int, child_account: int) -> str:
    """Waits for a child that needs what it holds itself, or not."""
    with Producer(url) as producer:
        handle = producer.submit(child, child_account)
        try:
            return f"child: {handle.result(60)}"
        except (DeadlockDetected, JobFailed) as error:
            return str(error)


def _stay(how: str) -> str:
    """What a job does with its locks when it does not give them back."""
    if how == "raises":
        raise ZeroDivisionError
    return how


def _left(how: str) -> list[Mutex | Semaphore]:
    return [Mutex(f"left:{how}", lease=600), Semaphore(f"left:{how}", 1, lease=600)]


@task(timeout=LEAVE_S)
def leave(how: str) -> str:
    """Takes locks and keeps them."""
    for lock in _left(how):
        lock.acquire()
    while how == "is late":
        time.sleep(0.01)
    return _stay(how)


@task(timeout=LEAVE_S)
async def leave_later(how: str) -> str:
    """The same, in a coroutine."""
    for lock in _left(how):
        await lock.acquire_async()
    if how == "is late":
        await asyncio.sleep(3600)
    return _stay(how)


@task
def die_with_locks(url: str) -> str:
    """Takes locks and kills its worker, at its first run."""
    with KEEP(url) as client:
        if client.incr("died") == 1:
            for lock in _left("dies"):
                lock.acquire()
            os.kill(os.getpid(), signal.SIGKILL)
    return "lives"


@task
def live_with_a_lock(url: str) -> str:
    """Takes a lock, and releases it when it is told to."""
    with KEEP(url) as client, Mutex("left:lives", lease=600) as lock:
        client.rpush("holds", "1")
        client.blpop(["go"], timeout=150)
        return "lost" if lock.lost.is_set() else "held"


@task(timeout=4)
def import_slowly(*, swallows: bool) -> str:
    """Is ended inside an import."""
    if not swallows:
        importlib.import_module("tests.tasks.endless")
    with contextlib.suppress(Exception):
        importlib.import_module("tests.tasks.endless")
    return "done"

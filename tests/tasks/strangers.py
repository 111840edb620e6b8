"""Functions without @task, as an application of rq's has them; some of them lie."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import redis as redis_py
from rq import Retry
from rq.timeouts import JobTimeoutException

from heori import JobTimeout

if TYPE_CHECKING:
    from there_is_no_such_module import Parcel  # type: ignore[import-not-found]

_loops: list[asyncio.AbstractEventLoop] = []


@dataclass
class Basket:
    prices: list[int]

    def __len__(self) -> int:
        return len(self.prices)

    def total(self, discount: int = 0) -> int:
        return sum(self.prices) - discount

    @classmethod
    def of(cls, *prices: int) -> Basket:
        return cls(list(prices))

    @staticmethod
    def halve(price: int) -> float:
        return price / 2


class Adder:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, n: int) -> int:
        return self.n + n


def double(n: int) -> int:
    """What callers give need not be what it says."""
    return n * 2


def price_of(basket: Basket) -> int:
    return basket["price"]  # type: ignore[index,no-any-return]


def weigh(parcel: Parcel) -> Parcel:
    return parcel


def echo(*values: Any, **more: Any) -> Any:
    return [*values, more]


def same(value: Any) -> Any:
    return value


def nothing() -> None:
    pass


def ask_for_more(most: int) -> Retry:
    return Retry(max=most)


async def later(n: int) -> list[object]:
    """Whether its loop has run another before, too."""
    loop = asyncio.get_running_loop()
    is_new = loop not in _loops
    _loops.append(loop)
    await asyncio.sleep(0)
    return [n, is_new]


def no_coroutine_function(n: int) -> Coroutine[Any, Any, list[object]]:
    return later(n)


def make_function() -> Callable[[], None]:
    return lambda: None


def make_set() -> set[int]:
    return {1}


def make_much() -> str:
    return "x" * 2_000_000


def fail(words: str) -> NoReturn:
    raise ValueError(words)


def leave(code: int) -> NoReturn:
    sys.exit(code)


def finds_its_job() -> bool:
    """Whether all ways to look into the environment find the same."""
    found = os.environ["RQ_JOB_ID"], os.getenv("RQ_JOB_ID"), os.environ.copy()["RQ_JOB_ID"]
    return len(set(found)) == 1 and "RQ_JOB_ID" in os.environ


def job_id_when_both_run(url: str, name: str) -> str:
    """It ends once two of these run."""
    with redis_py.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{name} runs", 1)
        assert client.blpop(["both run"], timeout=60)
    return os.environ["RQ_JOB_ID"]


def worker_id() -> bool:
    return bool(os.environ["RQ_WORKER_ID"])


def knows_its_job_below() -> bool:
    """Whether a program that it starts finds the job, too."""
    below = subprocess.run(["sh", "-c", "echo $RQ_JOB_ID"], capture_output=True, check=True)
    return below.stdout.decode().strip() == os.environ["RQ_JOB_ID"]


def handle_signal() -> list[object]:
    got: list[object] = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append("signal"))
    os.kill(os.getpid(), signal.SIGUSR1)
    return [*got, threading.current_thread() is threading.main_thread()]


def change_process(directory: str) -> None:
    os.chdir(directory)
    os.umask(0o7)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def look_at_process() -> list[object]:
    """Where it is, and whether `change_process` has left its umask, or no handler of its own."""
    umask = os.umask(0)
    os.umask(umask)
    return [str(Path.cwd()), umask == 0o7, signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL]


def catch_timeout() -> str:
    try:
        while True:
            time.sleep(0.01)
    except JobTimeoutException as error:
        return str(error)


def catch_our_timeout() -> str:
    try:
        while True:
            time.sleep(0.01)
    except JobTimeout as error:
        return str(error)


def clean_up_late(url: str, name: str, seconds: float) -> None:
    with redis_py.Redis.from_url(url, socket_timeout=None) as client:
        client.ping()  # it is connected before its time is short
        try:
            while True:
                time.sleep(0.01)
        finally:
            time.sleep(seconds)
            client.incr(f"{name} cleaned up")


def oversleep() -> None:
    time.sleep(60)


async def oversleep_later() -> None:
    await asyncio.sleep(60)


def wait_for(url: str, name: str) -> str:
    with redis_py.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{name} began", 1)
        assert client.blpop([f"{name} may go"], timeout=60)
    return name


def run_on(url: str, name: str) -> None:
    """Until somebody ends it, whatever it is told."""
    with redis_py.Redis.from_url(url, socket_timeout=None) as client:
        client.rpush(f"{name} began", 1)
    while True:
        try:
            time.sleep(0.01)
        except Exception:  # as some loops do
            time.sleep(0.01)


def note_stop(job: Any, connection: Any) -> None:
    """It takes longer than what a job that was stopped has for its own end."""
    time.sleep(1.2)
    connection.rpush("told of stop", job.id)

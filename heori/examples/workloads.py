"""What `heori lab models` runs: work that differs in what it asks of the GIL, and of a core.

Each comes twice: as a plain function, for threads and processes, and as a coroutine function, for
event loops. Only waiting is different there; whatever computes keeps its loop from all else.
"""

import asyncio
import hashlib
import importlib.util
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from heori import task

QUEUE = "lab"
BLOCK = 64 * 1024  # bytes that are hashed in one call; hashlib releases the GIL meanwhile
ANSWER = 30.0  # seconds to wait for the file server
FILE = "/this.py"


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of work.

    Attributes:
        about: what it is, in a few words.
        plain, on_loop: the tasks; called with a size, a number that makes jobs differ, and the
            URL of a file server.
        compute: does so much of what a core is needed for; None if it needs none.
        waits: seconds of a job that need no core.
    """

    name: str
    about: str
    plain: Callable[..., Any]
    on_loop: Callable[..., Any]
    compute: Callable[[int, int], Any] | None
    waits: float

    def size(self, seconds: float) -> int:
        """How much of it takes so long on this machine, alone; from the fastest of some tries."""
        if self.compute is None:
            return 0
        size, best = 1, 0.0
        while best < seconds / 8:
            size *= 2
            best = _time(self.compute, size)
        best = min(best, *(_time(self.compute, size) for _ in range(5)))
        return max(1, round(size * seconds / best))


def count_words(size: int, number: int) -> int:
    """Python alone: it holds the GIL all the time."""
    dice = random.Random(number)
    words = [str(dice.randrange(100)) for _ in range(40)]
    counts: dict[str, int] = {}
    for _ in range(size):
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return len(counts)


def hash_blocks(size: int, number: int) -> str:
    """C code that releases the GIL."""
    digest = hashlib.sha256()
    block = number.to_bytes(8, "little") * (BLOCK // 8)
    for _ in range(size):
        digest.update(block)
    return digest.hexdigest()


def sort_numbers(size: int, number: int) -> float:
    """NumPy, which releases the GIL while it sorts."""
    import numpy as np  # noqa: PLC0415 - where it is installed

    numbers = np.random.default_rng(number).random(size * 1000)
    numbers.sort()
    return float(numbers[0])


@task(queue=QUEUE)
def python(size: int, number: int, _url: str) -> int:
    """See `count_words`."""
    return count_words(size, number)


@task(queue=QUEUE)
async def python_on_loop(size: int, number: int, _url: str) -> int:
    """See `count_words`."""
    return count_words(size, number)


@task(queue=QUEUE)
def hashing(size: int, number: int, _url: str) -> str:
    """See `hash_blocks`."""
    return hash_blocks(size, number)


@task(queue=QUEUE)
async def hashing_on_loop(size: int, number: int, _url: str) -> str:
    """See `hash_blocks`."""
    return hash_blocks(size, number)


@task(queue=QUEUE)
def numpy(size: int, number: int, _url: str) -> float:
    """See `sort_numbers`."""
    return sort_numbers(size, number)


@task(queue=QUEUE)
async def numpy_on_loop(size: int, number: int, _url: str) -> float:
    """See `sort_numbers`."""
    return sort_numbers(size, number)


@task(queue=QUEUE)
def fetching(_size: int, _number: int, url: str) -> int:
    """Fetch a file from a server that takes its time."""
    return _fetch(url)


@task(queue=QUEUE)
async def fetching_on_loop(_size: int, _number: int, url: str) -> int:
    """Likewise, without a thread that waits."""
    return await _fetch_on_loop(url)


@task(queue=QUEUE)
def mix(size: int, number: int, url: str) -> int:
    """Fetch, then compute in Python."""
    return _fetch(url) + count_words(size, number)


@task(queue=QUEUE)
async def mix_on_loop(size: int, number: int, url: str) -> int:
    """Likewise, on an event loop."""
    return await _fetch_on_loop(url) + count_words(size, number)


def workloads(wait: float) -> list[Workload]:
    """Those that can run here, the plainest first.

    Args:
        wait: seconds that the file server takes.
    """
    found = [
        Workload("python", "pure Python", python, python_on_loop, count_words, 0.0),
        Workload("hashing", "hashing (C)", hashing, hashing_on_loop, hash_blocks, 0.0),
        Workload("fetching", "I/O (HTTP)", fetching, fetching_on_loop, None, wait),
        Workload("mix", "I/O, then Python", mix, mix_on_loop, count_words, wait),
        Workload("numpy", "NumPy sorting", numpy, numpy_on_loop, sort_numbers, 0.0),
    ]
    has_numpy = importlib.util.find_spec("numpy") is not None
    return [each for each in found if has_numpy or each.name != "numpy"]


def _time(compute: Callable[[int, int], Any], size: int) -> float:
    began = time.perf_counter()
    compute(size, 1)
    return time.perf_counter() - began


def _fetch(url: str) -> int:
    host = urlsplit(url)
    connection = HTTPConnection(host.hostname or "", host.port, timeout=ANSWER)
    try:
        connection.request("GET", FILE)
        return len(connection.getresponse().read())
    finally:
        connection.close()


async def _fetch_on_loop(url: str) -> int:
    host = urlsplit(url)
    async with asyncio.timeout(ANSWER):
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        try:
            writer.write(f"GET {FILE} HTTP/1.0\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            return len(await reader.read())
        finally:
            writer.close()

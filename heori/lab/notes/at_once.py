"""What the threads of an interpreter do at once: ``python at_once.py THREADS SECONDS``.

It needs nothing but Python, so that another interpreter, one without a GIL say, can run it by its
path. It is no program to import anything in: it says in JSON what it has seen.
"""

import asyncio
import hashlib
import json
import platform
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Turn = tuple[float, float]  # from, to, in seconds
Round = Callable[[], object]
Found = TypeVar("Found")

STEPS = 5_000  # of Python in a round, which takes about a millisecond then
BLOCK = bytes(1 << 20)  # that is hashed in a round
# A thread that reads the clock all the time, and finds so much gone, was not the one that ran.
GAP_S = 0.0001
# Threads go on for so long after what is told of them: the last turn may be too short to be missed.
EDGE_S = 0.002


def compute() -> int:
    """A round of Python alone."""
    value = 1
    for step in range(STEPS):
        value = (value * 1103515245 + step) & 0x7FFFFFFF
    return value


def digest() -> bytes:
    """A round of C code that lets go of the GIL, as hashlib does for all but small blocks."""
    return hashlib.sha256(BLOCK).digest()


def has_gil() -> bool:
    """Whether this interpreter has a GIL, and it is on."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def version() -> str:
    """Of this interpreter; with a t if it was built to do without a GIL."""
    return platform.python_version() + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def repeat(work: Round, seconds: float) -> float:
    """Rounds a second."""
    done, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        work()
        done += 1
    return done / (now - began)


def alone(work: Round, seconds: float) -> float:
    """Rounds a second by one thread that has a core to itself, whoever else uses them now."""
    done, end, used = 0, time.perf_counter() + seconds, time.thread_time()
    while time.perf_counter() < end:
        work()
        done += 1
    return done / (time.thread_time() - used)


def by_threads(
    work: Round, number: int, seconds: float, tell: Callable[[list[int]], None] | None = None
) -> float:
    """Rounds a second by so many threads together.

    Args:
        tell: is told which threads these are.
    """
    return sum(_together(lambda: repeat(work, seconds), number, tell))


def by_coroutines(work: Round, number: int, seconds: float, *, wait: float = 0.0) -> float:
    """Rounds a second by so many coroutines of one event loop together.

    Args:
        wait: seconds that each waits in each round, rather than to work.
    """

    async def repeat_on_loop() -> float:
        done, began = 0, time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            if not wait:
                work()
            await asyncio.sleep(wait)
            done += 1
        return done / (now - began)

    async def all_of_them() -> float:
        return sum(await asyncio.gather(*(repeat_on_loop() for _ in range(number))))

    return asyncio.run(all_of_them())


def python_turns(number: int, seconds: float) -> list[list[Turn]]:
    """When each of some threads had its turns at computing in Python, as each saw it itself."""

    def look() -> list[Turn]:
        turns: list[Turn] = []
        began = last = time.perf_counter()
        end = began + seconds
        while last < end + EDGE_S:
            now = time.perf_counter()
            if now - last > GAP_S:
                turns.append((began, last))
                began = now
            last = now
        return _until(end, [*turns, (began, last)])

    return _together(look, number)


def hashing_turns(number: int, seconds: float) -> list[list[Turn]]:
    """When each of some threads was at hashing a block."""

    def look() -> list[Turn]:
        turns: list[Turn] = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            digest()
            turns.append((began, time.perf_counter()))
        return _until(end, turns)

    return _together(look, number)


def _until(end: float, turns: list[Turn]) -> list[Turn]:
    return [(start, min(last, end)) for start, last in turns if start < end]


def lateness(wait: float, seconds: float, *, beside: bool) -> list[float]:
    """How many seconds late a thread goes on that waits, again and again.

    Args:
        wait: seconds, each time.
        beside: whether another thread computes in Python meanwhile.
    """
    found = []
    thread = threading.Thread(target=repeat, args=(compute, seconds))
    if beside:
        thread.start()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        time.sleep(wait)
        found.append(time.perf_counter() - began - wait)
    if beside:
        thread.join()
    return found


def _together(
    do: Callable[[], Found], number: int, tell: Callable[[list[int]], None] | None = None
) -> list[Found]:
    """Have threads do this at the same time; returns what each has found."""
    found: list[Found] = []
    start = threading.Barrier(number + 1)

    def run() -> None:
        start.wait()
        found.append(do())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    if tell is not None:
        tell([thread.native_id or 0 for thread in threads])
    start.wait()
    for thread in threads:
        thread.join()
    return found


def main() -> None:
    """Say what this interpreter does."""
    threads, seconds = int(sys.argv[1]), float(sys.argv[2])
    rates = [alone(compute, seconds), by_threads(compute, threads, seconds)]
    told = {
        "version": version(),
        "gil": has_gil(),
        "rates": dict(zip(("one", "threads"), rates, strict=True)),
        "turns": python_turns(threads, seconds),
    }
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()

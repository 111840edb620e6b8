"""What a lock costs, free and wanted by many, and who may release it: by threads of one process."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from heori import LockError, Mutex, Semaphore
from heori.lab.notes.contending import FOR_EVER, WAYS

IN_MEMORY = "threading.Lock"

Pair = tuple[Callable[[], object], Callable[[], object]]  # what acquires, and what releases
Make = Callable[[], Pair]


def contended(url: str) -> dict[str, Make]:
    """By name, what makes a lock for each thread: what acquires it, and what releases it."""
    lock = threading.Lock()

    def of(way: str) -> Pair:
        acquire, release = WAYS[way](url, f"cost: {way}")
        return partial(acquire, FOR_EVER), release

    ways = {way: partial(of, way) for way in WAYS}
    return {IN_MEMORY: lambda: (lock.acquire, lock.release), **ways}


def rate(make: Make, threads: int, span: float) -> float:
    """Acquisitions a second by so many threads that do nothing else."""
    counts = [0] * threads
    start = threading.Barrier(threads + 1)
    end = threading.Event()

    def work(number: int) -> None:
        acquire, release = make()
        acquire()
        release()  # connections are made, and the server knows the scripts
        start.wait()
        while not end.is_set():
            acquire()
            release()
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    time.sleep(span)
    done, took = sum(counts), time.perf_counter() - began
    end.set()
    for worker in workers:
        worker.join()
    return done / took


def owners(url: str) -> dict[str, str | None]:
    """What comes of it when another thread releases what this one has acquired, by lock."""
    locks: dict[str, Any] = {
        IN_MEMORY: threading.Lock(),
        "threading.RLock": threading.RLock(),
        "threading.Semaphore": threading.Semaphore(1),
        "heori.Mutex": Mutex("owned", url),
        "heori.Semaphore": Semaphore("owned", 1, url),
    }
    found: dict[str, str | None] = {}
    for name, lock in locks.items():
        lock.acquire()
        found[name] = None

        def release(name: str = name, lock: Any = lock) -> None:
            try:
                lock.release()
            except (RuntimeError, LockError) as error:
                found[name] = type(error).__name__

        other = threading.Thread(target=release)
        other.start()
        other.join()
        if found[name] is not None:
            lock.release()
    return found


def given_back_twice() -> int:
    """How many are inside at once of Python's semaphore of one permit, when that was."""
    semaphore = threading.Semaphore(1)
    for give_back in (semaphore.acquire, semaphore.release, semaphore.release):
        give_back()
    return sum(semaphore.acquire(blocking=False) for _ in range(3))

"""A process that uses locks of one library: ``python -m benchmarks.locks_worker LIBRARY URL``.

Reads one order a line as JSON and answers each with a line; no two libraries share a process.
"""

import dataclasses
import importlib
import json
import mmap
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import redis

NAME = "bench"
LEASE = 30  # seconds
WARM = 200  # pairs
# What all processes share: who is inside, who was inside last, and how often that has changed.
SHARED = struct.Struct("=QQQ")

Make = Callable[[float, str], Any]  # a lock, of a lease in seconds and a name


@dataclass(frozen=True, slots=True)
class Order:
    """What to do with locks.

    `pairs`: acquire and release one, `count` times. `contend`: the same in `threads` threads for
    `seconds`, each with `pause` seconds inside; it answers twice, and begins at a line in between.
    `acquire`, `release`: one, of a lease in `seconds`. `many`: acquire `count` of them and keep.
    """

    do: Literal["pairs", "contend", "acquire", "release", "many"]
    count: int = 0
    seconds: float = LEASE
    threads: int = 0
    pause: float = 0.0
    number: int = 0  # of its first thread, from 1
    shared: str = ""


@dataclass(slots=True)
class Contended:
    """What one process has seen.

    Attributes:
        counts: acquisitions within the time, by thread.
        waits: seconds of each acquisition, and of what each thread waited for in the end.
        violations: how often somebody else was found inside.
    """

    counts: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    violations: int = 0


class Bare:
    """Two scripts that do next to nothing through redis-py: what any lock must pay."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url)
        self._digest = self._client.script_load("return 1")

    def acquire(self) -> None:
        self._client.evalsha(self._digest, 1, NAME, "x")

    release = acquire


def heori(url: str) -> Make:
    mutex = importlib.import_module("heori").Mutex
    return lambda lease, name: mutex(name, url, lease)


def redis_py(url: str) -> Make:
    client = redis.Redis.from_url(url)
    return lambda lease, name: client.lock(name, timeout=lease)


def python_redis_lock(url: str) -> Make:
    lock, client = importlib.import_module("redis_lock").Lock, redis.Redis.from_url(url)
    return lambda lease, name: lock(client, name, expire=round(lease))


def pottery(url: str) -> Make:
    lock, client = importlib.import_module("pottery").Redlock, redis.Redis.from_url(url)
    return lambda lease, name: lock(key=name, masters={client}, auto_release_time=lease)


LIBRARIES: dict[str, Callable[[str], Make]] = {
    "floor": lambda url: lambda _lease, _name: Bare(url),
    "heori": heori,
    "redis-py": redis_py,
    "python-redis-lock": python_redis_lock,
    "pottery": pottery,
}


class Worker:
    """Carries out orders, with one lock or several."""

    def __init__(self, library: str, url: str) -> None:
        self._make = LIBRARIES[library](url)
        self._lock: Any = None
        self._many: list[Any] = []

    def pairs(self, order: Order) -> dict[str, float]:
        lock = self._make(LEASE, NAME)
        taken = []
        for _ in range(WARM + order.count):
            began = time.perf_counter()
            lock.acquire()
            lock.release()
            taken.append(time.perf_counter() - began)
        return {"pair": statistics.median(taken[WARM:]) * 1e6}

    def acquire(self, order: Order) -> dict[str, float]:
        self._lock = self._make(order.seconds, NAME)
        self._lock.acquire()
        return {"at": time.time()}

    def release(self, _: Order) -> dict[str, float]:
        began = time.time()
        self._lock.release()
        return {"at": began}

    def many(self, order: Order) -> dict[str, float]:
        self._many = [self._make(order.seconds, f"{NAME}{n}") for n in range(order.count)]
        for lock in self._many:
            lock.acquire()
        return {"at": time.time()}

    def contend(self, order: Order) -> dict[str, Any]:
        with Path(order.shared).open("r+b") as file:
            shared = mmap.mmap(file.fileno(), SHARED.size)
        race = Race(order, lambda: self._make(LEASE, NAME), shared)
        return dataclasses.asdict(race.run())


class Race:
    """Threads of this process that want one lock, for some seconds."""

    def __init__(self, order: Order, make: Callable[[], Any], shared: mmap.mmap) -> None:
        self._order = order
        self._make = make
        self._shared = shared
        self._ready = threading.Barrier(order.threads + 1)
        self._until = 0.0
        self._errors: list[Exception] = []

    def run(self) -> Contended:
        """Says when all are ready, and begins when told so."""
        results = [Contended() for _ in range(self._order.threads)]
        threads = [
            threading.Thread(target=self._try, args=(self._order.number + n, result))
            for n, result in enumerate(results)
        ]
        for thread in threads:
            thread.start()
        self._meet()
        say({"ready": True})
        sys.stdin.readline()
        self._until = time.monotonic() + self._order.seconds
        self._meet()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        whole = Contended()
        for result in results:
            whole.counts += result.counts
            whole.waits += result.waits
            whole.violations += result.violations
        return whole

    def _meet(self) -> None:
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            raise self._errors[0] from None

    def _try(self, number: int, result: Contended) -> None:
        try:
            self._want(number, result)
        except Exception as error:  # of the library; nobody is to wait for this thread
            self._errors.append(error)
            self._ready.abort()

    def _want(self, number: int, result: Contended) -> None:
        """Take the lock again and again."""
        shared, lock = self._shared, self._make()
        lock.acquire()
        lock.release()
        self._ready.wait()
        self._ready.wait()
        count = 0
        while True:
            began = time.monotonic()
            lock.acquire()
            got = time.monotonic()
            result.waits.append(got - began)
            if got >= self._until:
                lock.release()
                result.counts.append(count)
                return
            count += 1
            inside, last, changes = SHARED.unpack(shared)
            result.violations += inside != 0
            shared[:] = SHARED.pack(number, number, changes + (last != number))
            if self._order.pause:
                time.sleep(self._order.pause)
            inside, last, changes = SHARED.unpack(shared)
            result.violations += inside != number
            shared[:] = SHARED.pack(0, last, changes)
            lock.release()


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    worker = Worker(*sys.argv[1:])
    for line in iter(sys.stdin.readline, ""):
        order = Order(**json.loads(line))
        try:
            answer = getattr(worker, order.do)(order)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(answer)


if __name__ == "__main__":
    main()

"""What the tests of locks share: programs that use them, threads, and that nothing is left."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heori import Mutex, Semaphore
from heori_common.locks import session
from heori_common.locks.lockable import Lockable
from heori_common.protocol.keys import Keys
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

FENCE = Keys().fence().encode()


class Program:
    """`tests.rigs.lock_program`, in a process of its own.

    Args:
        name: of its mutex; with ``/3``, of its semaphore of three permits.
        lease: seconds.
    """

    def __init__(self, url: str, name: str, lease: float) -> None:
        self.process = Started(
            "tests.rigs.lock_program",
            *(url, name, str(lease)),
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def tell(self, *words: object) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def hear(self, *expected: str) -> list[str]:
        """Wait for what it says next, which begins as expected; returns the rest."""
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert tuple(words[: len(expected)]) == expected, words
        return words[len(expected) :]

    def ask(self, *words: object, expect: str) -> list[str]:
        """Have it do something and wait until it says so."""
        self.tell(*words)
        return self.hear(expect)

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


Programs = Callable[..., list[Program]]


@pytest.fixture
def programs(redis_url: str) -> Iterator[Programs]:
    """Start programs; they are killed after the test."""
    started: list[Program] = []

    def start(
        count: int, name: str = "a", lease: float = 1.0, url: str = redis_url
    ) -> list[Program]:
        mine = [Program(url, name, lease) for _ in range(count)]
        started.extend(mine)
        for program in mine:
            program.hear("ready")
        return mine

    yield start
    for program in started:
        program.close()


@pytest.fixture
def no_lock_is_left(redis: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key but the last fence, no thread, no connection."""
    options = redis.connection_pool.connection_kwargs
    monkeypatch.setenv("HEORI_REDIS_URL", f"redis://127.0.0.1:{options['port']}/0")
    session.close()
    before = threading.active_count()
    yield
    allowed = {FENCE, *(key for key in redis.keys("*") if not key.startswith(b"rq:heori:"))}
    until(lambda: set(redis.keys("*")) <= allowed)
    session.close()
    until(lambda: threading.active_count() <= before)


@contextlib.contextmanager
def thread(function: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Run it in a thread; gives what waits for its end and returns its result or its error."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    started = threading.Thread(target=run)
    started.start()

    def join() -> Any:
        started.join(60)
        assert not started.is_alive()
        return result[0]

    try:
        yield join
    finally:
        join()


def queued(lock: Mutex | Semaphore, count: int) -> None:
    """Wait until so many wait."""
    until(lambda: len(lock.statistics().waiters) == count)


def outlives_its_lease(lock: Mutex) -> None:
    """Wait until the lease that it has is over, and see that it was renewed meanwhile."""
    first = lock.owner()
    assert first is not None
    until(lambda: time.time() > first.lease_end)
    now = lock.owner()
    assert now is not None
    assert (now.request, now.fence) == (first.request, first.fence)
    assert not lock.lost.is_set()


def use(lock: Lockable) -> Callable[[], float]:
    """What acquires and releases it; returns when it had it."""

    def acquire_and_release() -> float:
        with lock:
            return time.time()

    return acquire_and_release

"""Exceptions that strike a thread while it acquires or releases a lock, at every moment."""

import asyncio
import gc
import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from heori import DeadlockDetected, JobTimeout, Mutex, Semaphore
from heori_common.locks.lockable import Lockable
from heori_common.locks.session import session_of
from heori_consumer.worker.interrupt import ThreadCalls
from tests.rigs.lock_kinds import KINDS
from tests.rigs.strikes import Strike, in_a_thread
from tests.rigs.waiting import until

pytestmark = pytest.mark.usefixtures("no_lock_is_left")


def is_free() -> bool:
    return not any(each.statistics().holders for each in (Mutex("a"), Semaphore("a", 3)))


def in_a_block(lock: Lockable) -> None:
    with lock:
        pass


def by_calls(lock: Lockable) -> None:
    if lock.acquire():
        lock.release()


def entered_twice(lock: Lockable) -> None:
    with lock, lock:
        pass


# A connection that is struck between two lines is closed by the garbage collector, which says so.
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
@pytest.mark.parametrize(
    ("kind", "use"),
    [*((kind, in_a_block) for kind in KINDS), ("mutex", by_calls), ("mutex", entered_twice)],
)
@in_a_thread
def test_wherever_it_is_struck_nothing_is_held_after_it(
    kind: str, use: Callable[[Lockable], None]
) -> None:
    in_a_block(KINDS[kind]())  # so that it is connected
    session = session_of(os.environ["HEORI_REDIS_URL"])
    struck = []
    for number in itertools.count(1):
        lock = KINDS[kind]()
        strike = Strike(number)
        if not strike.during(lambda lock=lock: use(lock)):  # type: ignore[misc]
            break
        struck.append(strike.struck)
        until(is_free)
        assert not session.holds, strike.struck
    gc.collect()
    assert len(struck) > 50


# As above.
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
@in_a_thread
def test_a_release_that_is_struck_while_it_connects_is_carried_on() -> None:
    session = session_of(os.environ["HEORI_REDIS_URL"])
    number, struck = 1, True
    while struck:
        lock = Mutex("a")
        lock.acquire()
        session._redis.close()
        strike = Strike(number)
        struck = strike.during(lock.release)
        until(is_free)
        assert not session.holds, strike.struck
        number += 1
    assert number > 50
    gc.collect()


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_that_is_cancelled_is_carried_on(kind: str, redis: Any) -> None:
    async def use(releases: asyncio.Event) -> None:
        lock = KINDS[kind]()
        await lock.acquire_async()
        redis.client_pause(200)  # milliseconds, in which it is sent and not answered
        releases.set()
        await lock.release_async()

    async def main() -> None:
        releases = asyncio.Event()
        task = asyncio.create_task(use(releases))
        await releases.wait()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(is_free)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
def test_600_throws_into_threads_that_take_and_give_two_locks_leave_none() -> None:
    chance = random.Random(7)
    workers = [Worker(kind) for kind in KINDS]
    while sum(worker.struck for worker in workers) < 600:
        time.sleep(chance.uniform(0, 0.004))
        chance.choice(workers).strike()
    for worker in workers:
        worker.stop()
    until(lambda: is_free() and Mutex("x").owner() is None)
    session = session_of(os.environ["HEORI_REDIS_URL"])
    until(lambda: not session.holds)
    gc.collect()


class Worker:
    """A thread that takes and gives two locks, in calls that are ended as those of jobs are."""

    def __init__(self, kind: str) -> None:
        self.struck = 0
        self._make = KINDS[kind]
        self._calls: ThreadCalls | None = None
        self._running = True
        self._chance = random.Random(kind)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self._calls)

    def strike(self) -> None:
        assert self._calls is not None
        self._calls.interrupt_if_late(time.monotonic())

    def stop(self) -> None:
        self._running = False
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self._calls = ThreadCalls()
        while self._running:
            try:
                self._calls.call(1, 0.0, self._use)  # late from the beginning
            except JobTimeout:
                self.struck += 1
            except DeadlockDetected:  # a semaphore of one permit, struck before it is released
                pass

    def _use(self) -> None:
        session = session_of(os.environ["HEORI_REDIS_URL"])
        while self._running:
            with Mutex("x"), self._make():
                pass
            if self._chance.random() < 0.3:
                session._redis.close()  # so that the next ones are struck while they connect

"""Locks of threads into which exceptions are thrown, as into those of jobs that are late."""

import ctypes
import threading
from collections.abc import Callable

import pytest

from heori_common.given_back import GivenBack, lock_given_back, rlock_given_back

THROWS = 60


class Thrown(Exception):
    """What is thrown."""


class User:
    """A thread that takes a lock and gives it back, again and again, whatever strikes it."""

    def __init__(self, lock: GivenBack) -> None:
        self._lock = lock
        self._goes_on = True
        self._struck = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def strike(self) -> None:
        """Throw at it, and wait until it was struck."""
        number = ctypes.c_ulong(self.thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(Thrown))
        assert self._struck.acquire(timeout=60), "it waits for a lock that nobody has"

    def end(self) -> None:
        self._goes_on = False
        self.thread.join(60)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        while self._goes_on:
            try:
                while self._goes_on:
                    with self._lock:
                        pass
            except Thrown:
                self._struck.release()  # nobody throws before this


@pytest.mark.parametrize("make", [lock_given_back, rlock_given_back])
def test_a_lock_is_given_back_wherever_its_thread_is_struck(
    make: Callable[[], GivenBack],
) -> None:
    lock = make()
    users = [User(lock), User(lock)]
    for _ in range(THROWS // len(users)):
        for user in users:
            user.strike()
    for user in users:
        user.end()
    with lock:
        pass


def test_one_thread_has_it_at_a_time_and_may_have_one_kind_twice() -> None:
    lock, other = lock_given_back(), rlock_given_back()
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(2000):
            with lock, other, other:
                before = count
                count = before + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 8000


def test_what_is_raised_within_passes_and_gives_it_back() -> None:
    lock = lock_given_back()
    for _ in range(2):
        with pytest.raises(KeyError), lock:
            raise KeyError

"""Locks of threads into which exceptions are thrown, as into those of jobs that are late."""

import ctypes
import threading
from collections.abc import Callable

import pytest

from heori_common.given_back import (
    GivenBack,
    _TakenByIterator,
    lock_given_back,
    rlock_given_back,
)

THROWS = 60
Make = Callable[[], GivenBack]


def lock_by_iterator() -> GivenBack:
    """As from Python 3.14 on, on any."""
    return _TakenByIterator(threading.Lock())


def rlock_by_iterator() -> GivenBack:
    """The same, which a thread may take twice."""
    return _TakenByIterator(threading.RLock())


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


@pytest.mark.parametrize(
    "make", [lock_given_back, rlock_given_back, lock_by_iterator, rlock_by_iterator]
)
def test_a_lock_is_given_back_wherever_its_thread_is_struck(make: Make) -> None:
    lock = make()
    users = [User(lock), User(lock)]
    for _ in range(THROWS // len(users)):
        for user in users:
            user.strike()
    for user in users:
        user.end()
    with lock:
        pass


@pytest.mark.parametrize("make", [lock_given_back, lock_by_iterator])
def test_one_thread_has_it_at_a_time(make: Make) -> None:
    lock = make()
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    with lock:
        other = threading.Thread(target=take)
        other.start()
        assert not taken.wait(0.2)
    other.join(60)
    assert taken.is_set()


@pytest.mark.parametrize("make", [rlock_given_back, rlock_by_iterator])
def test_the_thread_that_has_one_kind_may_take_it_again(make: Make) -> None:
    lock = make()
    with lock, lock:
        pass
    other = threading.Thread(target=lock.__enter__)
    other.start()
    other.join(60)
    assert not other.is_alive(), "it was given back as often as it was taken"


@pytest.mark.parametrize("make", [lock_given_back, lock_by_iterator])
def test_what_is_raised_within_passes_and_gives_it_back(make: Make) -> None:
    lock = make()
    for _ in range(2):
        with pytest.raises(KeyError), lock:
            raise KeyError

"""Locks that `with` always gives back, whatever strikes the thread that takes them.

The exception that ends a job may strike its thread between any two steps of the interpreter, so
also in code of ours that the job has called. A lock of the interpreter was taken and entered in
one step until CPython 3.13. From 3.14 on, an exception may strike after the lock was taken and
before `with` would give it back, and it stays locked for ever (CPython issue 148874).
"""

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol


class GivenBack(Protocol):
    """A lock, as far as `with` needs it."""

    def __enter__(self) -> object:
        """Take it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> object:
        """Give it back."""


class _TakenByIterator:
    """Takes a lock by a step of an iterator, after which nothing strikes before `with` has begun.

    Exceptions strike after a call, at the beginning of a function and where a loop begins again.
    To give the lock back is one call, of what is no Python: it is done before any can strike.
    """

    __slots__ = ("__exit__", "_takes")

    def __init__(self, lock: "threading.Lock | threading.RLock") -> None:
        self.__exit__ = lock.__exit__
        self._takes = iter(lock.acquire, None)

    def __enter__(self) -> None:
        for _ in self._takes:
            return


def lock_given_back() -> GivenBack:
    """A lock that one thread has at a time."""
    return _made(threading.Lock)


def rlock_given_back() -> GivenBack:
    """The same; the thread that has it may take it again."""
    return _made(threading.RLock)


def _made(make: Callable[[], "threading.Lock | threading.RLock"]) -> GivenBack:
    return make() if sys.version_info < (3, 14) else _TakenByIterator(make())

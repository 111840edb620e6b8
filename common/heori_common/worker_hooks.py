"""What a program has done once in each worker process: when it starts, and when it ends.

from heori import on_worker_end, on_worker_start

@on_worker_start
def connect() -> None:
    global pool
    pool = ConnectionPool(...)

@on_worker_end
def disconnect() -> None:
    pool.close()
"""

import inspect
from collections.abc import Callable
from typing import TypeVar

from heori_common.public import public

F = TypeVar("F", bound=Callable[[], object])

at_start: list[Callable[[], object]] = []  # what workers call then
at_end: list[Callable[[], object]] = []


@public
def on_worker_start(function: F) -> F:
    """Have a function called in each worker process before it takes its first job.

    All are called one after the other, in the order of their definition, in the main thread, when
    all modules of HEORI_TASKS are imported. What one raises keeps the worker from taking jobs.

    Raises:
        TypeError: it is a coroutine function, or needs arguments.
    """
    at_start.append(_checked(function, "on_worker_start"))
    return function


@public
def on_worker_end(function: F) -> F:
    """Have a function called in each worker process after its last job.

    They are called in reverse order, in the main thread, before `atexit` handlers: when a consumer
    has drained, and when a worker is recycled. They may take what is left of HEORI_GRACE; then the
    process is killed. A worker that crashes, or is killed for a job, calls none. What one raises is
    logged.

    Raises:
        TypeError: it is a coroutine function, or needs arguments.
    """
    at_end.append(_checked(function, "on_worker_end"))
    return function


def _checked(function: F, decorator: str) -> F:
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"@{decorator} is for plain functions, and {name_of(function)} is async")
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise TypeError(
            f"@{decorator}: {name_of(function)} is called without arguments, and needs some"
        ) from None
    return function


def name_of(function: Callable[[], object]) -> str:
    """What people know it by."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{function.__module__}.{name}"

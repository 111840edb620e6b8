"""Tasks that leave nothing of what a process may have, and those that need a little of it."""

import asyncio
import contextlib
import os
import resource
import threading
from pathlib import Path
from typing import Any

from heori import task

_kept: list[Any] = []  # what outlives the job that made it


def _lower(limit: int, most: int) -> None:
    """Have a limit come soon, for this process."""
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (most, hard))


@task
def leak_files(number: int) -> int:
    """Leave so many files open."""
    _kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(number))
    return os.getpid()


@task
def leak_all_files() -> int:
    """Leave as many files open as there may be."""
    _lower(resource.RLIMIT_NOFILE, 256)
    with contextlib.suppress(OSError):
        leak_files(10_000)
    return os.getpid()


@task
def need_all_files() -> None:
    """Open more files than there may be."""
    _lower(resource.RLIMIT_NOFILE, 256)
    leak_files(10_000)


@task
def open_file() -> int:
    """Need one file."""
    with Path(os.devnull).open():
        return os.getpid()


@task
async def open_file_later() -> int:
    """The same, in an event loop, which needs some itself."""
    await asyncio.sleep(0)
    return open_file()


@task
def wrap_failure_to_open() -> None:
    """Need one file, and fail with an error of its own without it."""
    try:
        open_file()
    except OSError as error:
        raise ValueError("there is no configuration") from error


@task
def leak_threads(number: int) -> int:
    """Leave so many threads."""
    for _ in range(number):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return os.getpid()


@task
def leak_all_threads() -> int:
    """Leave many threads, and no room for the stack of another one."""
    leak_threads(200)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    threading.stack_size(1 << 30)
    _lower(resource.RLIMIT_AS, used + (1 << 29))
    return os.getpid()


@task
def start_thread() -> int:
    """Need one thread."""
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()
    return os.getpid()

"""The programs that a job has started: a job that is late or stopped takes them along.

So a thread that waits for one goes on at once, with the exception that ends its job, and its
worker need not be killed. What no job takes along ends with the worker.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import Protocol

from heori_common.platform import age, below, children_of

# As exactly the kernel says when a process has begun, in seconds.
EXACT_S = 0.02


def end_programs_of(thread: int, seconds: float) -> None:
    """Kill what a thread of this process has started, and all that is below it.

    Args:
        thread: as the kernel numbers it.
        seconds: for which its job runs; what is older is not the job's.
    """
    for pid in children_of(thread):
        if age(pid) <= seconds + EXACT_S:
            _end(pid)


class Programs(Protocol):
    """Some that a coroutine has started."""

    def end(self) -> None:
        """Kill them, and all that is below them."""


class AsyncioProgram:
    """A program that it has started with asyncio."""

    def __init__(self, transport: asyncio.SubprocessTransport) -> None:
        self._transport = transport

    def end(self) -> None:
        """See `Programs`."""
        if self._transport.get_returncode() is None:
            _end(self._transport.get_pid())


class OfThread:
    """What a thread starts from now on that runs a function for it; made by that thread."""

    def __init__(self) -> None:
        self._thread = threading.get_native_id()
        self._began = time.monotonic()

    def end(self) -> None:
        """See `Programs`."""
        end_programs_of(self._thread, time.monotonic() - self._began)


def _end(pid: int) -> None:
    for each in (pid, *below(pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)

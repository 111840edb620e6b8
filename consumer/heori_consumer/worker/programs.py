"""The programs that a job has started: a job that is late or stopped takes them along.

So a thread that waits for one goes on at once, with the exception that ends its job, and its
worker need not be killed. What no job takes along ends with the worker.
"""

import asyncio
import contextlib
import os
import signal

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


def end_programs(transports: list[asyncio.SubprocessTransport]) -> None:
    """Kill programs that were started through a `JobLoop`, and all that is below them."""
    for transport in transports:
        if transport.get_returncode() is None:
            _end(transport.get_pid())


def _end(pid: int) -> None:
    for each in (pid, *below(pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)

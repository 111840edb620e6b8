"""All that a worker has started: it ends with the worker, wherever it has gone.

A program may leave its process group, its session and its parent, and clear its environment. So
each worker has a mark of its own that all below it inherit. Where the system knows no such mark,
the worker's session has to do.
"""

import contextlib
import os
import random
import signal
from collections.abc import Callable

from heori_common import platform


def new() -> int:
    """The mark of a family that is to begin; 0 where the system knows none."""
    most = platform.highest_mark()
    # Not from the generator that tasks share: forks of one process would draw the same.
    return random.SystemRandom().randrange(1, most) if most > 1 else 0


def begin(mark: int) -> None:
    """Make this process the first of a family, in a session of its own."""
    os.setsid()
    join(mark)


def join(mark: int) -> None:
    """Let all that this process starts from now on belong to a family."""
    if mark:
        platform.mark(mark)


def end(mark: int, first: int) -> None:
    """Kill a family.

    Args:
        mark: of the family, as it was given to `begin`.
        first: the process that began it; it has ended.
    """
    try:
        if mark:
            _kill_marked(mark, set())
    except OSError:  # no file is left to look with
        mark = 0
    if not mark:
        _kill(os.killpg, first)


def end_others(mark: int) -> None:
    """Kill the family that this process has begun, but for itself; without a mark it lives on."""
    if mark:
        with contextlib.suppress(OSError):  # no file is left to look with; others will
            _kill_marked(mark, {os.getpid()})


def _kill_marked(mark: int, spared: set[int]) -> None:
    while found := platform.marked(mark) - spared:  # again, as some may have forked meanwhile
        for each in found:
            _kill(os.kill, each)
        spared |= found


def _kill(how: Callable[[int, int], None], whom: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        how(whom, signal.SIGKILL)

"""Buries what others have left to this process, which has never started it.

The forkserver adopts and buries what jobs leave behind, while it lives. Beyond that, orphans go to
PID 1, which in a container without an init is the supervisor.
"""

import asyncio
import os
import signal
from collections.abc import Callable

# Until it is looked again, when a child of our own has ended and is to be buried by its owner.
LOOK_AGAIN_S = 1.0


class Orphans:
    """Looks after them from `watch` to `close`.

    Args:
        is_ours: tells whether somebody else in this process waits for a child's end.
    """

    def __init__(self, is_ours: Callable[[int], bool]) -> None:
        self._is_ours = is_ours
        self._again: asyncio.TimerHandle | None = None
        self._watching = False

    def watch(self) -> None:
        """Begin, where the system can tell of an end without burying it."""
        if hasattr(os, "waitid"):
            self._watching = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._bury)

    def close(self) -> None:
        """Look no more."""
        if self._watching:
            self._watching = False
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        if self._again is not None:
            self._again.cancel()

    def _bury(self) -> None:
        while (pid := _ended_child()) is not None:
            if self._is_ours(pid):  # it hides the others
                if self._again is not None:
                    self._again.cancel()
                self._again = asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._bury)
                return
            os.waitpid(pid, 0)


def _ended_child() -> int | None:
    """A child that has ended and is not buried yet."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there are none at all
        return None
    return ended.si_pid if ended is not None else None

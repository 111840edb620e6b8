"""Takes away what a Mac has not, in every Python that finds this folder on its path.

Not the name of the system, by which the standard library and psutil choose their own parts: those
are right for the system that they run on. psutil goes on reading /proc, as it has its own ways
on a Mac.
"""

import builtins
import ctypes
import io
import os
import select
import signal
import sys
from typing import Any

ABSENT: dict[Any, tuple[str, ...]] = {
    os: (
        "eventfd", "eventfd_read", "eventfd_write", "memfd_create", "pidfd_open", "pipe2",
        "posix_fadvise", "posix_fallocate", "sched_getaffinity", "sched_getscheduler",
        "sched_setaffinity", "setns", "splice", "unshare",
    ),
    select: ("epoll",),
    signal: ("SIGRTMAX", "SIGRTMIN", "sigtimedwait", "sigwaitinfo"),
}  # fmt: skip
HIDDEN = ("/proc", "/sys")


def hide(function: Any) -> Any:
    """Let a function of paths find none of the kernel's."""

    def hidden(path: Any, *rest: Any, **more: Any) -> Any:
        by = sys._getframe(1).f_globals.get("__name__", "")
        if isinstance(path, str | os.PathLike) and not by.startswith("psutil"):
            text = os.fspath(path)
            if isinstance(text, str) and text.startswith(HIDDEN):
                raise FileNotFoundError(2, "hidden, as on a Mac", text)
        return function(path, *rest, **more)

    return hidden


def no_prctl(library: Any, name: str) -> Any:
    """Find functions of C, but this one."""
    if name == "prctl":
        raise AttributeError(name)
    return find_in_c(library, name)


for module, names in ABSENT.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
find_in_c = ctypes.CDLL.__getattr__
ctypes.CDLL.__getattr__ = no_prctl  # type: ignore[method-assign]

# Only now, as it imports `selectors`, which takes the best that there is.
from multiprocessing import util  # noqa: E402

util.abstract_sockets_supported = False  # type: ignore[misc]
os.open = hide(os.open)
os.stat = hide(os.stat)
builtins.open = io.open = hide(open)

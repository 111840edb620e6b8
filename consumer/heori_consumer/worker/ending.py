"""How a worker process ends that is asked to: as any program does, but for what may hang."""

import atexit
import contextlib
import ctypes
import gc
import io
import sys

# What keeps back what was written to it. A text file writes to a buffered one, which comes later.
_WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def say_goodbye() -> None:
    """Do what a program does at its end: call `atexit` handlers, write what is left."""
    # The handler of `multiprocessing` would wait for those that are no daemons.
    if multiprocessing := sys.modules.get("multiprocessing"):
        for child in multiprocessing.active_children():
            child.kill()
    # Not all of the interpreter's own end, which waits for the threads that tasks have left.
    with contextlib.suppress(BaseException):  # it prints what a handler raises
        atexit._run_exitfuncs()
    flush_all()


def flush_streams() -> None:
    """Write what was printed so far."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # none, closed, or nobody reads it
            stream.flush()  # type: ignore[union-attr]


def flush_all() -> None:
    """Write what was written to any file, of Python or C, and is still in this process."""
    flush_streams()
    gc.unfreeze()  # else those that were open before the fork are not found
    # Not isinstance, which may run others' code.
    files = [each for each in gc.get_objects() if issubclass(type(each), _WRITERS)]
    for kind in _WRITERS:
        for each in files:
            if issubclass(type(each), kind):
                with contextlib.suppress(Exception):  # it is closed, say
                    each.flush()
    ctypes.CDLL(None).fflush(None)

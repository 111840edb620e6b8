"""How a worker process ends that is asked to: as any program does, but for what may hang."""

import atexit
import contextlib
import ctypes
import gc
import io
import sys
import weakref
from typing import Any

# What keeps back what was written to it. A text file writes to a buffered one, which comes later.
_WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


class Inheritance:
    """What there is before workers are forked: they share it as long as none looks at each object.

    So collections of garbage leave it alone, and it is known which files in it may keep something
    back. A worker that looked for those at its end would copy all of it, only to end then.
    """

    def __init__(self) -> None:
        self._files: list[weakref.ref[io.IOBase]] = []
        self._later: list[object] = []  # what is not frozen, unless a task has frozen more

    def add(self) -> None:
        """Add what has come up to now."""
        gc.collect()
        self._files += map(weakref.ref, _files_of(gc.get_objects()))
        gc.freeze()
        self._later = []

    def files(self) -> list[io.IOBase]:
        """All files of this process that may keep something back, its own included."""
        objects = gc.get_objects()
        if not any(each is self._later for each in objects):
            gc.unfreeze()
            objects = gc.get_objects()
        before = [file for each in self._files if (file := each()) is not None]
        return before + _files_of(objects)


def _files_of(objects: list[Any]) -> list[io.IOBase]:
    # Not isinstance, which may run others' code.
    return [each for each in objects if issubclass(type(each), _WRITERS)]


def say_goodbye(inherited: Inheritance) -> None:
    """Do what a program does at its end: call `atexit` handlers, write what is left.

    Args:
        inherited: what there was before this process was forked.
    """
    # The handler of `multiprocessing` would wait for those that are no daemons.
    if multiprocessing := sys.modules.get("multiprocessing"):
        for child in multiprocessing.active_children():
            child.kill()
    # Not all of the interpreter's own end, which waits for the threads that tasks have left.
    with contextlib.suppress(BaseException):  # it prints what a handler raises
        atexit._run_exitfuncs()
    _flush_all(inherited.files())


def flush_streams() -> None:
    """Write what was printed so far."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # none, closed, or nobody reads it
            stream.flush()  # type: ignore[union-attr]


def _flush_all(files: list[io.IOBase]) -> None:
    """Write what was written to any file, of Python or C, and is still in this process."""
    flush_streams()
    for kind in _WRITERS:
        for each in files:
            if issubclass(type(each), kind):
                with contextlib.suppress(Exception):  # it is closed, say
                    each.flush()
    ctypes.CDLL(None).fflush(None)

"""What all jobs of a process share and a task may change: put back after each job."""

import importlib
import locale
import os
import signal
import sys
from typing import Any

from heori_consumer.worker.interrupt import INTERRUPT

MOST_SIGNALS = 32  # below those for real time, which have no names
STANDARD = range(3)  # standard input, output and error
# What `signal.getsignal` asks, without making an enum of each answer: twenty times cheaper.
_handler_of = importlib.import_module("_signal").getsignal


class SharedState:
    """The state that a worker's jobs are to find, as it was when this was made.

    Args:
        handlers: whether those of signals belong to it, as jobs run in the main thread.
    """

    def __init__(self, *, handlers: bool = False) -> None:
        self._directory = os.getcwd()  # noqa: PTH109 - a microsecond matters here
        self._locale = locale.setlocale(locale.LC_ALL)
        self._umask = os.umask(0o77)  # reading it means setting it
        os.umask(self._umask)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._files = [file for file in STANDARD if _is_open(file)]
        self._recursion_limit = sys.getrecursionlimit()
        self._handlers: dict[int, Any] = {}
        if handlers:
            numbers = {*range(1, MOST_SIGNALS)} - {INTERRUPT}  # its handler is set by the first job
            every = {number: _handler_of(number) for number in numbers}
            self._handlers = {number: what for number, what in every.items() if what is not None}

    def restore(self) -> str | None:
        """Put everything back; returns what cannot be, as the reason for a new process.

        The environment is not put back: programs set it once, at the first job that needs it.
        """
        sys.setrecursionlimit(self._recursion_limit)
        for number, handler in self._handlers.items():
            if _handler_of(number) is not handler:
                signal.setitimer(signal.ITIMER_REAL, 0)  # else it would ring in another job
                signal.signal(number, handler)
        try:
            os.chdir(self._directory)
        except OSError:
            return f"the directory {self._directory} is gone"
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        os.umask(self._umask)
        sys.stdin, sys.stdout, sys.stderr = self._streams
        for stream in self._streams:
            if stream is not None and stream.closed:
                return "a task has closed its output"
        try:
            for file in self._files:
                os.get_inheritable(file)  # raises if it is closed; ten times cheaper than fstat
        except OSError:
            return "a task has closed its standard files"
        return None


def _is_open(file: int) -> bool:
    try:
        os.get_inheritable(file)
    except OSError:
        return False
    return True

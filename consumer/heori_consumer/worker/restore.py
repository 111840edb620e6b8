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
# What `locale.setlocale` asks, which looks first whether it is to set anything.
_locale = importlib.import_module("_locale").setlocale


class SharedState:
    """The state that a worker's jobs are to find, as it was when this was made.

    Args:
        handlers: whether those of signals belong to it, as jobs run in the main thread.
    """

    def __init__(self, *, handlers: bool = False) -> None:
        self._directory = os.getcwd()  # noqa: PTH109 - a microsecond matters here
        self._locale = _locale(locale.LC_ALL, None)
        self._umask = os.umask(0o77)  # reading it means setting it
        os.umask(self._umask)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._files = [file for file in STANDARD if _is_open(file)]
        self._recursion_limit = sys.getrecursionlimit()
        self._signals: list[int] = []
        if handlers:
            numbers = {*range(1, MOST_SIGNALS)} - {INTERRUPT}  # its handler is set by the first job
            self._signals = [number for number in numbers if _handler_of(number) is not None]
        self._handlers: list[Any] = [*map(_handler_of, self._signals)]

    def restore(self) -> str | None:
        """Put everything back; returns what cannot be, as the reason for a new process.

        The environment is not put back: programs set it once, at the first job that needs it.
        """
        sys.setrecursionlimit(self._recursion_limit)
        if [*map(_handler_of, self._signals)] != self._handlers:  # together, as few jobs change any
            self._restore_handlers()
        if not self._is_at_home():
            try:
                os.chdir(self._directory)
            except OSError:
                return f"the directory {self._directory} is gone"
        if _locale(locale.LC_ALL, None) != self._locale:
            _locale(locale.LC_ALL, self._locale)
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

    def _is_at_home(self) -> bool:
        try:
            return os.getcwd() == self._directory  # noqa: PTH109 - as above
        except OSError:  # where it is has been removed
            return False

    def _restore_handlers(self) -> None:
        for number, handler in zip(self._signals, self._handlers, strict=True):
            if _handler_of(number) is not handler:
                signal.setitimer(signal.ITIMER_REAL, 0)  # else it would ring in another job
                signal.signal(number, handler)


def _is_open(file: int) -> bool:
    try:
        os.get_inheritable(file)
    except OSError:
        return False
    return True

"""What all jobs of a process share and a task may change: put back after each job."""

import locale
import os
import sys


class Surroundings:
    """The state that a worker's jobs are to find, as it was when this was made."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._directory = os.getcwd()  # noqa: PTH109 - a microsecond matters here
        self._locale = locale.setlocale(locale.LC_ALL)
        self._umask = os.umask(0o77)  # reading it means setting it
        os.umask(self._umask)
        self._streams = sys.stdout, sys.stderr

    def restore(self) -> str | None:
        """Put everything back; returns what cannot be put back, as the reason for a new process.

        Ends the process if it is a copy that a task has forked and let return: it shares this
        worker's socket and holds copies of its jobs.
        """
        if os.getpid() != self._pid:
            os._exit(0)
        try:
            os.chdir(self._directory)
        except OSError:
            return f"the directory {self._directory} is gone"
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        os.umask(self._umask)
        sys.stdout, sys.stderr = self._streams
        if any(stream is not None and stream.closed for stream in self._streams):
            return "a task has closed its output"
        return None

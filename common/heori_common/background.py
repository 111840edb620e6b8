"""Threads that work behind a program, and what wakes them.

The exception that ends a job may strike its thread at any moment, and so inside the code that it
shares with these threads. That code stands on the locks of `given_back` alone, which `with` always
gives back: a `threading.Condition`, and all that is built on it, is written in Python, and stays
locked for ever when whoever uses it is struck at the wrong moment.
"""

import _thread
import contextlib
import threading
from collections.abc import Callable


class Bell:
    """Wakes the one thread that waits for it. Rung twice before it is heard, it is heard once."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """End the wait, or the next one; from any thread."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silence.release()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, for so long at most."""
        self._silence.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))


class BackgroundThread:
    """A daemon thread that begins with its first use, and anew should it ever have ended.

    Args:
        run: what it does, for ever.
    """

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._run = run
        self._name = name
        self._running = threading.Lock()  # held by the thread

    def begin(self) -> None:
        """See to it that it runs, soon.

        Raises:
            RuntimeError: no thread can be started.
        """
        if not self._running.locked():
            start_thread(self._run_alone, self._name)

    def join(self) -> None:
        """Wait for its end."""
        with self._running:
            pass

    def _run_alone(self) -> None:
        if self._running.acquire(blocking=False):  # else two have begun it at once
            try:
                self._run()
            finally:
                self._running.release()


def start_thread(run: Callable[[], object], name: str) -> None:
    """Have a daemon thread run this, and do not wait until it does.

    What is thrown into a thread that starts another one strikes that one, if it has not begun yet
    (CPython 3.11: until then it goes by the other's number). `Thread.start` waits for it for ever
    then. So it is called by a thread into which nobody throws.

    Raises:
        RuntimeError: no thread can be started.
    """
    _thread.start_new_thread(_start, (run, name))


def _start(run: Callable[[], object], name: str) -> None:
    with contextlib.suppress(RuntimeError):  # there is no other to be had just now
        threading.Thread(target=run, name=name, daemon=True).start()

"""That a consumer is to stop."""

import asyncio
import time

# What repeats a request sooner is one request: `timeout` and some init systems send SIGTERM to a
# process and to its group, so that it arrives twice at once. A person takes longer.
SAME_REQUEST_S = 0.25


class StopRequest:
    """Whether the consumer is to stop, and how soon.

    Attributes:
        drain: set when it is to drain.
        at_once: set when it is to stop without waiting for what runs.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()
        self._asked: float | None = None  # time.monotonic()

    def ask(self) -> None:
        """Ask it to drain; if that was asked before, to stop at once."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now - self._asked > SAME_REQUEST_S:
            self.at_once.set()
        self.drain.set()

    def ask_at_once(self) -> None:
        """Ask it to stop without waiting for what runs."""
        self.at_once.set()
        self.drain.set()

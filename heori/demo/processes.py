"""The processes that a demonstration starts: each in a session of its own, ended in good order.

So Ctrl-C in the terminal reaches the one that has started them alone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

BY_SIGNAL = 128  # exit code of what a signal has ended: this and the signal's number

# All in seconds.
START = 60.0  # for a child to say that it is there
DRAIN = 35.0  # for a child to end in good order: longer than a consumer's grace
HURRY = 5.0  # for a child to end when something has gone wrong


class ChildFailed(RuntimeError):
    """A process of the run has ended by itself, or does not answer; the message says why."""


class Interrupted(Exception):
    """A signal came before all processes were there."""


@dataclass(slots=True)
class Interrupt:
    """Whether a signal has asked to stop."""

    number: int = 0  # the signal's


class Child:
    """A process of the run; leaving its ``with`` block ends it, one way or the other.

    It reports in JSON, one line at a time; other lines are kept for the message if it fails. It
    ends when its standard input does.

    Attributes:
        report: its last report; None before the first.
    """

    def __init__(self, name: str, module: str, *arguments: str, **environment: str) -> None:
        # Settings of the user's are for their own server and tasks.
        own = {k: v for k, v in os.environ.items() if not k.startswith(("HEORI_", "RQ_"))}
        self.report: Any = None
        self._name = name
        self._last: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**own, **environment},
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()

    def is_report(self, record: Any) -> bool:
        """Whether this is something for `report`."""
        return record is not None

    def first_report(self, interrupt: Interrupt) -> Any:
        """Wait for its first report.

        Raises:
            ChildFailed: it ends, or takes longer than START.
            Interrupted: a signal came first.
        """
        deadline = time.monotonic() + START
        while self.report is None:
            self.check_alive()
            if interrupt.number:
                raise Interrupted
            if time.monotonic() > deadline:
                raise ChildFailed(f"the {self._name} did not start within {START:.0f} s")
            time.sleep(0.02)
        return self.report

    def check_alive(self, patience: float = 0.0) -> None:
        """See that it is there.

        Args:
            patience: seconds to look for, as a process that dies is deaf before it is gone.

        Raises:
            ChildFailed: it is not.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        code = self._process.poll()
        if code is not None:
            self._reader.join(1.0)
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            lines = "".join(f"\n  {line}" for line in self._last)
            raise ChildFailed(f"the {self._name} has ended {how}{lines and ', saying:'}{lines}")

    @property
    def finished(self) -> bool:
        """Whether it has done all it was to do, and `report` is its last word.

        Raises:
            ChildFailed: it has ended in another way.
        """
        code = self._process.poll()
        if code == 0:
            self._reader.join()
        elif code is not None:
            self.check_alive()
        return code == 0

    def ask_to_end(self) -> None:
        """Have it end in good order; asking twice does no harm."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def end(self, within: float) -> None:
        """Have it end, and kill it with all its processes if it has not in so many seconds."""
        self.ask_to_end()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(DRAIN if kind is None else HURRY)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    record = None
                if self.is_report(record):
                    self.report = record
                else:
                    self._last.append(line.rstrip())


class ConsumerChild(Child):
    """A consumer: it writes a log, and drains on SIGTERM.

    Args:
        arguments: of `heori consume`.
        tasks: the module of those it runs.
    """

    def __init__(self, name: str, *arguments: str, redis_url: str, tasks: str) -> None:
        super().__init__(
            name,
            "heori.demo.consumer",
            *("consume", *arguments),
            HEORI_REDIS_URL=redis_url,
            HEORI_TASKS=tasks,
            HEORI_METRICS_PORT="0",
        )

    def is_report(self, record: Any) -> bool:
        return isinstance(record, dict) and record.get("event") == "consuming"

    def ask_to_end(self) -> None:
        self._process.terminate()  # the end of its standard input would be the end of its jobs


@contextmanager
def signals() -> Iterator[Interrupt]:
    """Note what asks this process to stop, so that it does so in order."""
    interrupt = Interrupt()

    def note(number: int, _: object) -> None:
        interrupt.number = number

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""A consumer in a process of its own, for the length of a test."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from heori_common import platform

MODELS = ("threads", "processes", "hybrid", "asyncio", "auto", "inline")

STOP_TIMEOUT = 60.0  # seconds


class ConsumerFailed(RuntimeError):
    """The consumer did not begin, or ended otherwise than it was asked to; its log says why."""


class RunningConsumer:
    """The real command, `heori consume`; it takes jobs as soon as this is made.

    Args:
        arguments: of the command.
        environment: that it has beside this process's own.

    Attributes:
        log: the lines that it has logged so far.

    Raises:
        ConsumerFailed: it did not begin.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.log: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heori", "consume", *arguments],
            # It imports what this process can import: pytest puts folders of tests on its path.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=platform.end_with(os.getpid()),  # noqa: PLW1509 - it only asks the kernel
        )
        self._is_ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._is_ready.wait()
        if self._process.poll() is not None:
            self._reader.join()
            raise ConsumerFailed("the consumer did not begin:\n" + "\n".join(self.log))

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self.log.append(line.rstrip())
                if '"event":"consuming"' in line.replace(" ", ""):
                    self._is_ready.set()
        self._process.wait()
        self._is_ready.set()

    def stop(self) -> None:
        """Let it finish what it runs, give back what it has not begun, and end.

        Raises:
            ConsumerFailed: it did not end well, or not within 60 s, and was killed.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code: int | str = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = "none: it was killed"
        self._reader.join()
        if code != 0:
            raise ConsumerFailed(f"the consumer's exit code is {code}:\n" + "\n".join(self.log))

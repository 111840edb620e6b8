"""Where a worker runs: in a process of its own, or in the supervisor's, for debugging."""

import abc
import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from types import ModuleType
from typing import NamedTuple

import psutil

from heori_common.platform import peak_memory
from heori_consumer.between.entry import Ends, run_inline, run_process
from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.pool.output import Output


class Death(NamedTuple):
    """How a worker came to its end."""

    reason: str  # for a metric's label
    words: str  # for people, after "the worker"
    evidence: dict[str, str | int]  # for the hash of a job that it had


class Host(abc.ABC):
    """What a worker runs in.

    Attributes:
        process: its process, if it has one of its own; it is sure which process it kills.
        exited: done when it is no more.
        peak_memory: the most bytes that it was seen to have, for the evidence of its death.
    """

    def __init__(self) -> None:
        self.process: psutil.Process | None = None
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.peak_memory = 0

    @abc.abstractmethod
    def kill(self) -> None:
        """End it, whatever it is doing."""

    @abc.abstractmethod
    def death(self, killed_for: str | None) -> Death:
        """How it ended; it has.

        Args:
            killed_for: why it had to be killed, if it had: stop or timeout of a job.
        """

    @abc.abstractmethod
    async def connect(self) -> None:
        """Begin to watch it."""

    @abc.abstractmethod
    async def said_all(self) -> None:
        """Wait until everything that it had written has been read."""

    async def reap(self) -> None:
        """Wait for its end and let everything go that belongs to it."""
        await self.exited

    def memory(self) -> int:
        """The bytes that it has in memory; 0 when there is no telling."""
        return 0


class ProcessHost(Host):
    """A process of its own, as all workers have but those for debugging."""

    def __init__(
        self,
        name: str,
        context: ForkServerContext,
        link: socket.socket,
        options: WorkerOptions,
        table: SlotTable,
    ) -> None:
        super().__init__()
        self._output = Output()
        self._stderr, their_stderr = socket.socketpair()
        with their_stderr:
            self._started = context.Process(
                target=run_process,
                args=(Ends(link, their_stderr), options, table),
                name=f"heori-worker-{name}",
            )
            with _without_main():
                self._started.start()
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have been killed already
            self.process = psutil.Process(self._started.pid)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._started.sentinel, self._on_exit)
        self._stderr.setblocking(False)
        await loop.create_connection(lambda: self._output, sock=self._stderr)

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._started.sentinel)
        self.exited.set_result(None)

    async def said_all(self) -> None:
        await asyncio.shield(self._output.closed)

    async def reap(self) -> None:
        await asyncio.to_thread(self._started.join)
        # Before its number is free: a reader of a closed file would shadow that of the next one.
        asyncio.get_running_loop().remove_reader(self._started.sentinel)
        self._output.close()
        self._started.close()

    def kill(self) -> None:
        """End the process, if it is still this one that has its number."""
        if self.process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.process.kill()

    def memory(self) -> int:
        if self.process is None:
            return 0
        try:
            now = int(self.process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0
        self.peak_memory = max(self.peak_memory, now, peak_memory(self.process.pid))
        return now

    def death(self, killed_for: str | None) -> Death:
        self._started.join(0)
        code = self._started.exitcode
        evidence: dict[str, str | int] = {}
        if self.peak_memory:
            evidence["heori_peak_memory"] = self.peak_memory
        if last := self._output.last_lines:
            evidence["heori_last_log"] = last
        if killed_for is not None:
            return Death(killed_for, "was killed for the sake of another job", evidence)
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                evidence["heori_death_signal"] = name
                return Death(name, f"died of signal {-code} ({name})", evidence)
        evidence["heori_exit_code"] = -1 if code is None else code
        return Death(f"exit {code}", f"ended with exit code {code}", evidence)


class InlineHost(Host):
    """A thread of the supervisor itself, where a debugger and print() reach its tasks.

    It cannot be killed: a job that no exception reaches is left behind, and goes on.
    """

    def __init__(
        self, name: str, link: socket.socket, options: WorkerOptions, table: SlotTable
    ) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self._link = link.dup()
        self._link.setblocking(True)

        def run() -> None:
            with self._link:
                run_inline(self._link, options, table)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self._on_exit)

        threading.Thread(target=run, name=f"worker-{name}", daemon=True).start()

    async def connect(self) -> None:
        """Its end is told by its thread."""

    async def said_all(self) -> None:
        """It writes to the supervisor's standard error."""

    def _on_exit(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, and closed the socket
            self._link.shutdown(socket.SHUT_RDWR)

    def death(self, killed_for: str | None) -> Death:
        return Death(killed_for or "left", "was left behind", {})


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the program that the supervisor was started by.

    multiprocessing would run the command line's or the test runner's ``__main__`` again in
    every worker, for pickled classes that might live there. Ours do not.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

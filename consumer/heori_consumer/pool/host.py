"""Where a worker runs: in a process of its own, or in the supervisor's, for debugging."""

import abc
import asyncio
import contextlib
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from heori_common import logs
from heori_common.platform import cgroups, oom_counter, oom_kills, open_files, peak_memory
from heori_consumer.between import family
from heori_consumer.between.entry import Files, run_inline
from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.pool.forkserver import Forked, Forkserver
from heori_consumer.pool.output import Output, open_channels

log = logs.get_logger(__name__)

OOM_KILLED = "was killed by the kernel, as memory had run out (an OOM kill)"
# For what a worker had written to be read, once it has ended. A program that has left its family,
# where that is possible, may keep the channel open for ever.
LAST_WORDS_S = 0.2
# Until it is tried again to start a process where the system could not.
TRY_AGAIN_S = 1.0


class Death(NamedTuple):
    """How a worker came to its end."""

    reason: str  # for a metric's label
    words: str  # for people, after "the worker"
    evidence: dict[str, str | int]  # for the hash of a job that it had


class Host(abc.ABC):
    """What a worker runs in.

    Attributes:
        process: its process, if it has one of its own and has begun; it is sure which process it
            kills.
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

    @property
    @abc.abstractmethod
    def begun(self) -> bool:
        """Whether there is something whose end can be waited for."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Have it begin, and watch it."""

    @abc.abstractmethod
    async def said_all(self) -> None:
        """Wait until everything that it had written has been read."""

    @abc.abstractmethod
    async def reap(self) -> None:
        """Wait for its end, if it has begun, and let everything go that belongs to it."""

    def memory(self) -> int:
        """The bytes that it has in memory; 0 when there is no telling."""
        return 0

    def files(self) -> int:
        """How many files it has open; 0 when there is no telling."""
        return 0

    def threads(self) -> int:
        """How many threads it has; 0 when there is no telling."""
        return 0


class ProcessHost(Host):
    """A process of its own, as all workers have but those for debugging."""

    def __init__(
        self, forkserver: Forkserver, link: socket.socket, options: WorkerOptions, table: int
    ) -> None:
        super().__init__()
        self._forkserver = forkserver
        self._options = options
        ours, (stdout, stderr) = open_channels()
        self._output = Output(ours)
        self._theirs = Files(link.detach(), stdout.detach(), stderr.detach(), table)
        self._child: Forked | None = None
        self._oom_counter: Path | None = None
        # That it had counted at the last two looks; at the last one this process may have been
        # dying already.
        self._oom_kills = (0, 0)

    @property
    def begun(self) -> bool:
        return self._child is not None

    async def start(self) -> None:
        try:
            self._child = await self._fork()
        finally:
            for file in self._theirs:
                os.close(file)
        self.process = self._child.process
        if self.process is not None:
            self._oom_counter = oom_counter(cgroups(self.process.pid))
            self._oom_kills = 2 * (self._count_oom_kills(),)
        self._child.ended.add_done_callback(lambda _: self.exited.set_result(None))
        await self._output.connect()

    async def _fork(self) -> Forked:
        told = ""
        while True:
            try:
                return await self._forkserver.fork(self._theirs, pickle.dumps(self._options))
            except OSError as error:  # there are too many processes or files, or no memory
                if told != (told := str(error)):
                    log.error("a worker cannot be started; trying again", reason=told)
                await asyncio.sleep(TRY_AGAIN_S)

    async def said_all(self) -> None:
        await self._output.closed()

    async def reap(self) -> None:
        if self._child is not None:
            await asyncio.wait([self._child.ended])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.said_all(), LAST_WORDS_S)
        self._output.close()

    def kill(self) -> None:
        """End the process, if it is still this one that has its number."""
        if self.process is not None:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                try:
                    self.process.kill()
                except OSError:  # no file is left to see that it still is this one
                    if self._child is not None and not self._child.ended.done():
                        os.kill(self.process.pid, signal.SIGKILL)

    def memory(self) -> int:
        if self.process is None:
            return 0
        try:
            now = int(self.process.memory_info().rss)
        except (psutil.Error, OSError):  # it has ended; or no descriptor is left to look with
            return 0
        self.peak_memory = max(self.peak_memory, now, peak_memory(self.process.pid))
        if now:  # else it has ended, and is to be buried
            self._oom_kills = (self._oom_kills[1], self._count_oom_kills())
        return now

    def files(self) -> int:
        if self.process is None:
            return 0
        with contextlib.suppress(psutil.Error, OSError):
            return open_files(self.process.pid) or int(self.process.num_fds())
        return 0

    def threads(self) -> int:
        with contextlib.suppress(psutil.Error, OSError):
            return int(self.process.num_threads()) if self.process else 0
        return 0

    def _count_oom_kills(self) -> int:
        """How many processes of its cgroup the kernel has killed so far."""
        return oom_kills(self._oom_counter) if self._oom_counter else 0

    def death(self, killed_for: str | None) -> Death:
        assert self._child is not None
        code, peak = self._child.ended.result()
        evidence: dict[str, str | int] = {}
        if peak := max(peak, self.peak_memory):
            evidence["heori_peak_memory"] = peak
        if last := self._output.last_lines:
            evidence["heori_last_log"] = last
        if killed_for is not None:
            return Death(killed_for, "was killed for the sake of another job", evidence)
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                evidence["heori_death_signal"] = name
                if name == "SIGKILL" and self._count_oom_kills() > self._oom_kills[0]:
                    evidence["heori_oom_kill"] = "told by its cgroup"
                    return Death("OOM kill", OOM_KILLED, evidence)
                return Death(name, f"died of signal {-code} ({name})", evidence)
        if code is None:
            return Death("unknown", "ended, and what would have told how had been killed", evidence)
        evidence["heori_exit_code"] = code
        return Death(f"exit {code}", f"ended with exit code {code}", evidence)


class InlineHost(Host):
    """A thread of the supervisor itself, where a debugger and print() reach its tasks.

    It cannot be killed: a job that no exception reaches is left behind, and goes on. What its jobs
    have started ends with it, unless the process is another program's.
    """

    def __init__(
        self,
        name: str,
        link: socket.socket,
        options: WorkerOptions,
        table: SlotTable,
        call: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            call: has a thread of another program call something; None for a thread of its own.
        """
        super().__init__()
        loop = asyncio.get_running_loop()
        self._link = link
        self._link.setblocking(True)
        self._family = family.new()
        self._call = call
        self._called = False

        def run() -> None:
            with self._link:
                run_inline(self._link, options, table)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self._on_exit)

        self._run = run
        self._name = name

    @property
    def begun(self) -> bool:
        return self._called

    async def start(self) -> None:
        self._called = True
        if self._call is not None:
            self._call(self._run)
            return
        family.join(self._family)
        threading.Thread(target=self._run, name=f"worker-{self._name}", daemon=True).start()

    async def said_all(self) -> None:
        """It writes to the supervisor's own output."""

    async def reap(self) -> None:
        if self.begun:
            await self.exited
            if self._call is None:
                family.end_others(self._family)

    def _on_exit(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, and closed the socket
            self._link.shutdown(socket.SHUT_RDWR)

    def death(self, killed_for: str | None) -> Death:
        return Death(killed_for or "left", "was left behind", {})

"""The supervisor's end of one worker: what it was sent, what it has said, how it died."""

import abc
import asyncio
import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from types import ModuleType
from typing import Any, NamedTuple

import psutil

from heori_common.locks.statistics import Statistics
from heori_common.platform import peak_memory
from heori_common.protocol.job import Claim
from heori_consumer.between.entry import Ends, run_inline, run_process
from heori_consumer.between.frames import JOBS, LOOK, LOST, RECALL, STOP, pack, unpacker
from heori_consumer.between.options import WorkerOptions
from heori_consumer.between.outcome import Totals
from heori_consumer.between.slot_table import SlotTable
from heori_consumer.gil.states import GilFutex, Tally
from heori_consumer.pool.output import Output


class Death(NamedTuple):
    """How a worker came to its end."""

    reason: str  # for a metric's label
    words: str  # for people, after "the worker"
    evidence: dict[str, str | int]  # for the hash of a job that it had


class WorkerHandle(asyncio.Protocol, abc.ABC):
    """One worker, from being started to being buried.

    Attributes:
        name: for people; the number of its place, or what it was started for.
        claims: what it holds, by number, in the order in which it was sent.
        tasks: the names of those it has run, by the numbers in its slot table.
        finished: how many jobs it has ended.
        gil: how its threads that wait for the GIL are known, if they are.
        seen: what it has seen of its own threads, if it was asked to; None if it cannot.
        peak_memory: the most bytes that it was seen to have, for the evidence of its death.
        ready: whether it has imported the tasks.
        stalled: whether jobs waited in it behind long ones when last looked at.
        worn: whether a task has left it so that no other is to run in it.
        stopping: whether it is to end: no more jobs, no successor.
        late: the number of the job that it is being killed for, if it is.
        ending: the jobs that were asked to stop, and time.monotonic() of that.
        heard, recalled: time.monotonic() when it last said something, and was last asked for
            what it has not begun.
        totals, locks: what it has counted: of its tasks, and of the locks that they took.
        handle: its process, if it has one of its own; sure whom it kills.
        closed: done when all that it had sent has been read.
        exited: done when it is no more.
    """

    def __init__(
        self,
        name: str,
        context: ForkServerContext,
        options: WorkerOptions,
        on_frame: Callable[["WorkerHandle", list[Any]], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.table = SlotTable(context, options.slots)
        self.claims: dict[int, Claim] = {}
        self.tasks: dict[int, str] = {}
        self.finished = 0
        self.gil: GilFutex | None = None
        self.seen: Tally | None = Tally()
        self.peak_memory = 0
        self.ready = False
        self.stalled = False
        self.worn = False
        self.stopping = False
        self.late: int | None = None
        self.ending: dict[int, float] = {}
        self.heard = self.recalled = time.monotonic()
        self.handle: psutil.Process | None = None
        self.totals: Totals = {}
        self.locks = Statistics()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self._on_frame = on_frame
        self._sent = 0
        self._frames = unpacker()
        self._transport: asyncio.Transport | None = None
        self._unwritten = b""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._start(theirs, context, options)

    @abc.abstractmethod
    def _start(
        self, theirs: socket.socket, context: ForkServerContext, options: WorkerOptions
    ) -> None:
        """Start it, with the other end of the socket."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End it, whatever it is doing."""

    @abc.abstractmethod
    def death(self) -> Death:
        """How it ended; it has."""

    async def connect(self) -> None:
        """Begin to listen to it."""
        self._socket.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    async def said_all(self) -> None:
        """Wait until everything that it had sent has been read."""
        await asyncio.shield(self.closed)

    async def reap(self) -> None:
        """Wait for its end and let everything go that belongs to it."""
        await self.exited

    def memory(self) -> int:
        """The bytes that it has in memory; 0 when there is no telling."""
        return 0

    def send_jobs(self, claims: Sequence[Claim]) -> None:
        """Send jobs to its inbox."""
        jobs = []
        for claim in claims:
            self._sent += 1
            self.claims[self._sent] = claim
            jobs.append(
                [
                    self._sent,
                    claim.job_id,
                    claim.queue,
                    claim.deliveries,
                    claim.claimed_at,
                    claim.problem,
                    claim.values,
                    [fence for _, fence in claim.locks],
                ]
            )
        if len(self.claims) == len(jobs):
            self.heard = time.monotonic()  # it was idle until now, not silent
        self._write([JOBS, jobs])

    def recall(self) -> None:
        """Ask back what no slot has taken yet."""
        self._write([RECALL])

    def stop_job(self, number: int) -> None:
        """Ask it to end a job that runs."""
        self.ending.setdefault(number, time.monotonic())
        self._write([STOP, number])

    def lease_lost(self, numbers: Sequence[int]) -> None:
        """Tell the jobs of those numbers that they have lost their lease."""
        self._write([LOST, numbers])

    def look_inside(self) -> None:
        """Ask it to sample its own threads."""
        self._write([LOOK])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._unwritten)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        for frame in self._frames:
            self._on_frame(self, frame)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if not self.stopping:
            self.kill()  # it cannot be spoken to any more: a task has closed its files, say

    def close(self) -> None:
        """Close the socket: the worker takes it as its end."""
        self.stopping = True
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()

    def _write(self, frame: list[Any]) -> None:
        packed = pack(frame)
        if self._transport is None:
            self._unwritten += packed  # it is not connected yet
        elif not self._transport.is_closing():
            self._transport.write(packed)


class ProcessHandle(WorkerHandle):
    """A worker in a process of its own, as all but those for debugging are."""

    def _start(
        self, theirs: socket.socket, context: ForkServerContext, options: WorkerOptions
    ) -> None:
        self.output = Output()
        self._stderr, their_stderr = socket.socketpair()
        with their_stderr:
            self.process = context.Process(
                target=run_process,
                args=(Ends(theirs, their_stderr), options, self.table),
                name=f"heori-worker-{self.name}",
            )
            with _without_main():
                self.process.start()
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have been killed already
            self.handle = psutil.Process(self.process.pid)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self.process.sentinel, self._on_exit)
        self._stderr.setblocking(False)
        await loop.create_connection(lambda: self.output, sock=self._stderr)
        await super().connect()

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self.process.sentinel)
        self.exited.set_result(None)

    async def said_all(self) -> None:
        await super().said_all()
        await asyncio.shield(self.output.closed)

    async def reap(self) -> None:
        await asyncio.to_thread(self.process.join)
        # Before its number is free: a reader of a closed file would shadow that of the next one.
        asyncio.get_running_loop().remove_reader(self.process.sentinel)
        self.output.close()
        self.process.close()

    def kill(self) -> None:
        """End the process, if it is still this one that has its number."""
        if self.handle is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.handle.kill()

    def memory(self) -> int:
        if self.handle is None:
            return 0
        try:
            now = int(self.handle.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0
        self.peak_memory = max(self.peak_memory, now, peak_memory(self.handle.pid))
        return now

    def death(self) -> Death:
        self.process.join(0)
        code = self.process.exitcode
        evidence: dict[str, str | int] = {}
        if self.peak_memory:
            evidence["heori_peak_memory"] = self.peak_memory
        if last := self.output.last_lines:
            evidence["heori_last_log"] = last
        if self.late is not None:
            reason = "stop" if self.late in self.ending else "timeout"
            return Death(reason, "was killed for the sake of another job", evidence)
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                evidence["heori_death_signal"] = name
                return Death(name, f"died of signal {-code} ({name})", evidence)
        evidence["heori_exit_code"] = -1 if code is None else code
        return Death(f"exit {code}", f"ended with exit code {code}", evidence)


class InlineHandle(WorkerHandle):
    """A worker in threads of the supervisor itself, where a debugger and print() reach it.

    It cannot be killed: a job that no exception reaches is left behind, and goes on.
    """

    def _start(
        self,
        theirs: socket.socket,
        context: ForkServerContext,  # noqa: ARG002 - it needs no process
        options: WorkerOptions,
    ) -> None:
        loop = asyncio.get_running_loop()
        link = theirs.dup()
        link.setblocking(True)

        def run() -> None:
            with link:
                run_inline(link, options, self.table)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self._on_exit)

        threading.Thread(target=run, name=f"worker-{self.name}", daemon=True).start()

    def _on_exit(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)

    def kill(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def death(self) -> Death:
        return Death("timeout" if self.late is not None else "left", "was left behind", {})


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

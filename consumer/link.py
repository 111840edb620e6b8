"""The supervisor's end of one worker process: what it was sent, what it has said, how it died."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerContext
from types import ModuleType
from typing import Any

import psutil

from common.protocol.job import Claim
from consumer import worker as worker_process
from consumer.slot_table import SlotTable
from consumer.totals import Totals
from consumer.worker import JOBS, RECALL, WorkerOptions


class Worker(asyncio.Protocol):
    """One worker process, from being started to being buried.

    Attributes:
        name: for people; the number of its place, or what it was started for.
        claims: what it holds, by number, in the order in which it was sent.
        ready: whether it has imported the tasks.
        stalled: whether jobs waited in it behind long ones when last looked at.
        stopping: whether it is to end: no more jobs, no successor.
        late: the number of the job that it is being killed for, if it is.
        heard, recalled: time.monotonic() when it last said something, and was last asked for
            what it has not begun.
        closed: done when all that it had sent has been read.
    """

    def __init__(
        self,
        name: str,
        context: ForkServerContext,
        options: WorkerOptions,
        on_frame: Callable[["Worker", list[Any]], None],
    ) -> None:
        self.name = name
        self.table = SlotTable(context, options.slots)
        self.claims: dict[int, Claim] = {}
        self.ready = False
        self.stalled = False
        self.stopping = False
        self.late: int | None = None
        self.heard = self.recalled = time.monotonic()
        self.totals: Totals = {}
        self.closed = asyncio.get_running_loop().create_future()
        self._on_frame = on_frame
        self._sent = 0
        self._frames = worker_process.unpacker()
        self._transport: asyncio.Transport | None = None
        self._unwritten = b""
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = context.Process(
                target=worker_process.main,
                args=(theirs, options, self.table),
                name=f"heori-worker-{name}",
            )
            with _without_main():
                self.process.start()
        self.handle: psutil.Process | None = None  # the same, and sure whom it kills
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have been killed already
            self.handle = psutil.Process(self.process.pid)

    async def connect(self) -> None:
        """Begin to listen to it."""
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        await loop.create_connection(lambda: self, sock=self._socket)

    def send_jobs(self, claims: Sequence[Claim]) -> None:
        """Send jobs to its inbox."""
        jobs = []
        for claim in claims:
            self._sent += 1
            self.claims[self._sent] = claim
            jobs.append([self._sent, claim.job_id, claim.claimed_at, claim.problem, claim.values])
        if len(self.claims) == len(jobs):
            self.heard = time.monotonic()  # it was idle until now, not silent
        self._write([JOBS, jobs])

    def recall(self) -> None:
        """Ask back what no slot has taken yet."""
        self._write([RECALL])

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

    def kill(self) -> None:
        """End the process, if it is still this one that has its number."""
        if self.handle is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self.handle.kill()

    def close(self) -> None:
        """Close the socket: the worker process takes it as its end."""
        self.stopping = True
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()

    def _write(self, frame: list[Any]) -> None:
        packed = worker_process.pack(frame)
        if self._transport is None:
            self._unwritten += packed  # it is not connected yet
        elif not self._transport.is_closing():
            self._transport.write(packed)

    def cause_of_death(self) -> tuple[str, str]:
        """Why it died: for a metric's label, and in words."""
        self.process.join(0)
        code = self.process.exitcode
        if self.late is not None:
            return "timeout", "was killed for another job's timeout"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                return name, f"died of signal {-code} ({name})"
        return f"exit {code}", f"ended with exit code {code}"


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

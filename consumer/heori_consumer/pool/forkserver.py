"""The supervisor's end of the forkserver: has it start workers, and hears how they end."""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from heori_common import logs
from heori_consumer.between import family
from heori_consumer.between.entry import REPLY, REQUEST, STARTED
from heori_consumer.pool.output import Output
from heori_consumer.pool.zygote import Zygote, start

log = logs.get_logger(__name__)

# How often it is started again while it dies before it has started anything.
TRIES = 3
# How long it may take to bury all that it has started, and to end, in seconds.
END_S = 1.0
# How often workers that have no forkserver any more are looked for.
LOOK_EVERY_S = 0.05


class ForkserverBroken(RuntimeError):
    """No worker can be started, as what starts them dies each time; the message says how."""


class End(NamedTuple):
    """How a process has ended; nobody knows if the forkserver was killed before.

    Attributes:
        code: its exit code, or the negative number of the signal that ended it; None if unknown.
        peak_memory: the most that it ever had in memory, in bytes; 0 if unknown.
    """

    code: int | None = None
    peak_memory: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Forked:
    """A process that it has started.

    Attributes:
        process: the process; None if it ended at once.
        family: the mark of all that it starts.
        ended: how, when it has ended, and its family with it.
    """

    process: psutil.Process | None
    family: int
    ended: "asyncio.Future[End]"


class Forkserver:
    """A process that starts workers; if it dies, they go on, and another one starts the next.

    Args:
        first: the first of them, if there is one already.
        renews: whether another one can be started in its place.
    """

    def __init__(self, first: Zygote | None = None, *, renews: bool = True) -> None:
        self._first = first
        self._renews = renews
        self._process: subprocess.Popen[bytes] | psutil.Process | None = None
        self._control: socket.socket | None = None
        self._one_by_one = asyncio.Lock()
        self._asked: deque[asyncio.Future[Forked]] = deque()  # for workers that have not begun yet
        self._children: dict[int, Forked] = {}
        self._libraries: list[str] = []
        self._unread = b""
        self._beside: set[asyncio.Task[None]] = set()  # reads and watches what it has started

    async def fork(self, files: Sequence[int], options: bytes) -> Forked:
        """Start a worker.

        Args:
            files: what connects it, as in `entry.Files`; they stay open here.
            options: its options, pickled.

        Raises:
            OSError: the system cannot start a process now.
            ForkserverBroken: nothing can be started.
        """
        async with self._one_by_one:  # so that requests never fill the socket
            for _ in range(TRIES):
                control = self._control or self._begin()
                asked: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
                self._asked.append(asked)
                self._send(control, options, files)
                with contextlib.suppress(ConnectionError):
                    return await asked
        raise ForkserverBroken("no worker can be started: the process that forks them dies")

    def preload(self, libraries: list[str]) -> None:
        """Have it import modules, for the workers that it will start."""
        self._libraries = libraries
        if self._control is not None:
            self._send(self._control, pickle.dumps(libraries), ())

    def owns(self, pid: int) -> bool:
        """Whether this waits for the end of that process."""
        return pid in self._children or (self._process is not None and pid == self._process.pid)

    async def close(self) -> None:
        """End it, and with it all that it has started and that has not been killed yet."""
        if self._first is not None:
            self._begin()
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._control = None
            await asyncio.to_thread(self._reap)
        if self._beside:
            await asyncio.wait(self._beside, timeout=END_S)
        for task in self._beside:
            task.cancel()
        for pid, child in self._children.items():  # that it had no time for; they are killed
            family.end(child.family, pid)
            child.ended.set_result(End())
        self._children.clear()

    def _begin(self) -> socket.socket:
        zygote, self._first = self._first, None
        if zygote is None:
            if not self._renews:
                raise ForkserverBroken(
                    "no worker can be started: the process that forks them has died"
                )
            zygote = start()
        self._process = zygote.process
        self._control = control = zygote.control
        asyncio.get_running_loop().add_reader(control, self._read, control)
        if zygote.output is not None:
            self._keep(Output(zygote.output).pass_on())
        if self._libraries:
            self._send(control, pickle.dumps(self._libraries), ())
        return control

    def _send(self, control: socket.socket, pickled: bytes, files: Sequence[int]) -> None:
        with contextlib.suppress(ConnectionError):  # it has just died, which will be read, too
            socket.send_fds(control, [REQUEST.pack(len(pickled)) + pickled], files)

    def _read(self, control: socket.socket) -> None:
        try:
            received = control.recv(1 << 16)
        except ConnectionError:
            received = b""
        if not received:
            self._lost(control)
            return
        self._unread += received
        whole = len(self._unread) - len(self._unread) % REPLY.size
        replies, self._unread = self._unread[:whole], self._unread[whole:]
        for pid, status, number in REPLY.iter_unpack(replies):
            if status == STARTED:
                self._begun(pid, number)
            else:
                code = os.waitstatus_to_exitcode(status)
                self._children.pop(pid).ended.set_result(End(code, number))

    def _begun(self, pid: int, mark: int) -> None:
        asked = self._asked.popleft()
        if pid <= 0:
            if not asked.done():
                asked.set_exception(OSError(-pid, os.strerror(-pid)))
            return
        process, error = None, None
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            pass  # it has been killed already
        except OSError as unseen:  # no file is left to look at it, and nobody could kill it
            error = unseen
            os.kill(pid, signal.SIGKILL)  # the forkserver has not told that it has ended
        child = Forked(process, mark, asyncio.get_running_loop().create_future())
        self._children[pid] = child
        if asked.done():
            return  # nobody waits for it any more
        if error is None:
            asked.set_result(child)  # not its number: it may have ended before that is read
        else:
            asked.set_exception(error)

    def _lost(self, control: socket.socket) -> None:
        """It has died: its workers have not, and who waits for another one asks again."""
        asyncio.get_running_loop().remove_reader(control)
        control.close()
        code = self._reap()
        self._control, self._unread = None, b""
        log.error("the process that forks the workers has died; they go on", exit_code=code)
        children, self._children = self._children, {}
        for pid, child in children.items():
            self._keep(_watch(pid, child))
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done():
                asked.set_exception(ConnectionResetError())

    def _keep(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _reap(self) -> int:
        assert self._process is not None
        try:
            code = self._process.wait(END_S)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            self._process.kill()
            code = self._process.wait()
        return code or 0


async def _watch(pid: int, child: Forked) -> None:
    """Look for the end of a worker that has no forkserver to tell it."""
    while child.process is not None and _runs(child.process):  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(LOOK_EVERY_S)
    code = None
    # In a container this process may have inherited it, and is the one to bury it.
    with contextlib.suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        code = os.waitstatus_to_exitcode(status) if ended else None
    family.end(child.family, pid)
    child.ended.set_result(End(code))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except OSError:  # no file is left to look with
        return True

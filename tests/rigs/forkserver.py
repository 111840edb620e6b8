"""A consumer's forkserver that costs no imports: it is forked beforehand, and waits to be wanted.

Two thirds of what a consumer's start takes are the imports of its forkserver, which is an
interpreter of its own. Here, a child that the consumer's process has from its beginning becomes
the first one instead, by the same function and with the same streams, arguments and environment.
The next one, when that has died, is started as ever.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Any

from heori_consumer.between.entry import FORKSERVER
from heori_consumer.between.signals import STOPPING
from heori_consumer.pool import forkserver as theirs
from heori_consumer.worker.forkserver import main

MOST = 1 << 17  # bytes of an environment, arguments and a path, in all
OFTEN = 0.005  # seconds between two looks whether it has ended


def wait_to_be_wanted() -> None:
    """Fork it; the first forkserver that this process starts will be it."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _wait(its)
        finally:
            os._exit(1)
    its.close()

    def start(words: Sequence[str], **options: Any) -> Any:
        vars(theirs)["subprocess"] = subprocess
        with ours:
            try:
                return _Wanted(pid, ours, options)
            except ConnectionError:  # it was killed before
                os.waitpid(pid, 0)
                return subprocess.Popen(words, **options)

    vars(theirs)["subprocess"] = WithPopen(start)


class WithPopen(types.ModuleType):
    """`subprocess`, but for one name."""

    def __init__(self, popen: Callable[..., Any]) -> None:
        super().__init__(subprocess.__name__)
        self.__dict__.update(subprocess.__dict__, Popen=popen)


class _Wanted:
    """What a `subprocess.Popen` would be of it.

    Raises:
        ConnectionError: it is no more.
    """

    def __init__(self, pid: int, asked: socket.socket, options: dict[str, Any]) -> None:
        self.pid = pid
        self._code: int | None = None
        [control] = options["pass_fds"]
        state = {"path": sys.path, "argv": sys.argv, "environment": dict(os.environ)}
        files = [control, options["stdout"], options["stderr"]]
        socket.send_fds(asked, [json.dumps(state).encode()], files)

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or float("inf"))
        while self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(FORKSERVER, timeout or 0)
            else:
                time.sleep(OFTEN)
        return self._code

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _wait(asked: socket.socket) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # as what starts one has it
    with asked:
        message, files, _, _ = socket.recv_fds(asked, MOST, 3)
    if not message:
        return  # its consumer has gone, or runs its jobs itself
    control, *streams = files
    streams.insert(0, os.open(os.devnull, os.O_RDONLY))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    state = json.loads(message)
    sys.path[:], sys.argv[:] = state["path"], state["argv"]
    os.environ.clear()
    os.environ.update(state["environment"])
    main(control)

"""What a program starts by its own interpreter is forked, too, and costs no imports.

`benchmarks` and `heori lab` start a dozen programs, and each of them would import anew what the
zygote has imported. So such a program has a child from its beginning. That has one thread, and
forks once for each start. What it forks is the program's child and not its own: Linux calls that
CLONE_PARENT. For all else, the program's `subprocess.Popen` is as ever.
"""

import ctypes
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

MOST = 1 << 17  # bytes of a request
CLONE_PARENT = 0x8000  # <linux/sched.h>
CLONE = {"x86_64": 56, "aarch64": 220}  # the number of the system call
IS_POSSIBLE = sys.platform == "linux" and os.uname().machine in CLONE
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_start: Callable[..., None] = vars(subprocess.Popen)["_execute_child"]


class Start(NamedTuple):
    """What a forked process is to be.

    Attributes:
        request: as the zygote has it.
        streams: its standard ones.
    """

    request: dict[str, Any]
    streams: list[int]


def fork_what_it_starts() -> Start | None:
    """Begin; returns None, and then in each process that is forked what it is to be."""
    if not IS_POSSIBLE:
        return None  # interpreters are started
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        return _fork_for(its)
    its.close()
    vars(subprocess)["Popen"] = popen_by(_Asking(ours))
    return None


def popen_by(ask: Callable[[Start], int]) -> type[subprocess.Popen[Any]]:
    """A `subprocess.Popen` that has a process forked, as a child of this one, by whom it asks."""
    return type("Popen", (_Popen,), {"ask": staticmethod(ask)})


class WithPopen(types.ModuleType):
    """`subprocess`, but for one name."""

    def __init__(self, popen: Callable[..., Any]) -> None:
        super().__init__(subprocess.__name__)
        self.__dict__.update(subprocess.__dict__, Popen=popen)


class _Asking:
    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._lock = threading.Lock()

    def __call__(self, start: Start) -> int:
        """Have a process forked; returns its number, below 0 if that cannot be."""
        with self._lock:
            socket.send_fds(self._asked, [json.dumps(start.request).encode()], start.streams)
            answer = self._asked.recv(MOST)
        assert answer, "who forks has ended, and has said why"
        return int(answer)


class _Popen(subprocess.Popen[Any]):
    ask: Callable[[Start], int]

    def _execute_child(self, *arguments: Any) -> None:
        given = inspect.signature(_start).bind(self, *arguments).arguments
        words = _own_words(given["args"])
        if words is None:
            _start(self, *arguments)
            return
        request = {
            "words": words,
            "env": dict(os.environ if given["env"] is None else given["env"]),
            "folder": str(given["cwd"] or "."),
            "session": given["start_new_session"],
            "nested": False,
            "mark": None,
        }
        ends = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [number if end == -1 else end for number, end in enumerate(ends)]
        pid = self.ask(Start(request, streams))
        if pid < 0:
            _start(self, *arguments)
            return
        self.pid = pid
        self._child_created = True
        getattr(self, "_close_pipe_fds")(*(given[name] for name in PIPES))  # noqa: B009 - private


def _own_words(args: Sequence[object]) -> list[str] | None:
    """The module that this interpreter is to run, with its arguments; else None."""
    words = [str(word) for word in args]
    if words[:2] == [sys.executable, "-P"]:  # the folder that it would leave out has no such name
        del words[1]
    return words[2:] if words[:2] == [sys.executable, "-m"] else None


def _fork_for(program: socket.socket) -> Start:
    """Fork until the program has gone; returns in each process that is forked."""
    while True:
        message, streams, _, _ = socket.recv_fds(program, MOST, 3)
        if not message:
            os._exit(0)
        pid = fork_sibling()
        if pid == 0:
            program.close()
            return Start(json.loads(message), streams)
        for stream in streams:
            os.close(stream)
        program.send(str(pid).encode())


def fork_sibling() -> int:
    """As `os.fork`, but for whose child it is: that of this process's parent.

    Returns a number below 0 where the system does not know that.
    """
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    flags = CLONE_PARENT | signal.SIGCHLD
    pid = int(ctypes.PyDLL(None).syscall(CLONE[os.uname().machine], flags, 0, 0, 0, 0))
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return pid

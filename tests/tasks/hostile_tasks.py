"""Tasks that do what no task should, each in its own way, and one that looks at what they left."""

import asyncio
import contextlib
import contextvars
import ctypes
import itertools
import locale
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from heori import current_job, task

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
_kept: list[Any] = []  # what is to outlive the job that made it


# What the next job finds


@task
def surroundings() -> dict[str, Any]:
    """All that a job may take for granted about its process."""
    mask = os.umask(0o77)
    os.umask(mask)
    return {
        "directory": str(Path.cwd()),
        "umask": mask,
        "locale": locale.setlocale(locale.LC_ALL),
        "handlers": {
            number.name: str(getattr(signal.getsignal(number), "__module__", "default"))
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD)
        },
        "open files": [os.get_inheritable(number) is not None for number in range(3)],
        "streams": [
            stream is not None and not stream.closed and stream is real
            for stream, real in (
                (sys.stdin, sys.__stdin__),
                (sys.stdout, sys.__stdout__),
                (sys.stderr, sys.__stderr__),
            )
        ],
        "variable": variable.get(),
        "recursion limit": sys.getrecursionlimit(),
        "printed": print(end="", flush=True),
    }


@task
async def surroundings_later() -> dict[str, Any]:
    """The same, as a coroutine sees it."""
    await asyncio.sleep(0)
    return surroundings()


# Exceptions


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class EndsWhoPrintsIt(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(4)

    __repr__ = __str__


class _NoName(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=_NoName):
    """Whose class cannot be asked for its name."""


class Unclassed(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("no class")


def _cycle() -> Exception:
    first, second = ValueError("first of a circle"), ValueError("second of a circle")
    first.__cause__, second.__cause__ = second, first
    return first


def _chain() -> Exception:
    error = ValueError("the first of many")
    for number in range(3000):
        following = ValueError(f"cause {number}")
        following.__cause__ = error
        error = following
    return error


def _nested_group() -> BaseException:
    group: Exception = ValueError("the innermost")
    for _ in range(3000):
        group = ExceptionGroup("in a group", [group])
    return group


ERRORS: dict[str, Callable[[], BaseException]] = {
    "unprintable": Unprintable,
    "ends who prints it": EndsWhoPrintsIt,
    "nameless": lambda: Nameless("anonymous"),
    "odd name": lambda: type("Odd\n\x1b name", (Exception,), {})("odd"),
    "unclassed": lambda: Unclassed("unclassed"),
    "group": lambda: ExceptionGroup("two at once", [ValueError("one"), KeyError("two")]),
    "nested group": _nested_group,
    "circle": _cycle,
    "chain": _chain,
    "huge text": lambda: ValueError("x" * 20_000_000 + "the end of it"),
    "surrogates": lambda: ValueError("lone \ud800 surrogate, \x00 and \x1b[31m"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": lambda: GeneratorExit("left"),
    "CancelledError": lambda: asyncio.CancelledError("cancelled"),
    "StopIteration": lambda: StopIteration("stopped"),
    "StopAsyncIteration": lambda: StopAsyncIteration("stopped"),
    "BaseException": lambda: BaseException("the base of all"),
    "MemoryError": lambda: MemoryError("no room"),
}


@task
def throw(which: str) -> None:
    """Raise it."""
    raise ERRORS[which]()  # noqa: RSE102 - it makes one


@task
async def throw_later(which: str) -> None:
    """Raise it in a coroutine, after a turn of the loop."""
    await asyncio.sleep(0)
    raise ERRORS[which]()  # noqa: RSE102 - it makes one


@task
def recurse(depth: int = 0) -> int:
    """Never come to an end."""
    return recurse(depth + 1) + 1


# Ways to end the process


@task
def kill(number: int) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)
    time.sleep(0.05)


@task
def leave() -> None:
    """Exit without a word."""
    os._exit(7)


@task
def crash() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


@task
def close_files(first: int, last: int) -> str:
    """Close files that are not its own."""
    os.closerange(first, last)
    return "closed"


@task
def close_files_and_fail() -> None:
    """The same, and then have something to say."""
    sys.stderr.close()
    os.closerange(0, 3)
    raise ValueError("after all was closed")


@task
def close_sockets() -> None:
    """Close all that is a socket: the link to the supervisor is one."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the directory itself was among them
            if "socket" in str(entry.readlink()) and int(entry.name) > 2:
                os.close(int(entry.name))
    time.sleep(10)


# Ways to change what the next job finds


@task
def write_much(megabytes: int) -> str:
    """To both streams, through Python and past it."""
    for stream in (sys.stdout, sys.stderr):
        for _ in range(megabytes):
            stream.write("x" * (1 << 20) + "\n" * 100)
        stream.flush()
    os.write(1, b"\xff\xfe\x00 no text\n")
    os.write(2, b"\xff\xfe\x00 no text\n")
    return "written"


def _into_a_deleted_directory() -> None:
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    Path(directory).rmdir()


def _replace_streams() -> None:
    sys.stdout = sys.stderr = sys.stdin = None


def _leave_thread() -> None:
    thread = threading.Thread(target=time.sleep, args=(0.3,))
    thread.start()


def _leave_raising_thread(error: BaseException) -> None:
    def end() -> NoReturn:
        raise error

    threading.Thread(target=end).start()


def _leave_executor() -> None:
    from concurrent.futures import ThreadPoolExecutor

    _kept.append(executor := ThreadPoolExecutor(1))
    executor.submit(time.sleep, 0.3)


def _break_clock() -> None:
    def stopped() -> NoReturn:
        raise RuntimeError("the clock has stopped")

    time.monotonic = stopped


CHANGES: dict[str, Callable[[], object]] = {
    "directory": lambda: os.chdir("/"),
    "deleted directory": _into_a_deleted_directory,
    "umask": lambda: os.umask(0o777),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "POSIX"),
    "streams": _replace_streams,
    "closed streams": lambda: (sys.stdout.close(), sys.stdin.close()),
    "recursion limit": lambda: sys.setrecursionlimit(160),
    "context variable": lambda: variable.set("set"),
    "environment": lambda: os.environ.update({"HEORI_HOSTILE": "1", "TZ": "Asia/Seoul"}),
    "thread": _leave_thread,
    "thread that exits": lambda: _leave_raising_thread(SystemExit(5)),
    "thread that raises": lambda: _leave_raising_thread(EndsWhoPrintsIt()),
    "executor": _leave_executor,
    "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 0.02),
    "time.time": lambda: setattr(time, "time", lambda: 0.0),
    "clock": _break_clock,
    "own loop": lambda: asyncio.run(asyncio.sleep(0.01)),
}


@task
def change(what: str) -> str:
    """Change what all jobs of a process share, and return."""
    CHANGES[what]()
    return "changed"


@task
async def change_later(what: str) -> str:
    """The same, in a coroutine."""
    await asyncio.sleep(0)
    CHANGES[what]()
    await asyncio.sleep(0)
    return "changed"


@task
def handle_signals() -> None:
    """Install a handler."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@task
def report_nonsense() -> str:
    """Tell a progress that cannot travel, all too often."""
    for number in range(1000):
        current_job().progress(number / 1000, "\ud800\udcff" * 100)
    time.sleep(0.15)
    return "told"


# Forks


@task
def fork(how: str) -> int:
    """Fork; what becomes of the child depends. Returns its process id."""
    child = os.fork()
    if child:
        return child
    if how == "raises":
        raise ValueError("in the child")
    if how == "lives on":
        time.sleep(30)
    if how == "daemon":
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in range(3):
            os.close(number)
        time.sleep(1)
        os._exit(0)
    return -1


@task
async def fork_later() -> int:
    """Fork in a coroutine, and let both return."""
    await asyncio.sleep(0)
    return os.fork() or -1


# Event loops


async def _exit_soon() -> None:
    raise SystemExit(6)


async def _forever() -> None:
    await asyncio.Event().wait()


def _stop_loop() -> None:
    asyncio.get_running_loop().stop()


def _close_loop() -> None:
    asyncio.get_running_loop().close()


LATER: dict[str, Callable[[], object]] = {
    "leave a task": lambda: _kept.append(asyncio.create_task(_forever())),
    "leave a task that exits": lambda: _kept.append(asyncio.create_task(_exit_soon())),
    "stop the loop": _stop_loop,
    "close the loop": _close_loop,
    "cancel itself": lambda: asyncio.current_task().cancel(),  # type: ignore[union-attr]
    "run a loop": lambda: asyncio.run(_forever()),
    "break the loop": lambda: asyncio.get_running_loop().call_soon(throw, "SystemExit"),
}


@task
async def meddle(how: str) -> str:
    """Do something to the loop it runs on."""
    LATER[how]()
    await asyncio.sleep(0.01)
    return "meddled"


# Results


class _Odd:
    def __repr__(self) -> NoReturn:
        raise SystemExit(8)

    __str__ = __repr__


def _endless_list() -> list[Any]:
    own: list[Any] = []
    own.append(own)
    return own


def _deep_list() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    _kept.append(deep)  # letting go of it here would recurse as deep
    return deep


async def _numbers() -> Any:
    yield 1


RESULTS: dict[str, Callable[[], object]] = {
    "lock": threading.Lock,
    "odd": _Odd,
    "list of odd": lambda: [_Odd()],
    "circle": _endless_list,
    "deep": _deep_list,
    "large": lambda: "x" * 2_000_000,
    "generator": lambda: (number for number in itertools.count()),
    "async generator": _numbers,
    "coroutine": lambda: _Awaitable(),  # noqa: PLW0108 - it is defined below
    "surrogates": lambda: "lone \ud800 surrogate",
    "bytes": lambda: b"\xff\xfe",
    "number as key": lambda: {1: 2},
    "list as a key": lambda: {(1, 2): 3},
    "class": lambda: _Odd,
    "function": lambda: surroundings,
    "module": lambda: sys,
    "not a number": lambda: float("nan"),
    "set": lambda: {1},
}


class _Awaitable(Coroutine[Any, Any, None]):
    """A coroutine that nobody warns about."""

    def send(self, value: Any) -> None: ...
    def throw(self, *_: Any) -> None: ...
    def close(self) -> None: ...
    def __await__(self) -> Any: ...


@task
def give(what: str) -> Any:
    """Return it."""
    return RESULTS[what]()


@task
async def give_later(what: str) -> Any:
    """Return it from a coroutine."""
    return RESULTS[what]()


@task
async def numbers() -> Any:
    """An asynchronous generator, which is no coroutine."""
    yield 1


@task
def exact(number: int, *, flag: bool = False) -> int:
    """Whose arguments are checked."""
    return number + flag

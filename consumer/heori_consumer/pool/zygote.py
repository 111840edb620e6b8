"""How the process comes to be that forks the workers: as a fork of this program, or started anew.

A fork costs no imports, and shares the memory of all that is imported. It can be made as long as
this program has one thread: the next one, when that has died, is an interpreter of its own.
"""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, NoReturn

import psutil

from heori_common.in_fork import InFork
from heori_common.platform import give_back_memory, has_one_thread, inherited_files
from heori_consumer.between.entry import FORKSERVER, forkserver
from heori_consumer.between.signals import STOPPING
from heori_consumer.pool.immortal import make_immortal
from heori_consumer.pool.output import Channels, open_channels


class Zygote(NamedTuple):
    """A forkserver that waits for requests.

    Attributes:
        process: it.
        control: the socket to it.
        output: what it writes; None if that goes where this program writes.
    """

    process: subprocess.Popen[bytes] | psutil.Process
    control: socket.socket
    output: Channels | None = None


def fork_early() -> Zygote | None:
    """Fork it from a program of Heori's; None where it is to be started instead.

    That is where a fork would not be safe: after this process has begun a thread, and on a system
    that does not tell whether it has.

    Raises:
        InFork: in the fork.
    """
    if not has_one_thread():
        return None
    ours, theirs = open_channels()

    def begin() -> None:
        for channel in ours:
            channel.close()
        _be_as_started(theirs)

    forkserver()
    make_immortal()
    give_back_memory()  # that this has taken, and the imports
    gc.freeze()  # or collections of garbage, here and there, would copy what is shared
    with contextlib.ExitStack() as undo:
        for channel in theirs:
            undo.enter_context(channel)
        try:
            zygote = _fork(begin)
        except InFork:
            undo.pop_all()
            raise
    return zygote._replace(output=ours)


def fork(begin: Callable[[], None]) -> Zygote:
    """Fork it from this program, whatever that is; it must have one thread.

    Args:
        begin: is called in it, before anything else.
    """
    try:
        return _fork(begin)
    except InFork as forked:
        serve = forked.serve
    return serve()


def _fork(begin: Callable[[], None]) -> Zygote:
    for stream in (sys.stdout, sys.stderr):  # else the copy would write what is left in there, too
        with contextlib.suppress(Exception):  # it is closed, or whatever a program has put there
            stream.flush()
    serve = forkserver()
    control, theirs = socket.socketpair()
    # A signal that comes while it cannot let it pass yet is to wait, and not to end it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pid == 0:
        control.close()
        raise InFork(partial(_become, begin, partial(serve, theirs.detach())))
    theirs.close()
    return Zygote(psutil.Process(pid), control)


def start() -> Zygote:
    """Start it, in an interpreter like this one that finds the same modules."""
    ours, (stdout, stderr) = open_channels()
    control, theirs = socket.socketpair()
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; sys.argv[0] = {sys.argv[0]!r}; "
        f"from {FORKSERVER} import main; main({theirs.fileno()})"
    )
    words = [
        sys.executable,
        *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
        *("-c", program, *sys.argv[1:]),
    ]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # as above
    try:
        with theirs, stdout, stderr:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout.fileno(),
                stderr=stderr.fileno(),
                pass_fds=[theirs.fileno()],
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Zygote(process, control, ours)


def _become(begin: Callable[[], None], serve: Callable[[], NoReturn]) -> NoReturn:
    try:
        begin()
        serve()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _be_as_started(channels: Channels) -> None:
    """Have the fork be what an interpreter of its own would be, as far as tasks see it."""
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - it is no file
        for number, file in enumerate((null.fileno(), *(each.fileno() for each in channels))):
            os.dup2(file, number)
    for channel in channels:
        channel.close()
    for file in inherited_files():  # of whoever has started this program
        os.close(file)
    # Not those of the command, which have answers and a log to write.
    sys.stdin = sys.__stdin__ or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ or open(1, "w", 1, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ or open(2, "w", 1, None, "backslashreplace", closefd=False)  # noqa: SIM115
    sys.modules["__main__"] = types.ModuleType("__main__")  # which `multiprocessing` imports anew

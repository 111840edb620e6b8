"""Reads a command line in a process of its own, which ends with that."""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from heori.cli.ending import INTERRUPTED

T = TypeVar("T")


def read(kind: type[T], meanwhile: Callable[[], object]) -> T:
    """What the command line says that this process was started with.

    This process ends as the one that reads it does, where that has an answer for whoever typed it:
    what is wrong, or help.

    Args:
        kind: what the command makes of it.
        meanwhile: is called while it is read.

    Raises:
        SystemExit: with the exit code; in both processes.
    """
    reading, writing = os.pipe()
    # Whoever started this may have it ignore how its children end.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (child := os.fork()) == 0:
        os.close(reading)
        signal.signal(signal.SIGCHLD, before)
        command(lambda wanted: _hand_over(wanted, writing))
    os.close(writing)
    told, otherwise = b"", 0
    try:
        with open(reading, "rb") as pipe:  # noqa: PTH123 - it has no name
            meanwhile()
            told = pipe.read()
    except KeyboardInterrupt:  # which the other one may have got as well
        otherwise = INTERRUPTED
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGCHLD, before)
    if not told:
        code = os.waitstatus_to_exitcode(status)
        sys.exit((code if code >= 0 else 128 - code) or otherwise)
    wanted = pickle.loads(told)
    assert isinstance(wanted, kind)
    return wanted


def command(take: Callable[[Any], object] | None = None) -> NoReturn:
    """Run the command that this process was started with.

    Args:
        take: gets what a command line says that is read apart, in place of who acts on it.

    Raises:
        SystemExit: with its exit code.
    """
    from heori.cli.app import app  # noqa: PLC0415 - what is large in it is not to stay

    app(prog_name="heori", obj=take)
    sys.exit()


def _hand_over(wanted: object, writing: int) -> NoReturn:
    """Tell the process that waits for it, unless that has gone, and end."""
    try:
        with open(writing, "wb") as pipe:
            pipe.write(pickle.dumps(wanted))
    finally:
        os._exit(0)

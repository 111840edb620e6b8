"""Which signals a worker lets pass: its supervisor decides when it ends."""

import signal
from collections.abc import Iterable
from typing import Any

_theirs: dict[int, Any] = {}  # by number, what was to be done before


def let_pass(numbers: Iterable[int]) -> None:
    """Do nothing at these signals, whatever was to be done so far.

    A handler does it rather than SIG_IGN, which programs that a task starts would inherit: nobody
    could terminate them. What is ignored already, as SIGHUP is under nohup, stays so.
    """
    for number in numbers:
        before = signal.getsignal(number)
        if before not in (signal.SIG_IGN, _nothing):
            _theirs[number] = before
            signal.signal(number, _nothing)


def give_back() -> None:
    """Do at each of them what was to be done: in a copy of this process that a task has forked."""
    for number, handler in _theirs.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _nothing(*_: object) -> None:
    pass

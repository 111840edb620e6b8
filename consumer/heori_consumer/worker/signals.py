"""Which signals a worker lets pass: its supervisor decides when it ends."""

import os
import signal
from collections.abc import Iterable
from typing import Any

_before: dict[int, Any] = {}  # by number, what was to be done


def let_pass(numbers: Iterable[int]) -> None:
    """Do nothing at these signals, whatever was to be done so far.

    A handler does it rather than SIG_IGN, which programs that a task starts would inherit: nobody
    could terminate them. What is ignored already, as SIGHUP is under nohup, stays so.
    """
    for number in numbers:
        before = signal.getsignal(number)
        if before not in (signal.SIG_IGN, _nothing):
            _before[number] = before
            signal.signal(number, _nothing)


def obey_in_copies(numbers: Iterable[int] = ()) -> None:
    """Have each copy of this process that a task forks do what was to be done, from its start.

    Args:
        numbers: further signals, at which a copy is to do what any new process does.
    """
    for number in numbers:
        is_ctrl_c = number == signal.SIGINT
        _before[number] = signal.default_int_handler if is_ctrl_c else signal.SIG_DFL
    os.register_at_fork(
        before=lambda: _mask(signal.SIG_BLOCK),
        after_in_parent=lambda: _mask(signal.SIG_UNBLOCK),
        after_in_child=_obey,
    )


def _obey() -> None:
    signal.set_wakeup_fd(-1)  # else an event loop of the original would hear its signals
    for number, handler in _before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _mask(signal.SIG_UNBLOCK)


def _mask(how: int) -> None:
    signal.pthread_sigmask(how, _before)


def _nothing(*_: object) -> None:
    pass

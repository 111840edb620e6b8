"""Exceptions that strike a thread where CPython would raise those of `PyThreadState_SetAsyncExc`.

It looks for them when a function begins, when a call of C code has ended and when a loop turns, and
nowhere else. So each of these points of a piece of code can be tried, one after the other.
"""

import dis
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from types import CodeType, FrameType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LOOKS_AFTER = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD"}


class Struck(BaseException):
    """What is thrown."""


def in_a_thread(test: Callable[P, R]) -> Callable[P, R]:
    """Run a test that strikes in a thread of its own.

    A strike comes one instruction later than CPython's. At the end of an `except` clause that is
    too late for the interpreter to forget the exception that was handled: whatever this thread
    raises from then on would have it as its context.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(test, *args, **kwargs).result()

    return run


@cache
def _names(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}


class Strike:
    """Strikes this thread at one point of the code of `heori_common`.

    Args:
        number: of the point, from 1.

    Attributes:
        struck: the function, and the line, in which it did; empty while it did not.
    """

    def __init__(self, number: int) -> None:
        self._left = number
        self._last: dict[FrameType, str] = {}  # what each frame has executed last
        self.struck = ""

    def during(self, function: Callable[[], Any]) -> bool:
        """Run it; returns whether it was struck."""
        before = sys.gettrace()
        sys.settrace(self._begin)
        try:
            function()
        except Struck:
            pass
        finally:
            sys.settrace(before)
            self._last.clear()
        return bool(self.struck)

    def _begin(self, frame: FrameType, _event: str, _arg: object) -> Any:
        if not _is_ours(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._last[frame] = ""
        if _is_ours(frame.f_back):  # else it is struck before the call has begun
            self._pass_by(frame)
        return self._step

    def _step(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "opcode":
            if self._last[frame] in LOOKS_AFTER:
                self._pass_by(frame)
            self._last[frame] = _names(frame.f_code)[frame.f_lasti]
        elif event == "return" and frame.f_back in self._last and _is_plain(frame.f_code):
            self._last[frame.f_back] = ""  # it goes on without a look
        return self._step

    def _pass_by(self, frame: FrameType) -> None:
        self._left -= 1
        if self._left == 0:
            self.struck = f"{frame.f_code.co_name}, line {frame.f_lineno}"
            raise Struck


def _is_ours(frame: FrameType | None) -> bool:
    return frame is not None and "heori_common" in frame.f_code.co_filename


def _is_plain(code: CodeType) -> bool:
    """Whether it is a function that the interpreter calls and not C code, as it does a class."""
    return code.co_name != "__init__" and not code.co_flags & _RESUMED


_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

"""How a fork of a program leaves what the program was doing."""

from collections.abc import Callable
from typing import NoReturn


class InFork(BaseException):
    """Raised in a fork, which is to do something else.

    Who catches it calls `serve` once the exception is handled. So the stack of the fork, which a
    crash writes, does not begin with what the program did, and no error has this one behind it.
    """

    def __init__(self, serve: Callable[[], NoReturn]) -> None:
        super().__init__()
        self.serve = serve

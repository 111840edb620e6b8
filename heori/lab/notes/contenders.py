"""Copies of this process that do different things at once, and end with it whatever happens.

Each tells in JSON what came of it.
"""

import json
import os
import select
import signal
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from heori.demo.processes import ChildFailed
from heori_common.platform import end_with

LOOK_S = 0.1


class Contenders:
    """They begin at once; whoever is left at the end of the ``with`` block is killed.

    A process is not to be copied while it has threads.
    """

    def __init__(self) -> None:
        self._told: dict[int, bytearray] = {}  # by the file on which a copy tells
        self._pids: list[int] = []  # of those that are not buried yet

    def start(self, do: Callable[[], Any]) -> None:
        """Have another copy do something, and tell what that returns."""
        with_this = end_with(os.getpid())
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if with_this is not None:
                    with_this()
                with os.fdopen(writing, "w") as telling:
                    json.dump(do(), telling)
                os._exit(0)
            except BaseException:  # whatever it is, this is the end of a copy
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writing)
        self._told[reading] = bytearray()
        self._pids.append(pid)

    def results(self, step: Callable[[], None]) -> list[Any]:
        """What they have told, in the order in which they were started.

        Args:
            step: called again and again until all have.

        Raises:
            ChildFailed: one of them has failed; it has said why where this process says things.
        """
        telling = set(self._told)
        while telling:
            step()
            for reading in select.select(telling, [], [], LOOK_S)[0]:
                piece = os.read(reading, 65_536)
                self._told[reading] += piece
                if not piece:
                    telling.remove(reading)
        while self._pids:
            _, status = os.waitpid(self._pids.pop(), 0)
            if status:
                raise ChildFailed("a copy of the process that measures has failed")
        return [json.loads(told) for told in self._told.values()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for reading in self._told:
            os.close(reading)
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

"""Copies of this process that do things at once, and end with it whatever happens.

So what they do to themselves harms nothing, and each has a GIL of its own. Each tells in JSON what
came of it.
"""

import contextlib
import json
import os
import select
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from heori.demo.processes import ChildFailed
from heori_common.platform import end_with
from heori_consumer.gil.states import GilFutex, state_of
from heori_consumer.gil.usage import line_of

LOOK_S = 0.1  # between two steps of whoever waits
WATCH_S = 0.004  # between two looks at threads

# Is given something that JSON can carry.
Tell = Callable[[Any], None]


class Copies:
    """They begin at once; whoever is left at the end of the ``with`` block is killed.

    A process is not to be copied while it has threads.
    """

    def __init__(self) -> None:
        self._told: dict[int, bytearray] = {}  # by the file on which a copy tells
        self._pids: list[int] = []  # of those that are not buried yet

    def start(self, do: Callable[[], Any]) -> None:
        """Have another copy do something, and tell what that returns."""
        self.start_telling(lambda _: do())

    def start_telling(self, do: Callable[[Tell], Any]) -> int:
        """Have another copy do something that tells more on its way; returns its process id."""
        with_this = end_with(os.getpid())
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if with_this is not None:
                    with_this()
                with os.fdopen(writing, "w") as file:

                    def tell(found: Any) -> None:
                        print(json.dumps(found), file=file, flush=True)

                    tell(do(tell))
                os._exit(0)
            except BaseException:  # whatever it is, this is the end of a copy
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writing)
        self._told[reading] = bytearray()
        self._pids.append(pid)
        return pid

    def told(self) -> list[list[Any]]:
        """What each has told so far, in the order in which they were started."""
        return [list(map(json.loads, told.split(b"\n")[:-1])) for told in self._told.values()]

    def results(self, step: Callable[[], None], pause: float = LOOK_S) -> list[Any]:
        """What they tell at last, in the order in which they were started.

        Args:
            step: called again and again until all have.
            pause: seconds between two calls, at most.

        Raises:
            ChildFailed: one of them has failed; it has said why where this process says things.
        """
        telling = set(self._told)
        while telling:
            step()
            for reading in select.select(telling, [], [], pause)[0]:
                piece = os.read(reading, 65_536)
                self._told[reading] += piece
                if not piece:
                    telling.remove(reading)
        while self._pids:
            _, status = os.waitpid(self._pids.pop(), 0)
            if status:
                raise ChildFailed("a copy of the process that measures has failed")
        return [told[-1] for told in self.told()]

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


def in_copies(number: int, do: Callable[[], Any]) -> list[Any]:
    """What so many copies find, all at work at the same time.

    Raises:
        ChildFailed: one of them has failed.
    """
    with Copies() as copies:
        for _ in range(number):
            copies.start(do)
        return copies.results(lambda: None)


def in_copy(do: Callable[[], Any]) -> Any:
    """What one copy finds.

    Raises:
        ChildFailed: it has failed.
    """
    [found] = in_copies(1, do)
    return found


def watched(do: Callable[[Tell], Any], gil: GilFutex | None) -> tuple[Any, Counter[str]]:
    """What a copy finds, and how often its threads were seen in which state.

    They are looked at from outside, so that nobody who looks takes part in what they do.

    Args:
        do: is given what to tell its threads to, at first.
        gil: how a thread is known that waits for the GIL; None if that is not known.

    Raises:
        ChildFailed: it has failed.
    """
    seen = Counter[str]()
    with Copies() as copies:
        pid = copies.start_telling(do)

        def look() -> None:
            [told] = copies.told()
            threads = told[0] if told and gil else []
            with contextlib.suppress(PermissionError):  # it is not for us to see
                lines = [line_of(pid, thread) for thread in threads]
                seen.update(state_of(line, gil) for line in lines if line)

        [found] = copies.results(look, WATCH_S)
    return found, seen

"""Copies of this process that do something at the same time, and are looked at from outside.

So what they do to themselves harms nothing, each has a GIL of its own, and nobody who looks takes
part in what they do.
"""

import contextlib
import json
import os
import select
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from heori_consumer.gil.states import GilFutex, state_of
from heori_consumer.gil.usage import line_of

LOOK_S = 0.004  # between two looks

# Is given something that JSON can carry.
Tell = Callable[[Any], None]


class _Copy(NamedTuple):
    pid: int
    told: TextIO


def in_copies(number: int, do: Callable[[], Any]) -> list[Any]:
    """What so many copies find, all at work at the same time."""
    copies = [_copy(lambda _: do()) for _ in range(number)]
    return [_end(copy) for copy in copies]


def in_copy(do: Callable[[], Any]) -> Any:
    """What one copy finds."""
    [found] = in_copies(1, do)
    return found


def watched(do: Callable[[Tell], Any], gil: GilFutex | None) -> tuple[Any, Counter[str]]:
    """What a copy finds, and how often its threads were seen in which state.

    Args:
        do: is given what to tell its threads to, at first.
        gil: how a thread is known that waits for the GIL; None if that is not known.
    """
    copy, seen = _copy(do), Counter[str]()
    threads = json.loads(copy.told.readline())
    while not select.select([copy.told], [], [], LOOK_S)[0]:
        with contextlib.suppress(PermissionError):  # it is not for us to see
            lines = [line_of(copy.pid, thread) for thread in threads] if gil else []
            seen.update(state_of(line, gil) for line in lines if line)
    return _end(copy), seen


def _copy(do: Callable[[Tell], Any]) -> _Copy:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(writing, "w") as file:

                def tell(found: Any) -> None:
                    print(json.dumps(found), file=file, flush=True)

                tell(do(tell))
            os._exit(0)
        except BaseException:  # whatever it is, this copy is to go no further
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    return _Copy(pid, os.fdopen(reading))


def _end(copy: _Copy) -> Any:
    """What it tells at last."""
    with copy.told:
        found = copy.told.readline()
    os.waitpid(copy.pid, 0)
    return json.loads(found)

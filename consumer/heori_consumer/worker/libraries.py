"""Which libraries the tasks use: the forkserver imports them too, for all workers to come.

So a worker starts as fast, and shares as much memory, as can be without sharing what the tasks'
own modules open or count when they are imported: each worker imports those itself.
"""

import contextlib
import itertools
import sys
import sysconfig
from collections.abc import Collection

HEORI = {"heori", "heori_common", "heori_consumer", "heori_producer"}
_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")})


def newest() -> str:
    """The module that was imported last."""
    return next(reversed(sys.modules))


def libraries(before: str, own: Collection[str]) -> list[str]:
    """The modules that were imported and belong to Python or to what is installed beside it.

    All others stay untouched: to look at a thousand modules would copy the memory that this process
    shares with those that have them, too.

    Args:
        before: the one that had been imported last.
        own: modules of tasks, or what their names begin with; neither they nor their neighbours.
    """
    tops = {name.partition(".")[0] for name in own}
    return [
        name
        for name in reversed(_since(before))
        if name.partition(".")[0] not in tops and _is_installed(name, sys.modules.get(name))
    ]


def _since(before: str) -> list[str]:
    """What was imported since, the newest first."""
    while True:
        with contextlib.suppress(RuntimeError):  # a thread of a task's has just imported something
            return list(itertools.takewhile(lambda name: name != before, reversed(sys.modules)))


def _is_installed(name: str, module: object) -> bool:
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return (
        name.partition(".")[0] in HEORI
        or origin in ("built-in", "frozen")
        or (isinstance(origin, str) and origin.startswith(_INSTALLED))
    )

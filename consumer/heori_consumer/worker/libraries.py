"""Which libraries the tasks use: the forkserver imports them too, for all workers to come.

So a worker starts as fast, and shares as much memory, as can be without sharing what the tasks'
own modules open or count when they are imported: each worker imports those itself.
"""

import sys
import sysconfig
from collections.abc import Collection

HEORI = {"heori", "heori_common", "heori_consumer", "heori_producer"}
_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")})


def libraries(known: Collection[str], own: Collection[str]) -> list[str]:
    """The modules that were imported and belong to Python or to what is installed beside it.

    Args:
        known: modules that were there before.
        own: modules of tasks, or what their names begin with; neither they nor their neighbours.
    """
    tops = {name.partition(".")[0] for name in own}
    return [
        name
        for name, module in sys.modules.copy().items()
        if name not in known and name.partition(".")[0] not in tops and _is_installed(name, module)
    ]


def _is_installed(name: str, module: object) -> bool:
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return (
        name.partition(".")[0] in HEORI
        or origin in ("built-in", "frozen")
        or (isinstance(origin, str) and origin.startswith(_INSTALLED))
    )

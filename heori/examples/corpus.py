"""The files that the examples work on: Python's own standard library.

It is on every machine that runs Heori, so nothing has to be downloaded: about 1,750 files and
30 MB. A job names a file relative to the root, which may be elsewhere for another consumer.
"""

import os
import sysconfig
from pathlib import Path

ROOT = Path(sysconfig.get_path("stdlib")).resolve()
_NOT_ITS_OWN = frozenset({"site-packages", "dist-packages"})


class OutsideCorpus(ValueError):
    """A path that leads out of the standard library, or to no file."""


def files() -> list[str]:
    """All its Python files, as paths relative to `ROOT`, in order.

    Links are left out: some systems link to their configuration elsewhere.
    """
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _NOT_ITS_OWN]
        for name in names:
            path = Path(folder, name)
            if path.suffix == ".py" and not path.is_symlink():
                found.append(path.relative_to(ROOT).as_posix())
    return sorted(found)


def resolve(path: str) -> Path:
    """Where a file is on this machine.

    Args:
        path: relative to `ROOT`.

    Raises:
        OutsideCorpus: it leads elsewhere (`..`, an absolute path, a link), or there is no such
            file.
    """
    resolved = (ROOT / path).resolve()
    inside = resolved.is_relative_to(ROOT)
    if not inside or not _NOT_ITS_OWN.isdisjoint(resolved.relative_to(ROOT).parts):
        raise OutsideCorpus(f"{path!r} leads out of the standard library at {ROOT}")
    if not resolved.is_file():
        raise OutsideCorpus(f"{path!r} is no file of the standard library at {ROOT}")
    return resolved

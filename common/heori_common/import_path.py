"""Where the modules of tasks are found."""

import sys
from pathlib import Path


def current_directory_last() -> None:
    """Let modules be imported from the current directory, after all that is installed.

    Tasks live where a command is typed. `python -m` and `python -c` put that directory first, so
    that a folder in it called ``redis`` would stand in for the library; an installed script leaves
    it out. What PYTHONPATH names stays where it is. To be called once, before other imports.
    """
    here = str(Path.cwd())
    if not sys.flags.safe_path and sys.path[:1] in ([""], [here]):
        del sys.path[0]
    if here not in sys.path:
        sys.path.append(here)

"""The loggers of what applications use of Heori, such as its locks: standard ones, below "heori".

An application decides what becomes of them, as with any library's. Heori's own programs, which run
the tasks of others, give them a place of their own; see `heori_common.logs`.
"""

import logging
from typing import Any, cast

_manager = logging.root.manager


class _Named:
    """A logger that is looked up when it is used: modules get theirs before a program begins."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(_manager.getLogger(self.name), attribute)


def standard_logger(module: str) -> logging.Logger:
    """The logger of a module of Heori's, given its `__name__`."""
    return cast("logging.Logger", _Named("heori." + module.partition(".")[2]))


def move_apart(handler: logging.Handler, level: int) -> logging.Manager:
    """Let Heori's loggers have this handler, and be out of the reach of everything else.

    They are of a manager of their own from now on. So they are in no list that a `dictConfig` or
    `logging.disable` of a task goes through.
    """
    global _manager
    root = logging.RootLogger(level)
    root.addHandler(handler)
    _manager = logging.Manager(root)
    _manager.loggerClass = logging.Logger  # whatever a task makes the class of its own
    return _manager


def are_apart() -> bool:
    """Whether that was done."""
    return _manager is not logging.root.manager

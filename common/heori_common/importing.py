"""Imports what few need once it is needed, and tells when others import something."""

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def import_apart(name: str) -> Any:
    """Import a module, in a thread of its own.

    The exception that ends a job may strike inside an import, and leave the process with a module
    that nobody can import any more.
    """
    if name not in sys.modules:
        importing = threading.Thread(target=importlib.import_module, args=(name,))
        importing.start()
        importing.join()
    return importlib.import_module(name)


def when_imported(name: str, then: Callable[[ModuleType], object]) -> None:
    """Have something done with a module, now if it is imported, else as soon as it is.

    What was asked for first is done first.
    """
    if (module := sys.modules.get(name)) is not None:
        then(module)
    else:
        sys.meta_path.insert(0, _AtImport(name, then))


class _AtImport:
    """Finds a module where Python would, and tells once it is loaded."""

    def __init__(self, name: str, then: Callable[[ModuleType], object]) -> None:
        self._name = name
        self._then = then

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        # Only those that come after it: of two that wait for one module, each would ask the other.
        after = sys.meta_path[sys.meta_path.index(self) + 1 :]
        found = (finder.find_spec(name, path, target) for finder in after)
        spec = next(filter(None, found), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_tell(module: ModuleType) -> None:
            execute(module)
            with contextlib.suppress(ValueError):  # it was imported anew
                sys.meta_path.remove(self)
            self._then(module)

        spec.loader.exec_module = execute_and_tell  # type: ignore[method-assign]
        return spec

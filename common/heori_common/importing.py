"""Imports what few need once it is needed."""

import importlib
import sys
import threading
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

"""The modules that HEORI_TASKS names: imported, and looked at for what people get wrong."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from types import ModuleType

from heori_common import tasks
from heori_common.errors import short

MOST_NAMED = 5  # modules of a package, in a message


class NoTaskModule(ImportError):
    """HEORI_TASKS does not name a module with tasks; the message says all that there is to say."""


def load(modules: Iterable[str]) -> list[str]:
    """Import modules, so that their tasks register.

    Returns:
        A sentence for each that has no task.

    Raises:
        NoTaskModule: a name is none of a module.
        ImportError, or whatever a module raises when it is imported.
    """
    return [sentence for name in modules if (sentence := _load(name))]


def nothing_to_run(sentences: Sequence[str], modules: Collection[str]) -> str | None:
    """What `load` has said of the modules, if none of them has a task; None if one has."""
    return "; ".join(sentences) if modules and len(sentences) == len(modules) else None


def _load(name: str) -> str | None:
    before = set(tasks.registered())
    if name.partition(".")[0] == "__main__":
        raise NoTaskModule(
            "__main__ is whatever program runs, a consumer's own here; move the tasks to a module "
            "with a name"
        )
    if name.startswith("."):
        raise NoTaskModule(f"{short(name)} is relative to nothing; name the module in full")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(missing + "."):
            raise  # one that the module imports
        raise NoTaskModule(_no_such(name)) from None
    if tasks.registered().keys() - before or _has_tasks(module):
        return None
    return _no_task(module)


def _has_tasks(module: ModuleType) -> bool:
    """Whether there are tasks of a module that were registered before it was asked for."""
    own = {id(thing) for thing in vars(module).values()}
    return any(
        name.startswith(module.__name__ + ".") or id(task.function) in own
        for name, task in tasks.registered().items()
    )


def _no_such(name: str) -> str:
    meant = re.sub(r"\.py$", "", name.strip("\"'")).partition(":")[0]
    meant = re.sub(r"[/\\]+", ".", meant).strip(".")
    parent, _, last = name.rpartition(".")
    if len(name.split()) > 1:
        hint = f"write commas between names: {','.join(name.split())}"
    elif parent in sys.modules and hasattr(sys.modules[parent], last):
        hint = f"{last} is something in the module {parent}; name that alone, for all of its tasks"
    elif meant and meant != name:
        hint = f"name it as an import statement does: {meant}"
    else:
        hint = (
            "modules are looked for in the current directory, in PYTHONPATH and among what is "
            "installed"
        )
    return f"there is no module {short(name)}; {hint}"


def _no_task(module: ModuleType) -> str:
    name = module.__name__
    where = getattr(module, "__file__", None) or "no file"
    if name.partition(".")[0] in sys.stdlib_module_names:
        return (
            f"{name} is Python's own module ({where}), and has no task; if one of yours has that "
            "name, rename it"
        )
    if paths := getattr(module, "__path__", None):
        inside = [f"{name}.{each.name}" for each in pkgutil.iter_modules(paths)]
        if inside:
            more = ", …" if len(inside) > MOST_NAMED else ""
            return (
                f"{name} is a package that imports no module with tasks; name those that have "
                f"some, such as {','.join(inside[:MOST_NAMED])}{more}"
            )
    return f"{name} ({where}) has no task: @task stands above no function when it is imported"

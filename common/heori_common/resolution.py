"""What the name of a function leads to: in a job that a worker was sent, and in a producer's call.

A name that leads nowhere is one of two things. Either nobody has allowed it here: then it is
refused, whatever code there is. Or it belongs to what this consumer runs, and its code does not
have it: then another consumer may, and the error says so (`elsewhere`).
"""

import importlib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

from heori_common import tasks
from heori_common.errors import short
from heori_common.importable import shown, why_not
from heori_common.tasks import Task, UnknownTask

P = ParamSpec("P")
R = TypeVar("R")


def find_or_make(function: Callable[P, R]) -> Task[P, R]:
    """The task that a function was registered as, or one with the defaults that is not.

    Consumers run the latter when its name is under a prefix in HEORI_ALLOW.

    Raises:
        UnknownTask: no consumer could import it by name.
    """
    module, name = (getattr(function, each, None) for each in ("__module__", "__qualname__"))
    if not module or not name or module == "__main__" or isinstance(function, type):
        do = why_not(function) or "move it to a module, and import it from there"
        raise UnknownTask(
            f"{shown(function)} is no function of a module, which consumers could import: {do}"
        )
    full = f"{module}.{name}"
    found = tasks.registered().get(full)
    if found is not None and found.function is function:
        return cast("Task[P, R]", found)
    if "<" in name or _import(full) is not function:
        do = why_not(function) or "consumers could not find it"
        raise UnknownTask(f"{full} does not lead back to {short(function)}; {do}")
    return Task(function, "default", 180)


def resolve(name: str, allow: Iterable[str]) -> Task[..., Any]:
    """The task of that name: registered, or a function under an allowed prefix.

    Nothing is imported for a name outside the prefixes; and what a name under one leads to
    must have been defined under it, so that ``myapp.os.system`` does not reach ``os``.

    Args:
        allow: prefixes, each ending at a dot.

    Raises:
        UnknownTask: it may not run here, or is no function; or it is not there, and `elsewhere` is
            set, as its package is that of a registered task, or its prefix is allowed.
    """
    registry = tasks.registered()
    if found := registry.get(name):
        return found
    prefix = next((prefix for prefix in allow if name.startswith(prefix)), None)
    if prefix is None:
        served = {known.partition(".")[0] for known in registry}
        raise UnknownTask(
            f"{short(name)} is no registered task and under no allowed prefix; name its module in "
            "HEORI_TASKS, or its package in HEORI_ALLOW",
            elsewhere=name.partition(".")[0] in served,
        )
    function = _import(name)
    if found := tasks.registered().get(name):  # the import has registered it
        return found
    if not callable(function) or isinstance(function, type):
        raise UnknownTask(f"{name} is no function")
    # A function in C may name its accelerator: _operator for operator.
    home = (getattr(function, "__module__", None) or "").removeprefix("_") + "."
    if not home.startswith(prefix):
        raise UnknownTask(f"{name} leads to {home}, outside the allowed prefix {prefix}")
    try:
        made: Task[..., Any] = Task(function, "default", 180)
    except (Exception, SystemExit) as error:  # it may be any object that can be called
        raise UnknownTask(f"{name} cannot be a task: {error}") from error
    made.name = name
    tasks.register(made)
    return made


def _import(name: str) -> Any:
    module_name, _, rest = name.rpartition(".")
    attributes = [rest]
    while module_name:
        try:
            found: Any = importlib.import_module(module_name)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise UnknownTask(
                    f"{module_name} cannot be imported: {error}", elsewhere=True
                ) from error
            module_name, _, rest = module_name.rpartition(".")
            attributes.insert(0, rest)
        except (Exception, SystemExit) as error:  # a script without a guard ends itself
            raise UnknownTask(
                f"{module_name} cannot be imported: {error!r}", elsewhere=True
            ) from error
    else:
        raise UnknownTask(f"there is no module for {name}", elsewhere=True)
    for attribute in attributes:
        try:
            found = getattr(found, attribute, None)
        except Exception as error:  # modules may have a __getattr__ that imports
            raise UnknownTask(f"{name} cannot be imported: {error!r}", elsewhere=True) from error
        if found is None:
            raise UnknownTask(
                f"{module_name} has no function {'.'.join(attributes)}", elsewhere=True
            )
        if isinstance(found, ModuleType):
            raise UnknownTask(f"{module_name} has no function {'.'.join(attributes)}")
    return found

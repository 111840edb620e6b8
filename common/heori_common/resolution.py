"""What the name of a function leads to: in a job that a worker was sent, and in a producer's call.

A function under `@task` is a task, whoever names it. Any other is a stranger, which is called as rq
calls it; or `typed`, where Heori's own producer has sent it.

A name that leads nowhere is one of two things. Either nobody has allowed it here: then it is
refused, whatever code there is. Or it belongs to what this consumer runs, and its code does not
have it: then another consumer may, and the error says so (`elsewhere`).
"""

import importlib
import sys
from collections.abc import Callable, Collection
from functools import partial
from importlib.machinery import PathFinder
from types import FunctionType, ModuleType
from typing import Any, ParamSpec, TypeVar, cast

from heori_common import allowed, names, tasks
from heori_common.allowed import NotAllowed
from heori_common.errors import short
from heori_common.importable import shown, why_not
from heori_common.rq.calling import Stranger, builtin
from heori_common.tasks import Task, UnknownTask

P = ParamSpec("P")
R = TypeVar("R")

_typed: dict[str, Task[..., Any]] = {}  # by name: to read all hints of a function takes long


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


def resolve(name: str, allow: Collection[str]) -> Task[..., Any] | Stranger:
    """The task of that name; or what is there under an allowed prefix and can be called.

    Nothing is imported for a name outside the prefixes; and what a name under one leads to
    must have been defined under it, so that ``myapp.os.system`` does not reach ``os``.

    Args:
        allow: prefixes, each ending at a dot.

    Raises:
        UnknownTask: it may not run here, or cannot be called; or it is not there, and `elsewhere`
            is set, as its package is that of a registered task, or its prefix is allowed.
    """
    registry = tasks.registered()
    if found := registry.get(name):
        return found
    prefix = next((prefix for prefix in allow if name.startswith(prefix)), None)
    if prefix is None:
        if (harmless := builtin(name)) is not None:
            return Stranger(name, harmless)
        raise _not_allowed(name, allow)
    try:
        names.check_name("task", name)
    except ValueError as error:
        raise UnknownTask(str(error)) from None
    function = _import(name)
    if isinstance(function, FunctionType):
        # The import may have registered it; and it may be a task under another name.
        for each in (name, f"{function.__module__}.{function.__qualname__}"):
            if (found := registry.get(each)) and found.function is function:
                return found
    if not callable(function):
        raise UnknownTask(f"{name} is no function")
    # A function in C may name its accelerator: _operator for operator.
    home = _module_of(function).removeprefix("_") + "."
    if not home.startswith(prefix):
        raise UnknownTask(f"{name} leads to {home}, outside the allowed prefix {prefix}")
    return Stranger(name, function)


def check_allowed(name: str, allow: Collection[str]) -> None:
    """Refuse a function that `resolve` would not look for; nothing is imported.

    Raises:
        UnknownTask: it is no registered task and under no allowed prefix.
    """
    if name not in tasks.registered() and not any(name.startswith(prefix) for prefix in allow):
        raise _not_allowed(name, allow)


def resolve_method(instance: Any, name: str, allow: Collection[str]) -> Stranger:
    """A method of an instance, or of a class, that a job has brought along.

    Raises:
        UnknownTask: it, or its class, was defined under no allowed prefix; or it is not there.
    """
    kind = instance if isinstance(instance, type) else type(instance)
    try:
        method = allowed.method(instance, name, allow)
    except NotAllowed as error:
        raise UnknownTask(error.reason, elsewhere=error.elsewhere, mend=error.mend) from None
    return Stranger(f"{kind.__module__}.{kind.__qualname__}.{name}", method)


def resolve_typed(name: str, allow: Collection[str]) -> Task[..., Any]:
    """The task of that name; or what `resolve` finds, with its arguments checked as a task's.

    Raises:
        UnknownTask: as `resolve`; or a hint is no type.
    """
    found = resolve(name, allow)
    if isinstance(found, Task):
        return found
    known = _typed.get(name)
    if known is None or known.function is not found.function:
        try:
            known = Task(found.function, "default", 180)
        except (Exception, SystemExit) as error:  # it may be any object that can be called
            raise UnknownTask(f"{name} cannot be a task: {error}") from error
        known.name = name
        _typed[name] = known
    return known


def _not_allowed(name: str, allow: Collection[str]) -> UnknownTask:
    """Why a function may not run that is neither a task nor under a prefix, and what lets it.

    A setting lets it where its code is here. Where that is missing and its package is served,
    another consumer has it.
    """
    package = name.partition(".")[0]
    if any(known.startswith(f"{package}.") for known in tasks.registered()):
        module = name.rpartition(".")[0]
        if not _is_here(name):
            return UnknownTask(
                f"{short(name)} is no registered task, and not in the code that is here",
                elsewhere=True,
            )
        setting = allowed.setting_for(name, allow)
        return UnknownTask(
            f"{short(name)} has no @task above it, or its module is not named in HEORI_TASKS",
            mend=setting and f"put @task above it and name {module} in HEORI_TASKS, or {setting}",
        )
    if setting := allowed.setting_for(name, allow):
        return UnknownTask(
            f"{short(name)} is no registered task and under no allowed prefix", mend=setting
        )
    why = (
        "is no registered task and under no allowed prefix, and Python's own"
        if package in sys.stdlib_module_names
        else "is no registered task and under no allowed prefix, and nothing of that name is here"
    )
    return UnknownTask(f"{short(name)} {why}")


def _is_here(name: str) -> bool:
    """Whether there is a module for a name, and what it says in it; nothing is imported."""
    module, _, rest = name.rpartition(".")
    while module:
        if (found := sys.modules.get(module)) is not None:
            if hasattr(found, rest.partition(".")[0]):
                return True
            paths = getattr(found, "__path__", None)
            inside = f"{module}.{rest.partition('.')[0]}"
            return "." in rest and bool(paths) and PathFinder.find_spec(inside, paths) is not None
        module, _, last = module.rpartition(".")
        rest = f"{last}.{rest}"
    return False


def _module_of(function: Any) -> str:
    """The module in which something was defined that can be called."""
    if isinstance(function, partial):
        return _module_of(function.func)
    module = getattr(function, "__module__", None)
    return module if isinstance(module, str) else ""


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
        package = name.partition(".")[0]
        raise UnknownTask(
            f"there is no module for {name} here", elsewhere=True, mend=allowed.install(package)
        )
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

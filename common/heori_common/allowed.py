"""What a name of a class or function may lead to: to what was defined under an allowed prefix.

A prefix lets in what stands in a module under it and was defined there. It lets in nothing that the
module has merely imported, and nothing that such a thing leads on to: ``shop.tasks.os.system`` is
``os.system``, by whatever way.
"""

import importlib
import importlib.util
import sys
from collections.abc import Collection
from enum import EnumMeta
from functools import lru_cache
from types import ModuleType
from typing import Any

from heori_common.errors import PerhapsElsewhere, cut, short, summary


class NotAllowed(PerhapsElsewhere, ValueError):
    """A name that may not be used, or that leads nowhere here."""


def is_allowed(full: str, allow: Collection[str]) -> bool:
    """Whether what has that name is under one of these prefixes, which each end at a dot."""
    return f"{full}.".startswith(tuple(allow))


def setting_for(name: str, allow: Collection[str]) -> str:
    """What to set so that a name is allowed too, if somebody may have forgotten it; else nothing.

    That is so if its package could be imported here, and is not Python's own. Nothing is imported
    to know that.
    """
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names or package == "__main__" or not package.isidentifier():
        return ""
    try:
        if importlib.util.find_spec(package) is None:
            return ""
    except (ImportError, ValueError):
        return ""  # a module that was put there by hand has no spec
    return f"set HEORI_ALLOW={','.join([*(prefix.removesuffix('.') for prefix in allow), package])}"


def install(module: str) -> str:
    """What to do so that a module is here, if its whole package is missing; else nothing."""
    if "." in module:
        return ""
    return f"install {module} here, or name the folder that holds it in PYTHONPATH"


@lru_cache(1024)  # many jobs have the same classes
def find(module: str, name: str, allow: tuple[str, ...]) -> Any:
    """The class or function of that name, imported.

    Args:
        name: as its ``__qualname__``.
        allow: prefixes, each ending at a dot.

    Raises:
        NotAllowed: it may not be used; then nothing was imported. Or it is not there, or is not
            what it says.
    """
    full = f"{module}.{name}"
    if not is_allowed(full, allow):
        raise NotAllowed(_not_allowed(module, name), mend=setting_for(module, allow))
    if any(part[:2] == part[-2:] == "__" for part in full.split(".")):
        raise NotAllowed(f"{cut(full)} is reached through a name that Python keeps for itself")
    if unfit := [part for part in full.split(".") if not part.isidentifier()]:
        raise NotAllowed(f"{short(full)} is no name: {short(unfit[0])} could stand in no code")
    found: Any = _import(module)
    for number, part in enumerate(name.split(".")):
        if number and not (isinstance(found, type) and found.__module__ == module):
            raise NotAllowed(f"{cut(full)} is reached through {short(found)}, which is no class")
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotAllowed(f"{module} has no {cut(name)} here", elsewhere=True) from None
    check_home(found, module, name)
    return found


def check_home(thing: Any, module: str, name: str) -> None:
    """Refuse what was not defined where it was found.

    Raises:
        NotAllowed: it was not, or is no class or function.
    """
    if isinstance(thing, ModuleType):
        raise NotAllowed(f"{module}.{cut(name)} is a module")
    home = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if home != (module, name):
        at = ".".join(each for each in home if isinstance(each, str)) or short(type(thing))
        raise NotAllowed(f"{module}.{cut(name)} is {cut(at)}, which was defined elsewhere")
    if not callable(thing):
        raise NotAllowed(f"{module}.{cut(name)} is neither a class nor a function")


def method(thing: Any, name: str, allow: Collection[str]) -> Any:
    """What a class or an instance has under that name: its method, or a member of an enumeration.

    Raises:
        NotAllowed: its class is under no allowed prefix, or what has the name was not defined in a
            class that is.
    """
    kind = thing if isinstance(thing, type) else type(thing)
    full = f"{kind.__module__}.{kind.__qualname__}.{name}"
    if not is_allowed(full, allow):
        raise NotAllowed(
            f"{cut(full)} is a method of a class under no allowed prefix",
            mend=setting_for(kind.__module__, allow),
        )
    if isinstance(thing, EnumMeta) and name in thing.__members__:
        return thing[name]
    if thing is not kind and name in getattr(thing, "__dict__", ()):
        raise NotAllowed(f"{cut(full)} is no method, but something that the instance has with it")
    for base in kind.__mro__:
        if name in vars(base):
            inside: Any = vars(base)[name]
            home = f"{base.__module__}.{base.__qualname__}"
            break
    else:
        raise NotAllowed(f"{cut(full)} is not there", elsewhere=True)
    if not is_allowed(f"{home}.{name}", allow):
        raise NotAllowed(
            f"{cut(full)} is {cut(home)}'s, which is under no allowed prefix",
            mend=setting_for(home, allow),
        )
    inside = getattr(inside, "__func__", inside)  # of a class or static method
    inner = getattr(inside, "__module__", None)
    is_home = isinstance(inner, str) and (inner == base.__module__ or is_allowed(inner, allow))
    if callable(inside) and is_home:
        return getattr(thing, name)
    raise NotAllowed(f"{cut(full)} is no method that was defined under an allowed prefix")


def _not_allowed(module: str, name: str) -> str:
    full = f"{cut(module)}.{cut(name)}"
    if module.partition(".")[0] in sys.stdlib_module_names:
        return f"{full} is Python's own, and not one of the values that may be read"
    return f"{full} is under no allowed prefix"


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module == missing or module.startswith(missing + "."):
            raise NotAllowed(
                f"there is no module {missing} here", elsewhere=True, mend=install(missing)
            ) from error
        raise NotAllowed(f"{module} cannot be imported: {error}", elsewhere=True) from error
    except (Exception, SystemExit) as error:  # a script without a guard ends itself
        raise NotAllowed(
            f"{module} cannot be imported: {summary(error)}", elsewhere=True
        ) from error

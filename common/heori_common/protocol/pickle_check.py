"""What a pickle may load, found before any of it is loaded.

`pickle_walk` goes through its instructions. All that it names is asked for here, and nothing is
imported before all of that is allowed.
"""

import pickle
import sys
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType
from typing import Any

from heori_common import allowed
from heori_common.allowed import NotAllowed
from heori_common.errors import summary
from heori_common.protocol import known_values
from heori_common.protocol.pickle_walk import Dishonest, Made, Name, Walk
from heori_common.protocol.unpickling import Unpicklable


def look_through(raw: bytes, allow: tuple[str, ...]) -> tuple[bytes, Mapping[Name, Any]]:
    """What to load in place of a pickle, and what is behind each name in it.

    Args:
        allow: prefixes of what may be in it, each ending at a dot.

    Raises:
        Unpicklable: it may not be loaded.
    """
    try:
        walk = Walk(raw)
    except Dishonest as error:
        raise Unpicklable(f"is refused: it {error}") from None
    except Exception as error:
        raise Unpicklable(f"is damaged: {summary(error)}") from None
    in_order = dict.fromkeys(walk.named.values())
    own = [name for name in in_order if not known_values.is_known(name)]
    for name in own:
        if not allowed.is_allowed(".".join(name), allow):
            _find(*name, allow)  # which says why not; nothing is imported yet
    try:
        known_values.check(walk, len(raw))
    except Dishonest as error:
        raise Unpicklable(f"is refused: it {error}") from None
    found = {name: _find(*name, allow) for name in own}
    raw = _only_new(raw, walk, found)
    for name in walk.globals - found.keys():
        found[name] = known_values.get(name, allow)
    return raw, {named: found[meant] for named, meant in walk.named.items()}


def _find(module: str, name: str, allow: tuple[str, ...]) -> Any:
    try:
        return allowed.find(module, name, allow)
    except NotAllowed as error:
        raise Unpicklable(
            f"is refused: {error.reason}", elsewhere=error.elsewhere, mend=error.mend
        ) from error.__cause__


# Whether what is changed is new


def _only_new(raw: bytes, walk: Walk, found: dict[Name, Any]) -> bytes:
    """Have what the pickle changes be looked at, where it may be something that others hold, too.

    A class may have one instance for all, and a function may return what it keeps: then a pickle
    would change the application. Such a class or function is replaced by one that looks.

    Returns:
        The pickle, in which a replaced class is called, as it has no ``__new__`` any more.

    Raises:
        Unpicklable: it needs both the class and its replacement.
    """
    doubtful = {
        call.name
        for call in walk.calls.values()
        if call.changed and call.name in found and not _makes_new(found[call.name], call)
    }
    edited = bytearray(raw)
    for name in doubtful:
        calls = {at: call for at, call in walk.calls.items() if call.name == name}
        ways = {(call.new, raw[at : at + 1]) for at, call in calls.items()}
        if name in walk.values or ways not in ({(True, _NEWOBJ)}, {(False, _REDUCE)}):
            raise Unpicklable(f"is refused: it changes what {'.'.join(name)} makes for all")
        make = found[name]
        if ways == {(True, _NEWOBJ)}:
            found[name] = _looking(name, lambda *args, cls=make: cls.__new__(cls, *args))
            for at in calls:
                edited[at : at + 1] = _REDUCE
        else:
            found[name] = _looking(name, make)
    return bytes(edited)


_NEWOBJ, _REDUCE = pickle.NEWOBJ, pickle.REDUCE


def _makes_new(make: Any, call: Made) -> bool:
    """Whether it is certain that each call returns something else."""
    return (
        isinstance(make, type)
        and isinstance(make.__new__, BuiltinFunctionType)
        and (call.new or type(make).__call__ is type.__call__)
    )


def _counted(make: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, int]:
    made = make(*args)
    return made, sys.getrefcount(made)


_ALONE = _counted(object, ())[1]  # the references to what nobody else has


def _looking(name: Name, make: Callable[..., Any]) -> Callable[..., Any]:
    def look(*args: Any) -> Any:
        made, references = _counted(make, args)
        if references > _ALONE:
            raise Unpicklable(
                f"is refused: it changes what {'.'.join(name)} returns, which others have, too"
            )
        return made

    return look

"""Python's own classes whose values may be in a pickle, and how a pickler writes each of them.

Nothing more is let in: ``set(range(10**12))`` takes all memory, and ``str`` of lists in lists takes
as much. So what a class is called with must be what its values are written with.
"""

import builtins
import codecs
import importlib
import re
from collections.abc import Callable, Collection, Mapping
from enum import Flag
from typing import Any

from heori_common import allowed
from heori_common.allowed import NotAllowed
from heori_common.errors import short
from heori_common.protocol.pickle_walk import GETATTR, Dishonest, Name, Thing, Walk

_ENCODE: Name = ("_codecs", "encode")
_Args = tuple[Thing, ...]
_FRACTION = re.compile(r"-?[0-9]{1,4000}(/[0-9]{1,4000})?")


def _any(_: _Args) -> bool:
    return True


def _none(args: _Args) -> bool:
    return not args


def _numbers(args: _Args) -> bool:
    return all(arg.kind == "value" and isinstance(arg.value, int | None) for arg in args)


def _copy(args: _Args) -> bool:
    return not args or (len(args) == 1 and args[0].kind in ("list", "dict"))


def _bytes(args: _Args) -> bool:
    """Of a bytearray: bytes, or the same as text."""
    if [type(arg.value) for arg in args] == [str, str]:
        return bool(args[1].value == "latin-1")
    return not args or (
        len(args) == 1 and (isinstance(args[0].value, bytes) or args[0].name == _ENCODE)
    )


def _encoded(args: _Args) -> bool:
    """Of bytes: as text, in which each character is one of them."""
    return [type(arg.value) for arg in args] == [str, str] and args[1].value == "latin1"


def _queue(args: _Args) -> bool:
    """Of a deque: nothing, and how long it may be."""
    return not args or (len(args) == 2 and args[0].value == () and _numbers(args[1:]))


def _factory(args: _Args) -> bool:
    return not args or (len(args) == 1 and args[0].kind in ("value", "global", "got"))


def _fraction(args: _Args) -> bool:
    return _numbers(args) or (
        len(args) == 1
        and isinstance(args[0].value, str)
        and _FRACTION.fullmatch(args[0].value) is not None
    )


def _namespace(args: _Args) -> bool:
    return not args or (len(args) == 1 and args[0].kind == "dict")


def _plain_class(args: _Args) -> bool:
    """Of an instance as the oldest protocols write it: it holds nothing yet."""
    kinds = [arg.kind for arg in args]
    return kinds == ["global", "global", "value"] and args[1].name == ("builtins", "object")


def _found(args: _Args) -> bool:
    return len(args) == 2 and isinstance(args[1].value, str)


_PATHS = "PurePath PurePosixPath PureWindowsPath Path PosixPath WindowsPath"
_ADDRESSES = "IPv4Address IPv6Address IPv4Interface IPv6Interface IPv4Network IPv6Network"

_EXCEPTIONS = {
    ("builtins", name)
    for name, each in vars(builtins).items()
    if isinstance(each, type)
    and issubclass(each, BaseException)
    and not issubclass(each, BaseExceptionGroup)
}

# How each is called. What is not here may be a value itself, as the factory of a defaultdict may.
_CALLS: Mapping[Name, Callable[[_Args], bool]] = {
    ("builtins", "set"): _copy,
    ("builtins", "frozenset"): _copy,
    ("builtins", "bytearray"): _bytes,
    ("builtins", "bytes"): _none,
    ("builtins", "complex"): _any,
    ("builtins", "range"): _numbers,
    ("builtins", "slice"): _any,
    **{("datetime", name): _any for name in ["date", "time", "datetime", "timedelta", "timezone"]},
    ("decimal", "Decimal"): _any,
    ("fractions", "Fraction"): _fraction,
    **{("pathlib", name): _any for name in _PATHS.split()},
    **{("ipaddress", name): _any for name in _ADDRESSES.split()},
    ("collections", "OrderedDict"): _none,
    ("collections", "deque"): _queue,
    ("collections", "Counter"): _copy,
    ("collections", "defaultdict"): _factory,
    ("types", "SimpleNamespace"): _namespace,
    **dict.fromkeys(_EXCEPTIONS, _any),
    GETATTR: _found,
    ("_operator", "or_"): _any,
    _ENCODE: _encoded,
    ("copyreg", "_reconstructor"): _plain_class,
}
# These are made without being called.
_NEW = {("uuid", "UUID")}
_VALUES = {
    *(
        ("builtins", name)
        for name in ["bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple"]
    ),
    ("zoneinfo", "ZoneInfo"),
}
# What is made first, and then gets its items and attributes.
_CHANGED = {
    *_EXCEPTIONS,
    *_NEW,
    *(("collections", name) for name in ["OrderedDict", "deque", "Counter", "defaultdict"]),
    ("types", "SimpleNamespace"),
    ("copyreg", "_reconstructor"),
}
_KNOWN = {*_CALLS, *_NEW, *_VALUES}


def is_known(name: Name) -> bool:
    """Whether a class of that name may be in any pickle, or what makes its values."""
    return name in _KNOWN


def check(walk: Walk, size: int) -> None:
    """Refuse a pickle that uses one of these otherwise than a pickler does.

    Args:
        size: of the pickle, in bytes. Each item stands in it, so that no more can be copied.

    Raises:
        Dishonest: it does.
    """
    for name in walk.values:
        if name in _GUARDS:
            raise Dishonest(f"holds {'.'.join(name)} itself")
    copied = 0
    for call in walk.calls.values():
        name = call.name
        if name not in _KNOWN:
            continue
        rule = _CALLS.get(name)
        if not (name in _NEW if call.new else rule is not None and rule(call.args)):
            raise Dishonest(f"calls {'.'.join(name)} as no pickler does")
        if call.changed and name not in _CHANGED:
            raise Dishonest(f"changes what {'.'.join(name)} has made")
        if rule in (_copy, _bytes, _encoded):
            copied += sum(arg.size for arg in call.args)
    if copied > 2 * size:  # of a bytearray in an old protocol: as bytes, and as itself
        raise Dishonest("copies the same over and over, which takes memory without end")


def get(name: Name, allow: Collection[str]) -> Any:
    """What has that name, or what stands in for it.

    Args:
        allow: prefixes of what may be reached through it.
    """
    module, name_there = name
    if name == GETATTR:
        return lambda thing, attribute: _getattr(thing, attribute, allow)
    return _GUARDS.get(name) or getattr(importlib.import_module(module), name_there)


def _getattr(thing: Any, name: str, allow: Collection[str]) -> Any:
    kind = f"{thing.__module__}.{thing.__qualname__}" if isinstance(thing, type) else ""
    if (kind, name) == ("zoneinfo.ZoneInfo", "_unpickle"):
        return thing._unpickle
    return allowed.method(thing, name, allow)


def _or(one: Any, other: Any) -> Any:
    """Of flags: Python 3.11 writes each that is set."""
    if not isinstance(one, Flag) or type(one) is not type(other):
        raise NotAllowed(f"{short(one)} is no flag")
    return one | other


def _reconstructor(kind: Any, base: Any, state: Any) -> Any:
    if not isinstance(kind, type) or base is not object or state is not None:
        raise NotAllowed(f"{short(kind)} is not made as a pickler makes it")
    return object.__new__(kind)


_GUARDS: Mapping[Name, Any] = {
    GETATTR: _getattr,
    ("_operator", "or_"): _or,
    _ENCODE: codecs.encode,
    ("copyreg", "_reconstructor"): _reconstructor,
}

"""Reads pickles from whoever can write to Redis, and runs nothing that was not allowed.

What may be in one: Python's own plain values, and what was defined under an allowed prefix. All
that a pickle names is asked for before any of it is loaded, and nothing is imported before that.

Most pickles hold plain values only: a regular expression finds that out. `pickle_walk` goes through
any other. Then the unpickler of C loads it, which gets what was found and nothing else.
"""

import contextlib
import datetime as dt
import decimal
import pickle
import re
import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache
from io import BytesIO
from types import BuiltinFunctionType
from typing import Any

from heori_common import allowed
from heori_common.allowed import NotAllowed
from heori_common.errors import cut, summary
from heori_common.protocol import known_values
from heori_common.protocol.pickle_walk import Dishonest, Made, Name, Walk


class Unpicklable(NotAllowed):
    """A pickle that may not be loaded, or that cannot be.

    The message goes on where "its pickle" has begun.
    """


class Pickles:
    """How pickles are read here, and written; one of rq's serializers.

    Args:
        allow: prefixes of what may be in one, each ending at a dot.
        restricted: False reads any pickle, as rq does: whatever it likes is run.
    """

    def __init__(self, allow: Collection[str], *, restricted: bool = True) -> None:
        self._allow = tuple(allow)
        self._restricted = restricted

    @staticmethod
    def dumps(value: Any) -> bytes:
        """As rq writes it.

        Raises:
            Exception: whatever the value raises.
        """
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, raw: bytes) -> Any:
        """The value in a pickle.

        Raises:
            Unpicklable: it holds what may not be in one, or cannot be read.
            BaseException: when any pickle is read, whatever it likes.
        """
        if not self._restricted:
            return pickle.loads(raw)
        if _is_plain(raw):
            if pickle.STACK_GLOBAL not in raw:  # it names nothing
                return _load(pickle.loads, raw)
            with contextlib.suppress(_NotPlain):
                return _load(_Unpickler(raw, _PLAIN_TYPES).load)
        raw, found = self._look_through(raw)
        try:
            return _load(_Unpickler(raw, found).load)
        except _NotPlain as error:
            raise Unpicklable(f"is refused: it names {error} where nobody sees it") from None

    def _look_through(self, raw: bytes) -> tuple[bytes, Mapping[Name, Any]]:
        """What to load in place of a pickle, and what is behind each name in it.

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
            if not allowed.is_allowed(".".join(name), self._allow):
                self._find(*name)  # which says why not; nothing is imported yet
        try:
            known_values.check(walk, len(raw))
        except Dishonest as error:
            raise Unpicklable(f"is refused: it {error}") from None
        found = {name: self._find(*name) for name in own}
        raw = _only_new(raw, walk, found)
        for name in walk.globals - found.keys():
            found[name] = known_values.get(name, self._allow)
        return raw, {named: found[meant] for named, meant in walk.named.items()}

    def _find(self, module: str, name: str) -> Any:
        try:
            return allowed.find(module, name, self._allow)
        except NotAllowed as error:
            raise Unpicklable(
                f"is refused: {error.reason}", elsewhere=error.elsewhere, mend=error.mend
            ) from error.__cause__


class _NotPlain(Exception):
    """It names something else than what it was to have; the message says what."""


def _load(load: Callable[..., Any], *args: Any) -> Any:
    try:
        return load(*args)
    except (_NotPlain, Unpicklable):
        raise
    except Exception as error:  # of the pickle, or of a class under an allowed prefix
        missing = isinstance(error, ImportError | AttributeError)
        raise Unpicklable(f"cannot be loaded: {summary(error)}", elsewhere=missing) from error


class _Unpickler(pickle.Unpickler):
    """Gets what was found beforehand, and nothing else."""

    def __init__(self, raw: bytes, found: Mapping[Name, Any]) -> None:
        super().__init__(BytesIO(raw))
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        """What has that name."""
        try:
            return self._found[module, name]
        except KeyError:
            raise _NotPlain(f"{cut(module)}.{cut(name)}") from None


# Pickles of plain values


# Nothing can be changed about these classes, and they take nothing that grows.
_PLAIN_TYPES: Mapping[Name, Any] = {
    (each.__module__, each.__qualname__): each
    for each in (
        *(dt.date, dt.time, dt.datetime, dt.timedelta, dt.timezone),
        decimal.Decimal,
    )
}
_MOST_TUPLES = 1000  # in one another, at most as many as there are: see pickle_walk.MOST_DEPTH
_LONG = {b"X": 4, b"B": 4, b"\x8d": 8, b"\x8e": 8, b"\x96": 8}  # the bytes of their lengths


def _is_plain(raw: bytes) -> bool:
    """Whether a pickle holds values only that may be in any, and does nothing else.

    Those of a few classes of Python's may be among them, which the unpickler is given, and no more.
    """
    if len(raw) > _MOST_TUPLES < sum(raw.count(each) for each in (b"\x85", b"\x86", b"\x87", b"t")):
        return False
    match, at = _plain_instructions().match, 0
    while run := match(raw, at):
        at = run.end()
        opcode = raw[at : at + 1]
        if opcode == b".":
            return at + 1 == len(raw)
        if (width := _LONG.get(opcode)) is None:
            return False
        size = int.from_bytes(raw[at + 1 : at + 1 + width], "little")
        at = min(at + 1 + width + size, len(raw))
    return False


@cache
def _plain_instructions() -> re.Pattern[bytes]:
    """Any number of opcodes with their arguments; see ``Lib/pickletools.py``."""
    sized = b"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in range(256))
    opcodes = rb"[N\x88\x89\]})(t\x85-\x87aesu\x8f-\x91\x93\x94R]|[Kqh].|M..|[Jj].{4}|[G\x95].{8}"
    text = rb"|\x80[\x02-\x05]|[\x8cC\x8a](?:" + sized + b")"
    return re.compile(b"(?:" + opcodes + text + b")*+", re.DOTALL)


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

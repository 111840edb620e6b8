"""Loads a pickle that may hold plain values, and what was defined under an allowed prefix."""

import contextlib
import datetime as dt
import decimal
import pickle
import re
from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from typing import Any

from heori_common.errors import cut, summary
from heori_common.importing import import_apart
from heori_common.protocol.unpickling import Unpicklable

_CHECK = "heori_common.protocol.pickle_check"  # by name: few pickles need it
Name = tuple[str, str]  # of a class: its module, and its name there


def load(raw: bytes, allow: tuple[str, ...]) -> Any:
    """The value in a pickle.

    Args:
        allow: prefixes of what may be in it, each ending at a dot.

    Raises:
        Unpicklable: it holds what may not be in one, or cannot be read.
    """
    if _is_plain(raw):
        if pickle.STACK_GLOBAL not in raw:  # it names nothing
            return _load(pickle.loads, raw)
        with contextlib.suppress(_NotPlain):
            return _load(_Unpickler(raw, _PLAIN_TYPES).load)
    raw, found = import_apart(_CHECK).look_through(raw, allow)
    try:
        return _load(_Unpickler(raw, found).load)
    except _NotPlain as error:
        raise Unpicklable(f"is refused: it names {error} where nobody sees it") from None


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

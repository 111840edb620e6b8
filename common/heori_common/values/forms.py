"""The forms of the builtin types: how a value is taken apart, and made anew."""

import base64
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import SecretBytes, SecretStr
from pydantic_core import SchemaValidator, core_schema, to_jsonable_python

_Time = TypeVar("_Time", datetime, time)
# Before the name of a zone: of two hours that a change of the clocks makes, it is the second.
_SECOND = "fold "


class Unwritable(ValueError):
    """A value that would not arrive as it was sent.

    Attributes:
        path: where it is in the value that was to be written.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


class Form(NamedTuple):
    """How values of one type are written and read."""

    name: str
    take: Callable[[Any], tuple[Any, str | None]]  # apart: to what is written in its place
    make: Callable[[Any, str | None], Any]  # anew from that


def _plain(cls: type, take: Callable[[Any], Any], make: Callable[[Any], Any] | None = None) -> Form:
    """The form of a type that needs to know nothing else."""
    anew = make or cls
    return Form(cls.__name__, lambda value: (take(value), None), lambda part, _: anew(part))


def _take_bytes(value: bytes) -> tuple[str, str | None]:
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), "base64"


def _make_bytes(text: str, how: str | None) -> bytes:
    return text.encode() if how is None else base64.b64decode(text, validate=True)


def _take_time(value: datetime | time) -> tuple[str, str | None]:
    text = value.isoformat()
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    more = f"{_SECOND}{zone or ''}" if value.fold else zone
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text, more


def _make_time(read: _Time, more: str | None) -> _Time:
    if more is None:
        return read
    zone = more.removeprefix(_SECOND)
    there = read.replace(tzinfo=ZoneInfo(zone)) if zone else read
    return there.replace(fold=int(zone != more))


_duration = SchemaValidator(core_schema.timedelta_schema()).validate_python
_TEXTS: tuple[type, ...] = (
    Decimal, Fraction, UUID, complex, PosixPath, PurePosixPath, PureWindowsPath, IPv4Address,
    IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network,
)  # fmt: skip

BUILTIN: Mapping[type, Form] = {
    **{cls: _plain(cls, list) for cls in (tuple, set, frozenset)},
    **{cls: _plain(cls, str) for cls in _TEXTS},
    **{cls: _plain(cls, repr) for cls in (int, float)},  # as keys of an object
    **{cls: _plain(cls, dict) for cls in (OrderedDict, Counter)},
    **{cls: _plain(cls, cls.get_secret_value) for cls in (SecretStr, SecretBytes)},
    deque: Form(
        "deque",
        lambda value: (list(value), None if value.maxlen is None else str(value.maxlen)),
        lambda items, most: deque(items, None if most is None else int(most)),
    ),
    bytes: Form("bytes", _take_bytes, _make_bytes),
    bytearray: _plain(bytearray, bytes),
    date: _plain(date, date.isoformat, date.fromisoformat),
    datetime: Form(
        "datetime",
        _take_time,
        lambda text, more: _make_time(datetime.fromisoformat(text), more),
    ),
    time: Form("time", _take_time, lambda text, more: _make_time(time.fromisoformat(text), more)),
    timedelta: _plain(timedelta, to_jsonable_python, _duration),
    ZoneInfo: _plain(ZoneInfo, str),
    re.Pattern: Form(
        "Pattern",
        lambda value: (value.pattern, str(value.flags)),
        lambda text, flags: re.compile(text, int(flags or 0)),
    ),
}

"""Values as JSON, and beside it their types: what Python knows and JSON does not.

    [datetime(2026, 1, 2), {1: "a"}]      the value
    ["2026-01-02T00:00:00", {"1": "a"}]   its JSON, which any reader of the job understands
    {"0": "datetime", "1": ["keys", null, "int"]}   its types

Types are one of these:

    null                   it is what JSON says
    "FORM"                 it is made from that by the form of this name
    ["FORM", types]        likewise, and its parts have types of their own
    ["FORM", types, text]  likewise, and the form needs to know this, such as a time zone
    {"KEY": types, …}      some items of a list or an object have types
    ["*", types]           all of its items have these
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from heori_common.errors import short
from heori_common.values.classes import form_of
from heori_common.values.forms import BUILTIN, Form, Unwritable

Types = Any  # see above

NATIVE = frozenset({str, int, float, bool, type(None)})  # what JSON keeps as it is
_KEYS = "keys"  # of an object, made from texts by the form that is named
_PAIRS = "pairs"  # of keys and values, which make an object


class Forms:
    """Writes and reads values: of the builtin types, and of those that hints name.

    Args:
        named: the forms of the hinted types.
        has_any: whether a hint lets anything in.
    """

    def __init__(self, named: Mapping[type, Form], *, has_any: bool) -> None:
        self._named = named
        self._by_class: dict[type, Form] = {**BUILTIN, **named}
        self._makers = {form.name: form.make for form in self._by_class.values()}
        self._makers[_KEYS] = lambda items, name: {
            self._make(name or "", key, None): item for key, item in items.items()
        }
        self._makers[_PAIRS] = lambda pairs, _: dict(pairs)
        self._has_any = has_any

    def write(self, value: Any, *, strict: bool = False) -> tuple[Any, Types]:
        """A value as JSON, and its types.

        Args:
            strict: refuse what no hint names, where otherwise its JSON would do.

        Raises:
            Unwritable: it would not be read as what it is.
        """
        kind = type(value)
        if kind in NATIVE:
            return value, None
        if kind is list:
            return self._write_items(value, strict=strict)
        if kind is dict:
            return self._write_dict(value, strict=strict)
        form = self._by_class.get(kind)
        if form is None:
            return self._write_other(value, strict=strict)
        part, more = form.take(value)
        json, types = self.write(part, strict=strict)
        if more is not None:
            return json, [form.name, types, more]
        return json, form.name if types is None else [form.name, types]

    def read(self, json: Any, types: Types) -> Any:
        """The inverse of `write`; changes the JSON.

        Raises:
            ValueError, TypeError, LookupError: the types are not of such a value.
        """
        match types:
            case None:
                return json
            case str(name):
                return self._make(name, json, None)
            case dict():
                for key, each in types.items():
                    at = int(key) if isinstance(json, list) else key
                    json[at] = self.read(json[at], each)
                return json
            case ["*", each] if isinstance(json, list):
                return [self.read(item, each) for item in json]
            case ["*", each]:
                return {key: self.read(item, each) for key, item in json.items()}
            case [str(name), each, *more]:
                return self._make(name, self.read(json, each), *more or (None,))
        raise ValueError(f"{short(types)} are no types")

    def _make(self, name: str, part: Any, more: str | None) -> Any:
        return self._makers[name](part, more)

    def _write_items(self, items: list[Any], *, strict: bool) -> tuple[list[Any], Types]:
        if set(map(type, items)) <= NATIVE:
            return items, None
        keys = [str(number) for number in range(len(items))]
        written = [
            self._write_item(key, item, strict) for key, item in zip(keys, items, strict=True)
        ]
        return [json for json, _ in written], _together(keys, [types for _, types in written])

    def _write_values(self, items: dict[str, Any], *, strict: bool) -> tuple[dict[str, Any], Types]:
        if set(map(type, items.values())) <= NATIVE:
            return items, None
        written = {key: self._write_item(key, item, strict) for key, item in items.items()}
        return (
            {key: json for key, (json, _) in written.items()},
            _together(written, [types for _, types in written.values()]),
        )

    def _write_dict(self, items: dict[Any, Any], *, strict: bool) -> tuple[Any, Types]:
        kinds = set(map(type, items))
        if kinds <= {str}:
            return self._write_values(items, strict=strict)
        form = self._by_class.get(kinds.pop()) if len(kinds) == 1 else None
        keys = [form.take(key) for key in items] if form else []
        if form and all(type(key) is str and more is None for key, more in keys):
            texts = dict(zip((key for key, _ in keys), items.values(), strict=True))
            json, types = self._write_values(texts, strict=strict)
            return json, [_KEYS, types, form.name]
        pairs, types = self._write_items([[*item] for item in items.items()], strict=strict)
        return pairs, _PAIRS if types is None else [_PAIRS, types]

    def _write_item(self, key: str, item: Any, strict: bool) -> tuple[Any, Types]:  # noqa: FBT001 - once for each item of a value
        try:
            return self.write(item, strict=strict)
        except Unwritable as error:
            error.path.insert(0, key)
            raise

    def _write_other(self, value: Any, *, strict: bool) -> tuple[Any, Types]:
        cls = type(value)
        base = next((each for each in cls.__mro__ if each in self._named), None)
        if base is not None:
            raise Unwritable(
                f"{short(value)} is a {cls.__qualname__}, and the hint names {base.__qualname__} "
                "only: it would arrive as less than it is; name it in the hint, as in "
                f"{base.__qualname__} | {cls.__qualname__}"
            )
        like = next((each for each in cls.__mro__ if each in NATIVE or each in BUILTIN), None)
        if like in NATIVE and not strict:
            return self._jsonable(value), None
        if like is not None and not strict:
            part, more = BUILTIN[like].take(value)
            # Such as the UUID of a database's driver: to their users they are the same.
            if type(part) is str and BUILTIN[like].make(part, more) == value:
                name = BUILTIN[like].name
                return part, name if more is None else [name, None, more]
        if strict or not self._has_any:
            if isinstance(value, Iterator):  # pydantic makes one of what is given for Iterable
                raise Unwritable(
                    "the hint makes an iterator of it, which cannot be sent; "
                    "name list or Sequence in the hint, for Iterable, Iterator or Generator"
                )
            raise Unwritable(
                f"{short(value)} is a {cls.__qualname__}, which no hint names: it would arrive as "
                "another type"
            )
        if isinstance(value, enum.Enum):
            return self.write(value.value, strict=strict)
        try:
            part, _ = form_of(cls, cls.__qualname__).take(value)
        except Unwritable:
            return self._jsonable(value), None
        return self.write(part, strict=strict)

    def _jsonable(self, value: Any) -> Any:
        try:
            return to_jsonable_python(value)
        except (PydanticSerializationError, ValueError) as error:
            raise Unwritable(f"{short(value)} has no JSON form: {error}") from error


class LooseForms(Forms):
    """Reads what code with other hints has written: of an unknown class, its parts."""

    def __init__(self) -> None:
        super().__init__({}, has_any=True)

    def _make(self, name: str, part: Any, more: str | None) -> Any:
        return super()._make(name, part, more) if name in self._makers else part


def _together(keys: Iterable[str], types: list[Types]) -> Types:
    first = types[0]
    if all(each == first for each in types):
        return None if first is None else ["*", first]
    return {key: each for key, each in zip(keys, types, strict=True) if each is not None}


def is_json(value: Any) -> bool:
    """Whether JSON alone keeps a value, found out in no time."""
    if type(value) in NATIVE:
        return True
    try:
        return bool(from_json(to_json(value)) == value)
    except Exception:  # equality is the values' own
        return False

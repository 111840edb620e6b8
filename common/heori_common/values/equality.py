"""Whether what arrives is what was sent."""

import dataclasses
from collections import deque
from typing import Any

from pydantic import BaseModel


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and equal, in all of their parts."""
    if one is other or type(one) is not type(other):
        return one is other
    if isinstance(one, dict):
        makers = [getattr(each, "default_factory", None) for each in (one, other)]
        return (
            makers[0] is makers[1]
            and len(one) == len(other)
            and all(map(same, one, other))
            and all(map(same, one.values(), other.values()))
        )
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return {(type(each), each) for each in one} == {(type(each), each) for each in other}
    parts = [_parts(each) for each in (one, other)]
    if parts[0]:
        return same(*parts)
    return bool(one == other or (one != one and other != other))


def _parts(value: Any) -> dict[str, Any]:
    if not isinstance(value, BaseModel):
        named = dataclasses.fields(value) if dataclasses.is_dataclass(type(value)) else ()
        fields = {each.name: getattr(value, each.name, None) for each in named}
        return fields | getattr(value, "__dict__", {})
    names = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
    return {name: getattr(value, name) for name in names}

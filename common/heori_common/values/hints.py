"""What the hints of a task promise: whether JSON alone keeps it, and which classes they name."""

import dataclasses
import enum
import hashlib
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NewType, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from typing_extensions import TypeAliasType, is_typeddict

from heori_common.values.classes import form_of
from heori_common.values.forms import BUILTIN, Form
from heori_common.values.writing import NATIVE

# "plain": JSON keeps it, and to validate it a second time changes nothing. "any": likewise, when
# it has JSON's types only, which is looked at. "typed": it travels with its types.
Kind = Literal["plain", "any", "typed"]

_ANY = {"type": "any"}
_KEYS = {"any", "str"}  # of an object


def kind_of(schema: Mapping[str, Any]) -> Kind:
    """What a core schema of pydantic's promises."""
    found = set(_kinds(schema))
    return "typed" if "typed" in found else "any" if "any" in found else "plain"


def _kinds(schema: Mapping[str, Any]) -> Iterator[Kind]:
    name = schema["type"]
    parts = _parts(schema)
    if "serialization" in schema or parts is None:
        yield "typed"
    elif name == "any":
        yield "any"
    for part in parts or ():
        yield from _kinds(part)


def _parts(schema: Mapping[str, Any]) -> Iterable[Mapping[str, Any]] | None:
    """The parts of a schema that is plain if they are; None if it is not."""
    match schema["type"]:
        case "any" | "none" | "bool" | "int" | "float" | "str":
            return ()
        case "literal":
            return () if set(map(type, schema["expected"])) <= NATIVE else None
        case "list":
            return (schema.get("items_schema", _ANY),)
        case "dict":
            keys = schema.get("keys_schema", _ANY)
            return (keys, schema.get("values_schema", _ANY)) if keys["type"] in _KEYS else None
        case "nullable" | "default":
            return (schema["schema"],)
        case "union":
            choices = schema["choices"]
            return [each[0] if isinstance(each, tuple) else each for each in choices]
        case "call":
            return (schema["arguments_schema"],)
        case "arguments":
            return _parts_of_arguments(schema)
    return None


def _parts_of_arguments(schema: Mapping[str, Any]) -> Iterable[Mapping[str, Any]] | None:
    parameters = schema["arguments_schema"]
    if schema.get("var_kwargs_mode", "uniform") != "uniform" or any(
        "alias" in each for each in parameters
    ):
        return None
    rest = [schema[name] for name in ("var_args_schema", "var_kwargs_schema") if name in schema]
    return [*(each["schema"] for each in parameters), *rest]


def has_any(schema: Any) -> bool:
    """Whether a core schema lets anything in, anywhere."""
    if isinstance(schema, Mapping):
        return (
            not schema
            or schema.get("type") == "any"
            or schema.get("extra_behavior", schema.get("extra_fields_behavior")) == "allow"
            or any(has_any(part) for key, part in schema.items() if key not in _UNSTABLE and part)
            or (schema.get("type") in _OPEN and "items_schema" not in schema)
            or (schema.get("type") == "dict" and "values_schema" not in schema)
        )
    return isinstance(schema, list | tuple) and any(map(has_any, schema))


_OPEN = {"list", "set", "frozenset", "tuple"}


def fingerprint(schema: Any) -> str:
    """The same for two processes whose hints, and the classes that they name, are the same."""
    return hashlib.sha1(repr(_outline(schema)).encode(), usedforsecurity=False).hexdigest()[:8]


_UNSTABLE = {"metadata", "serialization", "default", "title"}
_ADDRESS = re.compile(r":\d+")


def _outline(part: Any) -> Any:
    if isinstance(part, Mapping):
        return sorted((str(k), _outline(v)) for k, v in part.items() if k not in _UNSTABLE)
    if isinstance(part, list | tuple):
        return list(map(_outline, part))
    if isinstance(part, set | frozenset):
        return sorted(map(str, part))
    if isinstance(part, enum.Enum):
        return f"{type(part).__qualname__}.{part.name}"
    if type(part) in NATIVE:
        return _ADDRESS.sub("", part) if isinstance(part, str) else part
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def forms_of(hints: Iterable[Any]) -> dict[type, Form]:
    """The forms of all classes that the hints name, in themselves or in their fields."""
    classes = _Classes()
    for hint in hints:
        classes.visit(hint)
    forms: dict[type, Form] = {}
    names: set[str] = set()
    for cls in classes.found:
        name = f"{cls.__module__}.{cls.__qualname__}"
        while name in names:  # classes within functions may be called the same
            name += "'"
        names.add(name)
        forms[cls] = form_of(cls, name)
    return forms


class _Classes:
    """Collects classes in the order in which hints name them."""

    def __init__(self) -> None:
        self.found: dict[type, None] = {}
        self._seen: list[Any] = []

    def visit(self, hint: Any) -> None:
        if any(hint is each for each in self._seen):
            return
        self._seen.append(hint)
        for part in self._parts(hint):
            self.visit(part)

    def _parts(self, hint: Any) -> Iterable[Any]:
        origin = get_origin(hint)
        if isinstance(hint, TypeAliasType) or isinstance(origin, TypeAliasType):
            return [(origin or hint).__value__, *get_args(hint)]
        if origin is typing.Annotated:
            return [hint.__origin__]
        if origin is Literal:
            return [type(each) for each in get_args(hint)]
        if isinstance(hint, list):  # the parameters of a Callable
            return hint
        if isinstance(hint, NewType):
            return [hint.__supertype__]
        if isinstance(hint, TypeVar):
            return [hint.__bound__, *hint.__constraints__]
        if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
            return self._fields(hint)
        return [] if origin is None else [origin, *get_args(hint)]

    def _fields(self, cls: type) -> Iterable[Any]:
        if (
            cls.__module__ not in ("builtins", "typing")
            and cls not in BUILTIN
            and not is_typeddict(cls)
        ):
            self.found[cls] = None
        if issubclass(cls, BaseModel):
            extra = cls.__annotations__.get("__pydantic_extra__")
            return [*(field.annotation for field in cls.model_fields.values()), extra]
        if dataclasses.is_dataclass(cls) or is_typeddict(cls) or hasattr(cls, "_fields"):
            try:
                return get_type_hints(cls, include_extras=True).values()
            except NameError:  # they name what only pydantic finds
                fields = getattr(cls, "__pydantic_fields__", {})
                return [field.annotation for field in fields.values()]
        return []

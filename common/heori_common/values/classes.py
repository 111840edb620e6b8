"""The forms of the classes that hints name: models, dataclasses, enums, named tuples and others."""

import dataclasses
import enum
import functools
from typing import Any

from pydantic import BaseModel, PydanticUserError, RootModel, Secret, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from heori_common.errors import short
from heori_common.values.equality import same
from heori_common.values.forms import Form, Unwritable


def form_of(cls: type, name: str) -> Form:
    """How values of exactly this class are written and read, without running its validators.

    Args:
        name: what to call it.
    """
    if issubclass(cls, enum.Enum):
        return _enum(cls, name)
    if issubclass(cls, BaseModel):
        return _model(cls, name)
    if issubclass(cls, Secret):
        return Form(name, lambda value: (value.get_secret_value(), None), lambda part, _: cls(part))
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, name)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return Form(
            name,
            lambda value: (list(value), None),
            lambda items, _: tuple.__new__(cls, items),
        )
    return _by_schema(cls, name)


def _enum(cls: type[enum.Enum], name: str) -> Form:
    # By its value where that says which member it is, as most readers expect it.
    by_value = all(
        type(member.value) in (str, int) and _member(cls, member.value) is member for member in cls
    )

    def take(value: enum.Enum) -> tuple[Any, str | None]:
        return (value.value if by_value or value.name is None else value.name), None

    return Form(name, take, lambda part, _: cls(part) if by_value else cls[part])


def _member(cls: type[enum.Enum], value: Any) -> Any:
    try:
        return cls(value)
    except Exception:  # its _missing_ may raise anything
        return None


def _model(cls: type[BaseModel], name: str) -> Form:
    names = tuple(cls.model_fields)
    is_root = issubclass(cls, RootModel)

    def take(value: BaseModel) -> tuple[Any, str | None]:
        fields = _known(value, names)
        every = {**fields, **(value.__pydantic_extra__ or {})}
        unset = [each for each in every if each not in value.__pydantic_fields_set__]
        if value.__pydantic_private__:
            private = make(every["root"] if is_root else every, None).__pydantic_private__
            if not same(private, value.__pydantic_private__):
                raise Unwritable(f"{short(value)} has private attributes, which would be lost")
        return every["root"] if is_root else every, ",".join(unset) or None

    def make(part: Any, unset: str | None) -> BaseModel:
        every = {"root": part} if is_root else part
        fields = {each: every[each] for each in names if each in every}
        extra = None
        if cls.model_config.get("extra") == "allow":
            extra = {each: value for each, value in every.items() if each not in fields}
        made = cls.__new__(cls)
        put = object.__setattr__
        put(made, "__dict__", fields)
        put(made, "__pydantic_fields_set__", every.keys() - set((unset or "").split(",")))
        if not is_root:  # which has neither
            put(made, "__pydantic_extra__", extra)
            put(made, "__pydantic_private__", None)
        if cls.__pydantic_post_init__:  # the private attributes are made there
            kept = dict(fields)
            made.model_post_init(None)
            put(made, "__dict__", kept)
        return made

    return Form(name, take, make)


def _dataclass(cls: type, name: str) -> Form:
    names = tuple(field.name for field in dataclasses.fields(cls))

    def take(value: Any) -> tuple[Any, str | None]:
        fields = _known(value, names)
        slots = {each: getattr(value, each) for each in names if _is_set(value, each)}
        return slots | fields, None

    def make(fields: dict[str, Any], _: str | None) -> Any:
        made: Any = object.__new__(cls)
        for each, value in fields.items():
            object.__setattr__(made, each, value)
        return made

    return Form(name, take, make)


def _is_set(value: Any, name: str) -> bool:
    try:
        object.__getattribute__(value, name)
    except AttributeError:
        return False
    return True


def _known(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of an object in its dictionary.

    Raises:
        Unwritable: there is more in it.
    """
    fields: dict[str, Any] = getattr(value, "__dict__", {})
    for name in fields.keys() - set(names):
        if not isinstance(getattr(type(value), name, None), functools.cached_property):
            raise Unwritable(
                f"{short(value)} has {short(name)}, which is no field and would be lost"
            )
    return {name: fields[name] for name in names if name in fields}


def _by_schema(cls: type, name: str) -> Form:
    """Of a class that says itself how it is written and read, as pydantic asks it to."""

    @functools.cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(cls)

    def make(part: Any, _: str | None) -> Any:
        return adapter().validate_json(to_json(part))

    def take(value: Any) -> tuple[Any, str | None]:
        try:
            part = adapter().dump_python(value, mode="json", round_trip=True)
            if same(make(part, None), value):
                return part, None
        except (PydanticUserError, PydanticSerializationError, ValidationError, ValueError):
            pass
        raise Unwritable(f"{short(value)} has no JSON form that would be read as the same")

    return Form(name, take, make)

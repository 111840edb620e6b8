"""pydantic's validation, less what would change an object a second time.

pydantic takes an instance of a model as it is, and yet calls the model's own validators that come
after its fields, ``@model_validator(mode="after")``: on the caller's object, which they have seen
when it was made.
"""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator, core_schema

_VALIDATORS = {"function-after", "function-wrap", "function-before"}
_NO_PARTS = {"metadata", "serialization", "default", "expected", "members", "config"}


def validator_of(adapter: TypeAdapter[Any]) -> SchemaValidator:
    """What validates values; ready-made objects stay what they are."""
    schema = adapter.core_schema
    sparing = _sparing(schema)
    return cast("SchemaValidator", adapter.validator) if sparing is schema else built(sparing)


def built(schema: Any) -> SchemaValidator:
    """The validator of a schema, as it stands.

    Without what the classes within it have built for themselves: that holds their own validators,
    and those that stand around it here would be called twice.
    """
    try:
        return SchemaValidator(schema, _use_prebuilt=False)
    except TypeError:  # an older pydantic knows no other way
        return SchemaValidator(schema)


def _sparing(part: Any) -> Any:
    """A part of a schema in which ready-made objects are spared; itself where there are none."""
    if isinstance(part, list | tuple):
        parts = [_sparing(each) for each in part]
        changed = any(new is not old for new, old in zip(parts, part, strict=True))
        return type(part)(parts) if changed else part
    if not isinstance(part, Mapping):
        return part
    new: Any = {name: each if name in _NO_PARTS else _sparing(each) for name, each in part.items()}
    # Only what is the model's own has its reference; what stands around it, as in Annotated, is
    # the hint's, and has its effect now.
    if part.get("type") in _VALIDATORS and "ref" in part and (cls := _made(part)) is not None:
        return core_schema.no_info_wrap_validator_function(
            lambda value, validate: value if isinstance(value, cls) else validate(value),
            new,
            ref=new.pop("ref"),
        )
    return part if all(new[name] is part[name] for name in new) else new


def _made(schema: Mapping[str, Any]) -> type | None:
    """The class whose objects a schema makes; None for one that is to look at them again."""
    while schema.get("type") in _VALIDATORS:
        schema = schema["schema"]
    if schema.get("type") not in ("model", "dataclass"):
        return None
    again = schema.get("revalidate_instances", schema.get("config", {}).get("revalidate_instances"))
    cls: type = schema["cls"]
    return cls if again in (None, "never") else None

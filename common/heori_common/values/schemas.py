"""What JSON schema says of a function's arguments, for whoever does not have the function."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

# What is written the same before and after it was validated, so that a text can be made of it
# without the function: by the name of the type.
TEXTS = {
    "str": core_schema.str_schema(),
    "int": core_schema.int_schema(),
    "bool": core_schema.bool_schema(),
}
Text = Literal["str", "int", "bool"]
_ALTERED = {"strip_whitespace", "to_lower", "to_upper", "coerce_numbers_to_str", "serialization"}


class ArgumentsSchema(GenerateJsonSchema):
    """Makes an object of all arguments, by the names of their parameters.

    That of ``*args`` is an array, and that of ``**kwargs`` an object. What JSON schema has no words
    for may be anything; defaults are left out, as whoever fills them in knows them.
    """

    def arguments_schema(self, schema: core_schema.ArgumentsSchema) -> dict[str, Any]:
        """Of all parameters."""
        properties = {each["name"]: self._inner(each["schema"]) for each in _named(schema)}
        if (rest := schema.get("var_args_schema")) is not None:
            properties["*"] = {"type": "array", "items": self._inner(rest)}
        if (others := schema.get("var_kwargs_schema")) is not None:
            is_whole = schema.get("var_kwargs_mode") == "unpacked-typed-dict"
            inner = self._inner(others)
            properties["**"] = (
                inner if is_whole else {"type": "object", "additionalProperties": inner}
            )
        return {"type": "object", "properties": properties}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        """Of what has a default: no more than of what has none."""
        return self._inner(schema["schema"])

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        """Of what has no JSON form: anything."""
        del schema, error_info
        return {}

    def _inner(self, schema: core_schema.CoreSchema) -> dict[str, Any]:
        return self.generate_inner(schema)


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of a function's arguments.

    Args:
        schema: the core schema of the function.
    """
    return ArgumentsSchema().generate(dict(schema))


def texts(schema: Mapping[str, Any]) -> dict[str, Text]:
    """Which parameters are of a type of TEXTS, or None, by their names."""
    found: dict[str, Text] = {}
    for each in _named(_call(schema)):
        inner = each["schema"]
        while inner["type"] in ("default", "nullable"):
            inner = inner["schema"]
        if inner["type"] in TEXTS and not _ALTERED & inner.keys():
            found[each["name"]] = inner["type"]
    return found


def aliases(schema: Mapping[str, Any]) -> list[str]:
    """The parameters that are given by another name than their own."""
    return [each["name"] for each in _named(_call(schema)) if each.get("alias")]


def _call(schema: Mapping[str, Any]) -> Any:
    call = schema["schema"] if schema.get("type") == "definitions" else schema
    return call.get("arguments_schema", {})


def _named(arguments: Any) -> list[Any]:
    return list(arguments.get("arguments_schema", ()))

"""The JSON schemas of tasks' arguments, for the service's description."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import PydanticUserError, TypeAdapter

from heori_common.tasks import Task

# Of a task whose arguments have no schema: any, by name or in order.
ANY = {"anyOf": [{"type": "object"}, {"type": "array"}]}
MOST = 10_000  # jobs of one batch, and arguments of one job
# Before the names of their models, which may be called as those of the service are.
_PREFIX = "task."


def of(tasks: Iterable[Task[..., Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The schema of each task's arguments, by task, and those that they refer to, by name."""
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = []
    schemas: dict[str, dict[str, Any]] = {}
    for task in tasks:
        try:
            function: Any = task.function
            adapter = TypeAdapter(function)
            adapter.json_schema()
        except (PydanticUserError, ValueError):  # no JSON stands for such an argument
            schemas[task.name] = ANY
        else:
            adapters.append((task.name, "validation", adapter))
    found, shared = TypeAdapter.json_schemas(
        adapters, ref_template=f"#/components/schemas/{_PREFIX}{{model}}"
    )
    schemas |= {str(name): dict(schema) for (name, _), schema in found.items()}
    return schemas, {_PREFIX + name: model for name, model in shared.get("$defs", {}).items()}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """How an operation describes that its body is of that schema."""
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def batch(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of many of them."""
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": MOST}

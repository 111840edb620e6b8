"""What programs may ask for: the API's description, for people."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from heori.http.pages.site import Site

MOST_DEPTH = 6  # of a schema that is told in one line


def add(app: FastAPI, site: Site) -> None:
    """Add it."""

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        description = app.openapi()
        areas: dict[str, list[dict[str, Any]]] = {}
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                area = (operation.get("tags") or ["other"])[0]
                areas.setdefault(area, []).append(
                    {"path": path, "method": method.upper(), **operation}
                )
        schemas = description.get("components", {}).get("schemas", {})
        return site.render(
            request,
            "docs.html",
            areas=areas,
            schemas=schemas,
            told=_told,
            origin=f"{request.url.scheme}://{request.headers.get('host', 'localhost')}",
        )


def _told(schema: Any, depth: int = 0) -> str:
    """A schema in one line, as types are written."""
    if not isinstance(schema, dict) or depth > MOST_DEPTH:
        return "…"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " | ".join(_told(each, depth + 1) for each in schema[several])
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    if "const" in schema:
        return repr(schema["const"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_told(schema.get('items', {}), depth + 1)}]"
    if kind == "object" and "properties" in schema:
        needed = schema.get("required", ())
        fields = (
            f"{name}{'' if name in needed else '?'}: {_told(of, depth + 1)}"
            for name, of in schema["properties"].items()
        )
        return "{" + ", ".join(fields) + "}"
    return str(kind)

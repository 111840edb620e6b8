"""What comes in requests: their queries, bodies and the names in them, checked."""

import contextlib
import math
import re
from collections import Counter
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Header, HTTPException, Path, Query, Request
from fastapi.dependencies.models import Dependant
from pydantic import AfterValidator
from pydantic_core import from_json

from heori.http import schema
from heori.http.responses import Place, invalid
from heori_common.errors import short
from heori_common.names import MAX_NAME_CHARS, check_name, check_queue, check_tenant

# In the text of a JSON value: without one of these, no number in it is too large for a float.
MAYBE_TOO_LARGE = re.compile(rb"[eE]\+?\d{3}|\d{200}")

JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,200}$", description="As it was answered.")]
QueueName = Annotated[
    Annotated[str, AfterValidator(check_queue)] | None,
    Query(
        pattern=r"^[^\s,@]+$",
        max_length=MAX_NAME_CHARS,
        description="Instead of the task's own queue.",
    ),
]
Tenant = Annotated[
    Annotated[str, AfterValidator(check_tenant)] | None,
    Query(
        pattern=r"^[^\s:,]+$",
        max_length=MAX_NAME_CHARS,
        description="Whom the job is for. The tenants of a queue take turns, however many jobs "
        "each has sent.",
    ),
]


def _check_key(value: str) -> str:
    # What is no ASCII in a header is written in UTF-8 today, and read as Latin-1 since ever.
    with contextlib.suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    return check_name("key", value)


Key = Annotated[
    Annotated[str, AfterValidator(_check_key)] | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="For a day, sending again with the same key gives the same job, and no other.",
    ),
]


# A name that may have slashes in it; two, with a tenant's.
PathName = Annotated[str, Path(min_length=1, max_length=2 * MAX_NAME_CHARS + 2)]


def queue_name(given: str) -> str:
    """A queue's name out of a path.

    Raises:
        HTTPException: it is none.
    """
    try:
        return check_queue(given)
    except ValueError as error:
        raise invalid(("path", "queue"), str(error)) from error


def json_body(of: dict[str, Any]) -> dict[str, Any]:
    """The description of a body that a route reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": of}}}}


def known_query(request: Request) -> None:
    """Refuse a name in the query that means nothing: it may be a slip, as in ?Delay=5.

    Raises:
        HTTPException: it is not known, or stands there twice; or the query is no UTF-8.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError as error:  # each such byte would become the same character
        raise HTTPException(400, "the query is no UTF-8") from error
    known = _query_names(request.scope["route"].dependant)
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise HTTPException(
                400, f"the query has {short(name)}, which is not known; known: {names}"
            )
        if count > 1:
            raise HTTPException(400, f"the query has {short(name)} twice")


def _query_names(dependant: Dependant) -> list[str]:
    """The names that a route reads from the query, itself or by what it depends on."""
    own = [field.alias for field in dependant.query_params]
    return own + [name for each in dependant.dependencies for name in _query_names(each)]


async def read_json(request: Request, most: int) -> Any:
    """The body of a request, read no further than it may be long.

    Args:
        most: bytes of it.

    Raises:
        HTTPException: it is too long, or no JSON.
    """
    # Nothing else: a page of another site may send forms and texts here, and not JSON.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "the body must be application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(
                413,
                f"the body is over {most} bytes (HEORI_API_MAX_BODY)",
                {"Connection": "close"},
            )
    try:
        given = from_json(bytes(body), allow_inf_nan=False)
    except ValueError as error:
        raise invalid(("body",), f"no JSON: {error}", "json_invalid") from error
    if MAYBE_TOO_LARGE.search(body) and _has_infinity(given):
        raise invalid(("body",), "a number is too large for JSON's readers: over 1.8e308")
    return given


def arguments(given: Any, loc: Place) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call: in order, and by name.

    Raises:
        HTTPException: it is neither, or has too many.
    """
    if isinstance(given, dict | list) and len(given) > schema.MOST:
        raise invalid(loc, f"{len(given)} arguments are more than {schema.MOST}")
    if isinstance(given, dict):
        return [], given
    if isinstance(given, list):
        return given, {}
    raise invalid(loc, "an object of arguments by name is needed, or an array of them in order")


def _has_infinity(value: Any) -> bool:
    """Whether a number was too large to be read, and became infinite."""
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)

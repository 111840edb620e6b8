"""The routes of tenants: who shares a queue, and in which proportions."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from heori.http.backend import Backend
from heori.http.requests import PathName, json_body, queue_name, read_json
from heori.http.responses import answer, invalid, responses
from heori.inspect.tenants import read_tenants, set_weights


class TenantRecord(BaseModel):
    """A tenant of a queue; the first, of no name, stands for the jobs of none."""

    tenant: str
    waiting: int | None
    running: int | None
    failed: int | None
    weight: float
    share: float | None = Field(description="Of what is claimed while all wait that do now.")


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""
    described: dict[str, Any] = {
        "tags": ["queues"],
        "responses": responses(404, 409, 413, 415, 422, 503),
    }

    @router.get(
        "/queues/{queue:path}/tenants",
        response_model=list[TenantRecord],
        operation_id="tenants",
        **described,
    )
    def tenants(queue: PathName) -> Response:
        """Who shares a queue, and in which proportions; nobody where it has no tenants."""
        return answer([asdict(row) for row in read_tenants(backend.reader(), queue_name(queue))])

    @router.put(
        "/queues/{queue:path}/tenants",
        response_model=list[TenantRecord],
        operation_id="weigh-tenants",
        openapi_extra=json_body({"type": "object", "additionalProperties": {"type": "number"}}),
        **described,
    )
    async def weigh(request: Request, queue: PathName) -> Response:
        """Give tenants so many turns for one of another: {"acme": 3}."""
        given = await read_json(request, backend.settings.api_max_body)
        if not isinstance(given, dict) or not all(
            isinstance(each, int | float) and not isinstance(each, bool) for each in given.values()
        ):
            raise invalid(("body",), "an object of numbers by tenant is needed")
        name = queue_name(queue)

        def change() -> list[Any]:
            reader = backend.reader()
            set_weights(reader, name, given)
            return [asdict(row) for row in read_tenants(reader, name)]

        try:
            return answer(await run_in_threadpool(change))
        except ValueError as error:
            raise invalid(("body",), str(error)) from error

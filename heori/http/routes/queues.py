"""The routes of queues: how many jobs are where, pauses and limits."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from heori.http import responses as answers
from heori.http.backend import Backend
from heori.http.requests import PathName, Tenant, json_body, queue_name, read_json
from heori.http.responses import Changed, answer, invalid, responses
from heori.inspect.limits import resume_all
from heori.inspect.queues import add_up, read_queues, with_tenants
from heori_common.names import check_tenant
from heori_common.printable import printable
from heori_common.protocol.commands import MOST_WAITING, Pause


class Limit(BaseModel):
    """How many jobs may wait in a queue; null for any number."""

    limit: int | None


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""
    execute, commands = backend.redis.execute, backend.commands

    @router.get(
        "/queues",
        response_model=list[answers.QueueRecord],
        responses=responses(503),
        tags=["queues"],
        operation_id="queues",
    )
    def queues() -> Response:
        """What is in the queues, tenants' jobs included; null for what cannot be read."""
        reader = backend.reader()
        found = read_queues(reader)
        if reader.unreadable and not found:  # the list of the queues itself
            raise HTTPException(503, "; ".join(reader.problems()))
        named = (
            {"queue": printable(queue), **asdict(add_up([found[name] for name in names]))}
            for queue, names in with_tenants(found).items()
        )
        return answer(list(named))

    described: dict[str, Any] = {
        "tags": ["queues"],
        "responses": responses(404, 409, 413, 415, 422, 503),
    }

    @router.post(
        "/queues/{queue:path}/pause",
        response_model=Changed,
        operation_id="pause-queue",
        **described,
    )
    def pause(queue: PathName, tenant: Tenant = None) -> Response:
        """Have consumers take no more jobs of a queue, or of one of its tenants."""
        return answer({"paused": True, "changed": execute(commands.pause(_of(queue, tenant)))})

    @router.post(
        "/queues/{queue:path}/resume",
        response_model=Changed,
        operation_id="resume-queue",
        **described,
    )
    def resume(queue: PathName, tenant: Tenant = None) -> Response:
        """Have consumers take them again."""
        was_paused, _ = resume_all(backend.reader(), _of(queue, tenant))
        return answer({"paused": False, "changed": was_paused})

    @router.put(
        "/queues/{queue:path}/limit",
        response_model=Limit,
        operation_id="limit-queue",
        openapi_extra=json_body({"type": "object", "properties": {"limit": {"type": "integer"}}}),
        **described,
    )
    async def limit(request: Request, queue: PathName) -> Response:
        """Say how many jobs may wait in a queue: {"limit": 1000}, or null for any number."""
        given = await read_json(request, backend.settings.api_max_body)
        what = commands.set_limit(queue_name(queue), _limit(given))
        await run_in_threadpool(backend.redis.execute_many, what)
        return answer({"limit": given["limit"]})


def _limit(given: Any) -> int | None:
    most = given.get("limit", "") if isinstance(given, dict) else ""
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST_WAITING:
        raise invalid(("body", "limit"), f"a number from 1 to {MOST_WAITING} is needed, or null")
    return most


def _of(queue: str, tenant: str | None) -> Pause:
    return Pause.of_queue(queue_name(queue), "" if tenant is None else check_tenant(tenant))

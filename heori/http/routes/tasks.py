"""The routes of the tasks: each sends jobs of one."""

from typing import Annotated, Any, Unpack
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime
from starlette.concurrency import run_in_threadpool

from heori import AsyncSender, PayloadTooLarge
from heori.http import responses as answers
from heori.http import schema
from heori.http.backend import Backend
from heori.http.requests import Key, QueueName, Tenant, arguments, read_json
from heori.http.responses import Place, answer, invalid, invalid_arguments, responses
from heori_common.protocol.job import NewJob
from heori_common.published import offered
from heori_common.tasks import Task
from heori_producer.options import AllOptions

Delay = Annotated[str | None, Query(description="How long to wait first: 20s, 5min, or seconds.")]
At = Annotated[AwareDatetime | None, Query(description="When it may run.")]
AtFront = Annotated[bool, Query(description="Put it in front of the jobs that already wait.")]


def add(router: APIRouter, backend: Backend) -> dict[str, Any]:
    """Add a route for each task that is offered; returns the schemas that they share, by name."""
    served = list(offered(backend.settings.tasks).values())
    schemas, shared = schema.of(served)
    for task in served:
        _add_task(router, backend, task, schemas[task.name])
    return shared


def _add_task(
    router: APIRouter, backend: Backend, task: Task[..., Any], parameters: dict[str, Any]
) -> None:
    async def send(
        request: Request,
        queue: QueueName = None,
        tenant: Tenant = None,
        delay: Delay = None,
        at: At = None,
        at_front: AtFront = False,  # noqa: FBT002 - a parameter of the query
        key: Key = None,
    ) -> Response:
        args, kwargs = arguments(await read_json(request, backend.settings.api_max_body), ("body",))
        job = await run_in_threadpool(_encode, backend, task, args, kwargs, ("body",))
        sender = _sender(
            backend, queue=queue, tenant=tenant, delay=delay, at=at, at_front=at_front, key=key
        )
        [handle] = await sender.send_jobs(task, [job])
        return answer(
            {"id": handle.id, "queue": handle.queue},
            202,
            {"Location": f"/v1/jobs/{quote(handle.id, safe='')}"},
        )

    async def send_many(
        request: Request,
        queue: QueueName = None,
        tenant: Tenant = None,
        delay: Delay = None,
        at: At = None,
    ) -> Response:
        if "idempotency-key" in request.headers:
            raise invalid(("header", "Idempotency-Key"), "a batch has none: send one by one")
        calls = await read_json(request, backend.settings.api_max_body)
        if not isinstance(calls, list) or not 1 <= len(calls) <= schema.MOST:
            raise invalid(("body",), f"an array of 1 to {schema.MOST} calls is needed")
        sender = _sender(backend, queue=queue, tenant=tenant, delay=delay, at=at)

        def encode() -> list[NewJob]:
            return [
                _encode(backend, task, *arguments(call, ("body", n)), ("body", n))
                for n, call in enumerate(calls)
            ]

        sent = await sender.send_jobs(task, await run_in_threadpool(encode))
        return answer({"ids": [each.id for each in sent], "queue": sent[0].queue}, 202)

    about = (task.function.__doc__ or "").strip()
    described = responses(413, 415, 422, 429, 503)
    router.add_api_route(
        f"/tasks/{task.name}",
        send,
        methods=["POST"],
        status_code=202,
        response_model=answers.SentJob,
        responses=described,
        operation_id=task.name,
        summary=f"Send a job of {task.name}",
        description=about,
        tags=["tasks"],
        openapi_extra=schema.body(parameters),
    )
    router.add_api_route(
        f"/tasks/{task.name}/batch",
        send_many,
        methods=["POST"],
        status_code=202,
        response_model=answers.SentJobs,
        responses=described,
        operation_id=f"{task.name}-batch",
        summary=f"Send many jobs of {task.name}",
        description="All of them are checked before the first is sent.",
        tags=["tasks"],
        openapi_extra=schema.body(schema.batch(parameters)),
    )


def _sender(backend: Backend, **options: Unpack[AllOptions]) -> AsyncSender:
    try:
        return backend.producer.options(**options)
    except (ValueError, OverflowError) as error:  # names are checked already
        wrong = "at" if options.get("delay") is None else "delay"
        raise invalid(("query", wrong), str(error)) from error


def _encode(
    backend: Backend,
    task: Task[..., Any],
    args: list[Any],
    kwargs: dict[str, Any],
    loc: Place,
) -> NewJob:
    try:
        return backend.producer.encode(task, tuple(args), kwargs, from_json=True)
    except PayloadTooLarge:
        raise
    except (TypeError, ValueError) as error:
        raise invalid_arguments(error, loc) from error

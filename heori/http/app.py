"""The service: one route per task, and those of jobs and queues.

request ──▶ RequestMetrics ──▶ Authentication ──▶ route ──▶ AsyncProducer ──▶ Redis
              (counted)          (let in)          │
                                                   └ GET …?wait=: one connection for all results
"""

import asyncio
import contextlib
import math
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Unpack
from urllib.parse import quote, unquote_to_bytes

from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import AfterValidator, AwareDatetime
from pydantic_core import from_json, to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from heori import AsyncProducer, AsyncSender, PayloadTooLarge, QueueFull
from heori.http import responses as answers
from heori.http import schema
from heori.http.auth import Authentication
from heori.http.framing import OneLength
from heori.http.head import HeadRequests
from heori.http.metrics import RequestMetrics
from heori.http.responses import invalid, invalid_arguments, responses
from heori.inspect import job as job_record
from heori.inspect.queues import read_queues
from heori.inspect.reader import RedisReader
from heori_common.errors import short
from heori_common.names import MAX_NAME_CHARS, check_name, check_queue, check_tenant
from heori_common.printable import printable
from heori_common.protocol.commands import Commands, WhenFull
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import Keys
from heori_common.published import offered
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.settings import Settings
from heori_common.tasks import Task
from heori_producer.options import AllOptions

LONGEST_WAIT = 60.0  # seconds for which a result is awaited in one request
# In the text of a JSON value: without one of these, no number in it is too large for a float.
MAYBE_TOO_LARGE = re.compile(rb"[eE]\+?\d{3}|\d{200}")
ENDED = ("finished", "failed", "stopped", "canceled")

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
Delay = Annotated[str | None, Query(description="How long to wait first: 20s, 5min, or seconds.")]
At = Annotated[AwareDatetime | None, Query(description="When it may run.")]
AtFront = Annotated[bool, Query(description="Put it in front of the jobs that already wait.")]


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
Wait = Annotated[
    float,
    Query(
        ge=0, le=LONGEST_WAIT, description="How many seconds to wait for the job's end, at most."
    ),
]


class Service:
    """The application, and what its requests share: a producer, and a client that reads.

    Args:
        settings: the tasks are those registered by now.

    Raises:
        ValueError: the URL of Redis is malformed.
    """

    def __init__(self, settings: Settings) -> None:
        # No request waits for room in a queue: the answer says when to try again.
        full: WhenFull = "drop_oldest" if settings.when_full == "drop_oldest" else "reject"
        self._settings = settings
        self._producer = AsyncProducer(settings=settings, when_full=full)
        self._redis = RedisClient(settings.redis_url)
        # What is read comes from the server that takes the producer's writes.
        self._producer.on_reconnect = self._redis.close
        self._commands = Commands(Keys(settings.key_prefix))
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Answer the requests that wait for results now; a signal handler may call this."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    def app(self) -> FastAPI:
        """The application."""
        tokens = [token.get_secret_value() for token in self._settings.api_tokens]
        bearer = [Depends(HTTPBearer(auto_error=False))] if tokens else []  # for the description
        app = FastAPI(
            title="Heori",
            description="Send jobs to their queues, and get their results.",
            lifespan=self._lifespan,
            docs_url=None if tokens else "/docs",  # a browser's page names no token
            redoc_url=None,
            exception_handlers={
                PayloadTooLarge: _failed,
                QueueFull: _failed,
                RedisUnavailable: _failed,
                RedisRefused: _failed,
                RequestValidationError: _invalid,
                ClientDisconnect: _gone,
            },
        )
        served = list(offered(self._settings.tasks).values())
        schemas, shared = schema.of(served)
        router = APIRouter(prefix="/v1", dependencies=[Depends(_known_query), *bearer])
        for task in served:
            self._add_task(router, task, schemas[task.name])
        self._add_jobs(router)
        app.include_router(router)
        registry = CollectorRegistry()
        self._add_health(app, registry)
        described = app.openapi

        def openapi() -> dict[str, Any]:
            description = described()
            description.setdefault("components", {}).setdefault("schemas", {}).update(shared)
            return description

        app.openapi = openapi  # type: ignore[method-assign]
        app.add_middleware(Authentication, tokens=tokens)
        app.add_middleware(OneLength)
        app.add_middleware(RequestMetrics, registry=registry)
        app.add_middleware(HeadRequests)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        yield
        await self._producer.close()
        self._redis.close()

    # Tasks

    def _add_task(self, router: APIRouter, task: Task[..., Any], arguments: dict[str, Any]) -> None:
        async def send(
            request: Request,
            queue: QueueName = None,
            tenant: Tenant = None,
            delay: Delay = None,
            at: At = None,
            at_front: AtFront = False,  # noqa: FBT002 - a parameter of the query
            key: Key = None,
        ) -> Response:
            args, kwargs = _arguments(await self._json(request), ("body",))
            job = await run_in_threadpool(self._encode, task, args, kwargs, ("body",))
            sender = self._sender(
                queue=queue, tenant=tenant, delay=delay, at=at, at_front=at_front, key=key
            )
            [handle] = await sender.send_jobs(task, [job])
            return _answer(
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
            calls = await self._json(request)
            if not isinstance(calls, list) or not 1 <= len(calls) <= schema.MOST:
                raise invalid(("body",), f"an array of 1 to {schema.MOST} calls is needed")
            sender = self._sender(queue=queue, tenant=tenant, delay=delay, at=at)

            def encode() -> list[NewJob]:
                return [
                    self._encode(task, *_arguments(call, ("body", n)), ("body", n))
                    for n, call in enumerate(calls)
                ]

            sent = await sender.send_jobs(task, await run_in_threadpool(encode))
            return _answer({"ids": [each.id for each in sent], "queue": sent[0].queue}, 202)

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
            openapi_extra=schema.body(arguments),
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
            openapi_extra=schema.body(schema.batch(arguments)),
        )

    async def _json(self, request: Request) -> Any:
        """The body of a request, read no further than it may be long.

        Raises:
            HTTPException: it is too long, or no JSON.
        """
        # Nothing else: a page of another site may send forms and texts here, and not JSON.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "the body must be application/json")
        most = self._settings.api_max_body
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

    def _sender(self, **options: Unpack[AllOptions]) -> AsyncSender:
        try:
            return self._producer.options(**options)
        except (ValueError, OverflowError) as error:  # names are checked already
            wrong = "at" if options.get("delay") is None else "delay"
            raise invalid(("query", wrong), str(error)) from error

    def _encode(
        self, task: Task[..., Any], args: list[Any], kwargs: dict[str, Any], loc: answers.Place
    ) -> NewJob:
        try:
            return self._producer.encode(task, tuple(args), kwargs, from_json=True)
        except PayloadTooLarge:
            raise
        except (TypeError, ValueError) as error:
            raise invalid_arguments(error, loc) from error

    # Jobs and queues

    def _add_jobs(self, router: APIRouter) -> None:
        @router.get(
            "/jobs/{job_id}",
            response_model=answers.JobRecord,
            response_model_exclude_unset=True,
            responses=responses(404, 409, 422, 503),
            tags=["jobs"],
            operation_id="job",
        )
        async def job(job_id: JobId, wait: Wait = 0.0) -> Response:
            """How a job is, and its result or error; with wait, once it has ended."""
            record = await run_in_threadpool(self._read, job_id)
            if wait and record["status"] not in ENDED:
                await self._wait(job_id, wait)
                record = await run_in_threadpool(self._read, job_id)
            return _answer(record)

        @router.delete(
            "/jobs/{job_id}",
            response_model=answers.CanceledJob,
            responses=responses(404, 409, 422, 503),
            tags=["jobs"],
            operation_id="cancel",
        )
        async def cancel(job_id: JobId) -> Response:
            """Keep a job from running, if no slot has begun it."""
            record = await run_in_threadpool(self._read, job_id)
            if not await self._producer.cancel(record["queue"], [job_id]):
                status = (await run_in_threadpool(self._read, job_id))["status"]
                raise HTTPException(409, f"job {job_id} is {status}; it cannot be canceled")
            return _answer({"id": job_id, "status": "canceled"})

        @router.get(
            "/queues",
            response_model=list[answers.QueueRecord],
            responses=responses(503),
            tags=["queues"],
            operation_id="queues",
        )
        def queues() -> Response:
            """What is in the queues; null for what cannot be read."""
            reader = RedisReader(self._redis, self._commands.keys)
            found = read_queues(reader)
            if reader.unreadable and not found:  # the list of the queues itself
                raise HTTPException(503, "; ".join(reader.problems()))
            named = ({"queue": printable(name), **asdict(of)} for name, of in found.items())
            return _answer(list(named))

    def _read(self, job_id: str) -> dict[str, Any]:
        """A job.

        Raises:
            HTTPException: there is none, or its key holds something else.
        """
        reader = RedisReader(self._redis, self._commands.keys)
        record = job_record.read(reader, job_id)
        if record is None and reader.unreadable:
            raise HTTPException(409, "; ".join(reader.problems()))
        if record is None:
            raise HTTPException(404, f"there is no job {job_id}; its result may have expired")
        progress = reader.read(self._commands.progress_of(job_id))
        if progress is not None:
            record |= {"progress": progress.fraction, "progress_text": progress.text}
        if reader.unreadable:
            record["unreadable"] = list(reader.problems())
        return record

    async def _wait(self, job_id: str, limit: float) -> None:
        """Wait for a job's end, for so many seconds, or until the service ends."""
        waits = [
            asyncio.ensure_future(self._producer.results.ended(job_id)),
            asyncio.ensure_future(self._ending.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    # Health

    def _add_health(self, app: FastAPI, registry: CollectorRegistry) -> None:
        @app.get("/metrics", include_in_schema=False)
        def metrics() -> Response:
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

        @app.get("/healthz", include_in_schema=False)
        async def healthz() -> dict[str, str]:
            return {"status": "alive"}

        @app.get("/readyz", include_in_schema=False)
        def readyz() -> dict[str, str]:
            self._redis.execute(self._commands.probe())
            return {"status": "ready"}


def _known_query(request: Request) -> None:
    """Refuse a name in the query that means nothing: it may be a slip, as in ?Delay=5.

    Raises:
        HTTPException: it is not known, or stands there twice; or the query is no UTF-8.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError as error:  # each such byte would become the same character
        raise HTTPException(400, "the query is no UTF-8") from error
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise HTTPException(
                400, f"the query has {short(name)}, which is not known; known: {names}"
            )
        if count > 1:
            raise HTTPException(400, f"the query has {short(name)} twice")


def _has_infinity(value: Any) -> bool:
    """Whether a number was too large to be read, and became infinite."""
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _arguments(given: Any, loc: answers.Place) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(given, dict | list) and len(given) > schema.MOST:
        raise invalid(loc, f"{len(given)} arguments are more than {schema.MOST}")
    if isinstance(given, dict):
        return [], given
    if isinstance(given, list):
        return given, {}
    raise invalid(loc, "an object of arguments by name is needed, or an array of them in order")


def _answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    # JSON has no NaN and no infinity, though the progress of a job may.
    body = to_json(value, inf_nan_mode="null")
    return Response(body, status, headers, media_type="application/json")


async def _failed(_: Request, error: Exception) -> Response:
    status, body, headers = answers.failure(error)
    return JSONResponse(body, status, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": answers.told(error.errors())}, 422)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # the caller has gone

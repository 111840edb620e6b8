"""The service: one route per task, and those of jobs and queues.

request ──▶ RequestMetrics ──▶ Authentication ──▶ route ──▶ AsyncProducer ──▶ Redis
              (counted)          (let in)          │ └ GET …?wait=: one connection for all results
                                                   ├ inspect, which reads and acts
                                                   └ page ──▶ Monitor, which reads for all pages
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect

from heori import PayloadTooLarge, QueueFull
from heori.http import pages
from heori.http import responses as answers
from heori.http.auth import Authentication
from heori.http.backend import Backend
from heori.http.framing import OneLength
from heori.http.head import HeadRequests
from heori.http.metrics import RequestMetrics
from heori.http.monitor import Monitor
from heori.http.pages.site import Site
from heori.http.privacy import Privacy
from heori.http.requests import known_query
from heori.http.root import UnderRoot
from heori.http.routes import (
    consumers,
    dead,
    health,
    jobs,
    locks,
    overview,
    pauses,
    queues,
    schedule,
    tasks,
    tenants,
)
from heori.http.tokens import ApiTokens
from heori_common.settings import Settings


class Service:
    """The application, and what its requests share.

    Args:
        settings: the tasks are those registered by now.

    Raises:
        ValueError: the URL of Redis is malformed.
    """

    def __init__(self, settings: Settings) -> None:
        self._backend = Backend(settings)
        self._loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Answer the requests that wait for results now; a signal handler may call this."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._backend.ending.set)

    def app(self) -> FastAPI:
        """The application."""
        backend = self._backend
        settings = backend.settings
        tokens = ApiTokens(settings.api_tokens, settings.api_read_tokens)
        bearer = [Depends(HTTPBearer(auto_error=False))] if tokens else []  # for the description
        app = FastAPI(
            title="Heori",
            description="Send jobs to their queues, and get their results.",
            lifespan=self._lifespan,
            docs_url=None,  # it would load its scripts from another site
            redoc_url=None,
            redirect_slashes=False,  # it would lead to any Host that a request names
            servers=[{"url": backend.root}] if backend.root else None,
            exception_handlers={
                PayloadTooLarge: _failed,
                QueueFull: _failed,
                RequestValidationError: _invalid,
                ClientDisconnect: _gone,
            },
        )
        router = APIRouter(prefix="/v1", dependencies=[Depends(known_query), *bearer])
        shared = tasks.add(router, backend)
        for area in (jobs, dead, queues, tenants, pauses, locks, schedule, consumers):
            area.add(router, backend)
        monitor = Monitor(backend)
        overview.add(router, monitor)
        app.include_router(router)
        pages.add(app, Site(backend, monitor, tokens=tokens))
        registry = CollectorRegistry()
        health.add(app, backend, registry)
        described = app.openapi

        def openapi() -> dict[str, Any]:
            description = described()
            description.setdefault("components", {}).setdefault("schemas", {}).update(shared)
            return description

        app.openapi = openapi  # type: ignore[method-assign]
        app.add_middleware(Authentication, tokens=tokens, root=backend.root)
        app.add_middleware(OneLength)
        app.add_middleware(RequestMetrics, registry=registry)
        app.add_middleware(Privacy)
        app.add_middleware(HeadRequests)
        app.add_middleware(UnderRoot, root=backend.root)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        yield
        await self._backend.close()


async def _failed(_: Request, error: Exception) -> Response:
    status, body, headers = answers.failure(error)
    return JSONResponse(body, status, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": answers.told(error.errors())}, 422)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # the caller has gone

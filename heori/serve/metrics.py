"""What the service counts: its requests, by route and status."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Upper bounds in seconds: a job takes some milliseconds to send, and a result may be awaited long.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


class Requests:
    """Counts what passes."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "heori_api_requests",
            "Requests answered; the route is other where there is none.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "heori_api_request_seconds",
            "Time until a request was answered, waiting for results included.",
            ["route"],
            registry=registry,
            buckets=SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if route != "other" else "other"  # anybody may invent some
            self._requests.labels(route, method, status).inc()
            self._seconds.labels(route).observe(time.perf_counter() - began)

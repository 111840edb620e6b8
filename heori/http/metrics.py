"""What the service counts: its requests, by route and status."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heori_common.metrics import API_REQUESTS, API_SECONDS, METHOD, OTHER

# Prometheus learns nothing from the time at which a counter was made.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RequestMetrics:
    """Counts the requests that pass through it, and how long each took."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            API_REQUESTS.name, API_REQUESTS.help, API_REQUESTS.label_names, registry=registry
        )
        self._seconds = Histogram(
            API_SECONDS.name,
            API_SECONDS.help,
            API_SECONDS.label_names,
            registry=registry,
            buckets=API_SECONDS.bounds,
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
            route = getattr(scope.get("route"), "path", OTHER)
            known = route != OTHER and scope["method"] in METHOD.values  # a caller may invent any
            method = scope["method"] if known else OTHER
            self._requests.labels(route, method, status).inc()
            self._seconds.labels(route).observe(time.perf_counter() - began)

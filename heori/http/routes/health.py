"""The routes for machines that look after the service: open to all."""

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from heori.http.backend import Backend


def add(app: FastAPI, backend: Backend, registry: CollectorRegistry) -> None:
    """Add them; the registry's metrics are shown."""

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> dict[str, str]:
        backend.redis.execute(backend.commands.probe())
        return {"status": "ready"}

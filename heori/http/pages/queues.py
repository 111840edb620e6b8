"""Queues: how many jobs of each are where, and their pauses."""

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from heori.http.pages.overview import FIRST_LOOK_S
from heori.http.pages.site import Site
from heori_common.names import check_queue
from heori_common.protocol.commands import Pause
from heori_common.protocol.keys import TENANT


def add(app: FastAPI, site: Site) -> None:
    """Add them."""
    execute, commands = site.backend.redis.execute, site.backend.commands

    @app.get("/queues", include_in_schema=False)
    def queues(request: Request) -> Response:
        seen = site.monitor.look(FIRST_LOOK_S)
        # What somebody has paused is shown at once, and not from the next reading on.
        pauses = site.backend.reader().read(commands.pauses()) or []
        paused = {each.name for each in pauses if each.kind == "queue"}
        return site.render(request, "queues.html", seen=seen, overview=seen.overview, paused=paused)

    @app.post("/queues/{queue:path}/pause", include_in_schema=False)
    async def pause(request: Request, queue: str) -> Response:
        try:
            what = _pause(queue)
        except ValueError as error:
            return site.refused(request, 422, "{why}", why=str(error))
        if not await run_in_threadpool(execute, commands.pause(what)):
            return site.refused(request, 409, "{queue} was paused already.", queue=queue)
        return site.done(request, "{queue} is paused. What runs goes on to its end.", queue=queue)

    @app.post("/queues/{queue:path}/resume", include_in_schema=False)
    async def resume(request: Request, queue: str) -> Response:
        try:
            what = _pause(queue)
        except ValueError as error:
            return site.refused(request, 422, "{why}", why=str(error))
        await run_in_threadpool(execute, commands.resume(what))
        return site.done(request, "{queue} is resumed.", queue=queue)


def _pause(queue: str) -> Pause:
    """Of a queue, or of one tenant's.

    Raises:
        ValueError: it is no name of one.
    """
    whole, _, tenant = queue.partition(TENANT)
    return Pause.of_queue(check_queue(whole), tenant)

"""Queues: how many jobs of each are where; their pauses, limits and tenants."""

from collections.abc import Iterable

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from heori.http.pages.overview import FIRST_LOOK_S
from heori.http.pages.site import NotDone, Site
from heori.inspect.limits import read_held, resume_all
from heori.inspect.overview import QueueRow
from heori.inspect.queues import read_one, total, with_tenants
from heori.inspect.tenants import read_tenants, set_weights
from heori_common.names import check_queue
from heori_common.protocol.commands import LEAST_WEIGHT, MOST_WAITING, MOST_WEIGHT, Pause
from heori_common.protocol.keys import TENANT, whole_queue


def add(app: FastAPI, site: Site) -> None:
    """Add them."""
    redis, commands = site.backend.redis, site.backend.commands

    @app.get("/queues", include_in_schema=False)
    def queues(request: Request) -> Response:
        seen = site.monitor.look(FIRST_LOOK_S)
        return site.render(
            request,
            "queues.html",
            seen=seen,
            overview=seen.overview,
            queues=_whole(seen.overview.queues) if seen.overview else (),
            paused=paused(),
        )

    def paused() -> set[str]:
        """Read each time, so that what somebody has paused is shown at once."""
        pauses = site.backend.reader().read(commands.pauses()) or []
        return {each.name for each in pauses if each.kind == "queue"}

    @app.get("/queues/{queue:path}", include_in_schema=False)
    def one(request: Request, queue: str) -> Response:
        reader = site.backend.reader()
        return site.render(
            request,
            "queue.html",
            queue=queue,
            counts=read_one(reader, queue),
            tenants=read_tenants(reader, queue),
            rates=read_held(reader, [queue]).rates,
            is_paused=bool(paused() & {queue, whole_queue(queue)}),
            is_whole=whole_queue(queue) == queue,
            most=MOST_WAITING,
            weights=(LEAST_WEIGHT, MOST_WEIGHT),
            problems=list(reader.problems()),
        )

    @app.post("/queues/{queue:path}/pause", include_in_schema=False)
    async def pause(request: Request, queue: str) -> Response:
        if not await run_in_threadpool(redis.execute, commands.pause(_pause(queue))):
            raise NotDone(409, "{queue} was paused already.", queue=queue)
        return site.done(request, "{queue} is paused. What runs goes on to its end.", queue=queue)

    @app.post("/queues/{queue:path}/resume", include_in_schema=False)
    async def resume(request: Request, queue: str) -> Response:
        await run_in_threadpool(resume_all, site.backend.reader(), _pause(queue))
        return site.done(request, "{queue} is resumed.", queue=queue)

    @app.post("/queues/{queue:path}/limit", include_in_schema=False)
    async def limit(request: Request, queue: str) -> Response:
        most = _limit((await site.form(request)).get("limit", "").strip())
        await run_in_threadpool(redis.execute_many, commands.set_limit(_checked(queue), most))
        return site.done(request, "The limit of {queue} is changed.", queue=queue)

    @app.post("/queues/{queue:path}/weight", include_in_schema=False)
    async def weigh(request: Request, queue: str) -> Response:
        form = await site.form(request)
        tenant = form.get("tenant", "")
        try:
            weights = {tenant: float(form.get("weight", ""))}
            await run_in_threadpool(set_weights, site.backend.reader(), _checked(queue), weights)
        except ValueError as error:
            raise NotDone(422, "{why}", why=str(error)) from error
        return site.done(request, "The share of {tenant} is changed.", tenant=tenant)


def _whole(rows: Iterable[QueueRow]) -> list[QueueRow]:
    """The queues with all that their tenants have, who may be very many."""
    of = {row.queue: row for row in rows}
    return [
        QueueRow(
            queue,
            total(row.waiting for row in parts),
            max(row.oldest for row in parts),
            total(row.running for row in parts),
            total(row.scheduled for row in parts),
            total(row.failed for row in parts),
            parts[0].limit,
            total(row.blocked for row in parts),
            sum(row.expired for row in parts),
        )
        for queue, names in sorted(with_tenants(of).items())
        for parts in [[of[name] for name in names]]
    ]


def _checked(queue: str) -> str:
    try:
        return check_queue(queue)
    except ValueError as error:
        raise NotDone(422, "{why}", why=str(error)) from error


def _pause(queue: str) -> Pause:
    """Of a queue, or of one tenant's."""
    whole, _, tenant = queue.partition(TENANT)
    return Pause.of_queue(_checked(whole), tenant)


def _limit(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 20 or not 1 <= int(text) <= MOST_WAITING:
        raise NotDone(422, "A number of jobs from 1 up is needed, or nothing for any number.")
    return int(text)

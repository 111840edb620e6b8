"""Locks: who holds them, who waits in line, and circles of who waits for whom."""

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from heori.http.pages.site import NotDone, Site
from heori.http.routes.locks import CONSEQUENCE, Kind
from heori.inspect.locks import Locks, deadlocks

MOST_SHOWN = 200  # locks of a page: those that most wait for


def add(app: FastAPI, site: Site) -> None:
    """Add them."""

    def open_locks() -> Locks:
        return Locks(site.backend.redis, site.backend.commands.keys)

    @app.get("/locks", include_in_schema=False)
    def locks(request: Request, name: str = "") -> Response:
        them = open_locks()
        found = them.named(name, None) if name else them.all()
        return site.render(
            request,
            "locks.html",
            locks=found[:MOST_SHOWN],
            more=max(0, len(found) - MOST_SHOWN),
            deadlocks=deadlocks(found),
            forced=them.count_forced(),
            problems=list(them.reader.problems()),
        )

    @app.get("/locks/{kind}/{name:path}", include_in_schema=False)
    def lock(request: Request, kind: Kind, name: str) -> Response:
        found = open_locks().named(name, kind)
        return site.render(
            request,
            "lock.html",
            kind=kind,
            name=name,
            lock=found[0] if found else None,
            consequence=CONSEQUENCE,
        )

    @app.post("/locks/{kind}/{name:path}/release", include_in_schema=False)
    async def release(request: Request, kind: Kind, name: str) -> Response:
        wanted = (await site.form(request)).get("request", "")

        def force() -> bool:
            them = open_locks()
            return any(
                them.force(lock, holder)
                for lock in them.named(name, kind)
                for holder in lock.holders
                if holder.request == wanted
            )

        if not await run_in_threadpool(force):
            raise NotDone(409, "That holder had given the lock back already.")
        return site.done(request, "{name} was taken from its holder.", name=name)

"""The page: what people operate Heori by, in a browser.

`site` renders templates; each other module has the pages of one area, and what their buttons do.
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from heori.http.pages import consumers, dead, docs, jobs, locks, login, overview, queues, schedule
from heori.http.pages.site import NotDone, Site
from heori.http.responses import failure
from heori_common.redis.errors import RedisRefused, RedisUnavailable


def add(app: FastAPI, site: Site) -> None:
    """Add all pages."""
    for area in (login, overview, queues, dead, jobs, consumers, schedule, locks, docs):
        area.add(app, site)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, NotDone)
        return site.refused(request, error)

    async def away(request: Request, error: Exception) -> Response:
        assert isinstance(error, RedisUnavailable | RedisRefused)
        if not site.is_page(request):
            status, body, headers = failure(error)
            return JSONResponse(body, status, headers)
        if isinstance(error, RedisUnavailable):  # its message names the address
            return site.refused(request, NotDone(503, "Redis does not answer."))
        return site.refused(request, NotDone(503, "Redis refuses: {why}", why=error.said))

    async def lost(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if not site.is_page(request) or error.status_code != 404:
            return await http_exception_handler(request, error)
        return site.refused(request, NotDone(404, "There is no such page."))

    app.add_exception_handler(NotDone, refused)
    app.add_exception_handler(RedisUnavailable, away)
    app.add_exception_handler(RedisRefused, away)
    app.add_exception_handler(HTTPException, lost)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))

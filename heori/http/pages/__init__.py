"""The page: what people operate Heori by, in a browser.

`site` renders templates; each other module has the pages of one area, and what their buttons do.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from heori.http.pages import dead, docs, jobs, locks, login, overview, queues, schedule
from heori.http.pages.site import NotDone, Site


def add(app: FastAPI, site: Site) -> None:
    """Add all pages."""
    for area in (login, overview, queues, dead, jobs, schedule, locks, docs):
        area.add(app, site)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, NotDone)
        return site.refused(request, error)

    app.add_exception_handler(NotDone, refused)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))

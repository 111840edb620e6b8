"""The page: what people operate Heori by, in a browser.

`site` renders templates; each other module has the pages of one area, and what their buttons do.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from heori.http.pages import docs, login, overview, queues
from heori.http.pages.site import Site


def add(app: FastAPI, site: Site) -> None:
    """Add all pages."""
    for area in (login, overview, queues, docs):
        area.add(app, site)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))

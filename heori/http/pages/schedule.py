"""The schedule: periodic jobs, when each ran and when it will."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from heori.http.pages.site import NotDone, Site
from heori.inspect.reader import RedisReader
from heori.inspect.schedule import (
    NoSuchEntry,
    StillSent,
    delete,
    read_entries,
    run_now,
    set_paused,
)

T = TypeVar("T")


def add(app: FastAPI, site: Site) -> None:
    """Add it."""

    @app.get("/schedule", include_in_schema=False)
    def schedule(request: Request) -> Response:
        reader = site.backend.reader()
        entries = read_entries(reader)
        problems = list(reader.problems())
        return site.render(request, "schedule.html", entries=entries, problems=problems)

    @app.post("/schedule/{name:path}/pause", include_in_schema=False)
    def pause(request: Request, name: str) -> Response:
        return change(request, name, paused=True)

    @app.post("/schedule/{name:path}/resume", include_in_schema=False)
    def resume(request: Request, name: str) -> Response:
        return change(request, name, paused=False)

    def change(request: Request, name: str, *, paused: bool) -> Response:
        _do(site, name, lambda reader: set_paused(reader, name, paused=paused))
        if paused:
            return site.done(request, "{name} is paused: its ticks pass by.", name=name)
        return site.done(request, "{name} is sent again from its next tick on.", name=name)

    @app.post("/schedule/{name:path}/delete", include_in_schema=False)
    def delete_it(request: Request, name: str) -> Response:
        _do(site, name, lambda reader: delete(reader, name))
        return site.done(request, "{name} is deleted.", name=name)

    @app.post("/schedule/{name:path}/run", include_in_schema=False)
    def run(request: Request, name: str) -> Response:
        sent = _do(site, name, lambda reader: run_now(reader, name))
        if sent is None:
            raise NotDone(
                409, "{name} may not overlap, and its last job still waits or runs.", name=name
            )
        return site.done(request, "{job} is sent to {queue}.", job=sent[0], queue=sent[1])


def _do(site: Site, name: str, act: Callable[[RedisReader], T]) -> T:
    """Do something to an entry.

    Raises:
        NotDone: it cannot be done.
    """
    try:
        return act(site.backend.reader())
    except NoSuchEntry as error:
        raise NotDone(404, "There is no periodic job {name}.", name=name) from error
    except StillSent as error:
        raise NotDone(
            409, "A consumer that lives has {name}: take it out of the code.", name=name
        ) from error

"""Consumers: how each is, and what every slot of one runs."""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from heori import formats
from heori.http.pages.site import NotDone, Site
from heori.inspect.consumers import (
    JobInSlot,
    NoConsumer,
    NotDrained,
    WorkerView,
    drain,
    list_consumers,
    read_consumer,
)

MOST_SHOWN = 500
MOST_FREE = 64  # slots of a worker that are shown though they are free
PAGE_S = 0.2  # for one to answer: a page that is renewed does not wait for one that hangs


def add(app: FastAPI, site: Site) -> None:
    """Add them."""

    @app.get("/consumers", include_in_schema=False)
    def consumers(request: Request) -> Response:
        reader = site.backend.reader()
        overview = site.monitor.look(0.0).overview
        rows = {row.consumer: row for row in overview.consumers} if overview else {}
        found = list_consumers(reader, PAGE_S, rows)
        return site.render(
            request,
            "consumers.html",
            consumers=found[:MOST_SHOWN],
            more=max(0, len(found) - MOST_SHOWN),
            rates={name: row.jobs_per_second for name, row in rows.items()},
            sizes={name: formats.pool(row.size) for name, row in rows.items() if row.size},
            problems=list(reader.problems()),
        )

    @app.get("/consumers/{name:path}", include_in_schema=False)
    def consumer(request: Request, name: str) -> Response:
        reader = site.backend.reader()
        found = read_consumer(reader, name, PAGE_S)
        overview = site.monitor.look(0.0).overview
        of_now = overview.workers if overview else []
        return site.render(
            request,
            "consumer.html",
            404 if found is None else 200,
            name=name,
            consumer=found,
            slots_of=_slots,
            most_free=MOST_FREE,
            pool=formats.pool,
            lately={row.worker: row.states for row in of_now if row.consumer == name},
            problems=list(reader.problems()),
        )

    @app.post("/consumers/{name:path}/drain", include_in_schema=False)
    def drain_it(request: Request, name: str) -> Response:
        ask(name, drains=True)
        return site.done(
            request, "{name} claims nothing more. What runs goes on to its end.", name=name
        )

    @app.post("/consumers/{name:path}/resume", include_in_schema=False)
    def resume_it(request: Request, name: str) -> Response:
        ask(name, drains=False)
        return site.done(request, "{name} claims again.", name=name)

    def ask(name: str, *, drains: bool) -> None:
        try:
            drain(site.backend.reader(), name, drains=drains)
        except NoConsumer as error:
            raise NotDone(404, "There is no consumer {name}.", name=name) from error
        except NotDrained as error:
            raise NotDone(
                409, "{name} is a worker of rq's own; `rq suspend` holds all workers.", name=name
            ) from error


def _slots(worker: WorkerView) -> dict[int, JobInSlot | None]:
    """What each slot runs: each has a row of its own, so that none moves when another is free."""
    free = range(worker.slots) if worker.slots <= MOST_FREE else ()
    jobs = {job.slot: job for job in worker.jobs}
    return {slot: jobs.get(slot) for slot in sorted({*free, *jobs})}

"""Dead letters: their groups, the letters of one, and what is done with one or with many.

Whatever looks at many goes by steps. The groups come as events of one stream, which a script of the
page puts in their place; counting, replaying and deleting are pages that ask for the next step.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from heori.http.pages.site import NotDone, Site
from heori.http.routes.dead import REASONS, Wanted, change_one, open_letters, wanted
from heori.inspect import dead_steps
from heori.inspect.dead_choice import UNREADABLE
from heori.inspect.dead_groups import DeadGroups
from heori.inspect.dead_steps import DONE, Deed
from heori.inspect.dead_sweep import Position
from heori_common.printable import printable
from heori_common.redis.errors import RedisRefused, RedisUnavailable

FILTERS = ("queue", "task", "unread", "error", "q", "older", "meta")
OVERS = {"1d": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}  # seconds that bars are about
DEEDS: dict[str, Deed] = {"replay": "replay", "purge": "purge"}
LISTED = 50  # letters on a page
SHOWN_GROUPS = 200
MOST_STREAMS = 50  # at a time; each keeps its groups in memory
# Between two steps of a stream, so that Redis does something else most of the time.
PAUSE_S = 0.05


def add(app: FastAPI, site: Site) -> None:
    """Add them."""
    _add_groups(app, site)
    _add_letters(app, site)

    @app.get("/dead/{name}", include_in_schema=False)
    def count(request: Request, name: str) -> Response:
        return _change(site, request, name, request.query_params, dry_run=True)

    @app.post("/dead/{name}", include_in_schema=False)
    async def change(request: Request, name: str) -> Response:
        form = await site.form(request)
        return await run_in_threadpool(_change, site, request, name, form, dry_run=False)


def _add_groups(app: FastAPI, site: Site) -> None:
    streams: set[object] = set()

    @app.get("/dead", include_in_schema=False)
    def groups(request: Request) -> Response:
        asked, over = _asked(request.query_params), _over(request)
        counted = DeadGroups()
        step = _count(site, asked, counted, over)
        return site.render(request, "dead.html", live=False, **_groups(request, counted, step))

    @app.get("/dead/groups", include_in_schema=False)
    async def events(request: Request) -> Response:
        asked, over = _asked(request.query_params), _over(request)
        if len(streams) >= MOST_STREAMS:
            return Response(None, 503, {"Retry-After": "10"})
        mark = object()
        streams.add(mark)

        async def told() -> AsyncIterator[str]:
            try:
                async for event in _events(site, request, asked, over):
                    yield event
            finally:
                streams.discard(mark)

        headers = {"X-Accel-Buffering": "no"}  # nginx would keep it back
        return StreamingResponse(told(), 200, headers, media_type="text/event-stream")


def _add_letters(app: FastAPI, site: Site) -> None:
    @app.get("/dead/letters", include_in_schema=False)
    def letters(request: Request) -> Response:
        asked = _asked(request.query_params)
        found = open_letters(site.backend, asked.queue)
        listed = dead_steps.list_letters(found, asked.choice(found), asked.position, LISTED)
        return site.render(
            request,
            "dead_letters.html",
            letters=listed.record()["letters"],
            step=listed.step,
            filters=_filters(request.query_params),
        )

    @app.post("/dead/letters/{name}", include_in_schema=False)
    async def change_this(request: Request, name: str) -> Response:
        job_id = (await site.form(request)).get("id", "")
        deed = DEEDS.get(name)
        if deed is None or not job_id:
            raise HTTPException(404)
        fate = await run_in_threadpool(change_one, site.backend, job_id, deed)
        if fate == "absent":
            raise NotDone(404, "{id} is no dead letter any more.", id=job_id)
        if fate != DONE[deed]:
            why = REASONS[fate]
            raise NotDone(409, "{id} stays where it is: {why}", id=job_id, why=why)
        if deed == "replay":
            return site.done(request, "{id} is back on its queue.", id=job_id)
        return site.done(request, "{id} is deleted.", id=job_id)


async def _events(site: Site, request: Request, asked: Wanted, over: float) -> AsyncIterator[str]:
    """The groups after each step, as server-sent events: each is the whole of what is shown."""
    counted = DeadGroups()
    while not site.backend.ending.is_set():
        try:
            step = await run_in_threadpool(_count, site, asked, counted, over)
        except (RedisUnavailable, RedisRefused) as error:
            yield f"event: end\ndata: {json.dumps(str(error))}\n\n"
            return
        shown = site.render(request, "dead_groups.html", **_groups(request, counted, step))
        yield f"event: groups\ndata: {json.dumps(bytes(shown.body).decode())}\n\n"
        if step.cursor is None:
            yield 'event: end\ndata: ""\n\n'
            return
        asked = asked.at(Position.of_cursor(step.cursor))
        await asyncio.sleep(PAUSE_S)


def _count(site: Site, asked: Wanted, counted: DeadGroups, over: float) -> dead_steps.DeadStep:
    """Count the letters of one more step."""
    letters = open_letters(site.backend, asked.queue)
    found = dead_steps.count_groups(letters, asked.choice(letters), asked.position, over)
    counted.add(found.groups.largest_first)
    return found.step


def _groups(request: Request, counted: DeadGroups, step: dead_steps.DeadStep) -> dict[str, Any]:
    """What a template needs to show them."""
    groups = counted.largest_first
    return {
        "groups": groups[:SHOWN_GROUPS],
        "others": counted.others + sum(group.count for group in groups[SHOWN_GROUPS:]),
        "step": step,
        "filters": _filters(request.query_params),
        "over": request.query_params.get("over") or "1d",
    }


def _change(
    site: Site, request: Request, name: str, given: Mapping[str, str], *, dry_run: bool
) -> Response:
    """Count what is meant, or replay or delete it: one step, on a page that asks for the next."""
    deed = DEEDS.get(name)
    if deed is None:
        raise HTTPException(404)
    asked = _asked(given)
    letters = open_letters(site.backend, asked.queue)
    choice = asked.choice(letters)
    step = dead_steps.change(letters, choice, asked.position, deed, dry_run=dry_run)
    filters = _filters(given)
    return site.render(
        request,
        "dead_change.html",
        live=False,
        deed=deed,
        dry_run=dry_run,
        done=_number(given, "done") + step.done,
        left=_number(given, "left") + sum(step.left.values()),
        meant=_number(given, "meant"),
        step=step.step,
        filters=filters,
        to=site.url("/dead", name),
        back=site.url("/dead", **filters),
    )


def _asked(given: Mapping[str, str]) -> Wanted:
    """Which letters somebody has asked for; empty fields of a form ask for nothing.

    Raises:
        NotDone: something makes no sense.
    """
    named: dict[str, str | None] = {"cursor": given.get("cursor") or None, **_filters(given)}
    unread = named.pop("unread", None)
    try:
        return wanted(**named | ({"task": UNREADABLE} if unread else {}))
    except HTTPException as error:
        problems: Any = error.detail
        raise NotDone(422, "{why}", why=problems[0]["msg"]) from error


def _filters(given: Mapping[str, str]) -> dict[str, str]:
    """The same as texts, which forms and links carry from page to page unchanged."""
    return {name: printable(given[name]) for name in FILTERS if given.get(name)}


def _over(request: Request) -> float:
    return OVERS.get(request.query_params.get("over", ""), OVERS["1d"])


def _number(given: Mapping[str, str], name: str) -> int:
    """A number that the page before has told; it is shown, and nothing else."""
    text = given.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0

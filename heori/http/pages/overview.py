"""The first page: is it healthy? And the events that keep all pages up to date."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from heori.http.monitor import Seen
from heori.http.pages.site import Site

FIRST_LOOK_S = 0.2  # seconds for which a page waits for a first reading
# Streams at a time. Whoever is one too many is told to ask for the page every few seconds.
MOST_STREAMS = 500
# A proxy in between drops a stream that says nothing.
LONGEST_SILENCE_S = 15.0
# After this many seconds a browser asks again, with what it has: its token may hold no more.
STREAM_S = 600.0


def add(app: FastAPI, site: Site) -> None:
    """Add them."""
    streams: set[object] = set()

    @app.get("/", include_in_schema=False)
    def overview(request: Request) -> Response:
        seen = site.monitor.look(FIRST_LOOK_S)
        return site.render(request, "overview.html", seen=seen, overview=seen.overview)

    @app.get("/events", include_in_schema=False)
    async def events() -> Response:
        if len(streams) >= MOST_STREAMS:
            return Response(None, 503, {"Retry-After": "10"})
        mark = object()
        streams.add(mark)
        # One that nobody reads is not asked for its next event, and would not end by itself.
        asyncio.get_running_loop().call_later(2 * STREAM_S, streams.discard, mark)

        async def told() -> AsyncIterator[str]:
            try:
                async for event in _events(site):
                    yield event
            finally:
                streams.discard(mark)

        headers = {"X-Accel-Buffering": "no"}  # nginx would keep it back
        return StreamingResponse(told(), 200, headers, media_type="text/event-stream")


async def _events(site: Site) -> AsyncIterator[str]:
    """What is news, as server-sent events: at first all points of the charts, then each new one."""
    until, number = time.monotonic() + STREAM_S, 0
    while time.monotonic() < until and not site.backend.ending.is_set():
        seen = await _next(site, number)
        if seen is None:
            yield ": still here\n\n"
            continue
        kept = seen.points[-1:] if number else seen.points
        news = {
            "points": [point.record() for point in kept],
            "bad": sum(each.level == "bad" for each in seen.alerts),
            "trouble": seen.trouble,
        }
        number = seen.number
        yield f"event: news\ndata: {json.dumps(news)}\n\n"


async def _next(site: Site, number: int) -> Seen | None:
    """The next reading; None when it takes long, or the service ends."""
    coming = asyncio.ensure_future(site.monitor.next(number))
    ending = asyncio.ensure_future(site.backend.ending.wait())
    try:
        await asyncio.wait(
            [coming, ending], timeout=LONGEST_SILENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
        return coming.result() if coming.done() else None
    finally:
        coming.cancel()
        ending.cancel()

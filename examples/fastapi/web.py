"""A FastAPI application that sends jobs: `uvicorn web:app`.

One producer lives as long as the application, on its event loop, without a thread.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from shop import report

from heori import AsyncHandle, AsyncProducer, QueueFull, RedisUnavailable


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Have a producer while requests are served."""
    async with AsyncProducer() as producer:
        app.state.producer = producer
        yield


app = FastAPI(lifespan=lifespan)


def producer_of(request: Request) -> AsyncProducer:
    """The application's producer."""
    producer: AsyncProducer = request.app.state.producer
    return producer


Jobs = Annotated[AsyncProducer, Depends(producer_of)]


async def send(producer: AsyncProducer, pages: int) -> AsyncHandle[str]:
    """Send a job; a full queue, or none at all, is not the caller's fault."""
    try:
        return await producer.options(when_full="reject").submit(report, pages)
    except (QueueFull, RedisUnavailable) as error:
        raise HTTPException(503, str(error)) from error


@app.post("/reports", status_code=202)
async def begin(pages: int, producer: Jobs) -> dict[str, str]:
    """Send a report and answer at once."""
    return {"id": (await send(producer, pages)).id}


@app.get("/reports/now")
async def now(pages: int, producer: Jobs) -> dict[str, str]:
    """Send a report and wait for it."""
    return {"report": await (await send(producer, pages)).result(timeout=30)}


@app.get("/reports/watched")
async def watched(pages: int, producer: Jobs) -> StreamingResponse:
    """Send a report and tell how it goes on, as server-sent events."""
    handle = await send(producer, pages)

    async def events() -> AsyncIterator[str]:
        while True:
            try:
                ended = await handle.result(timeout=0.2)
            except TimeoutError:  # it goes on
                if (progress := await handle.progress()) is not None:
                    yield f"data: {json.dumps({'progress': progress.fraction})}\n\n"
            else:
                yield f"data: {json.dumps({'report': ended})}\n\n"
                return

    return StreamingResponse(events(), media_type="text/event-stream")

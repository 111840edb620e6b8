"""The routes of jobs."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from starlette.concurrency import run_in_threadpool

from heori.http import responses as answers
from heori.http.backend import Backend
from heori.http.requests import JobId
from heori.http.responses import answer, responses
from heori.inspect import job as job_record

LONGEST_WAIT = 60.0  # seconds for which a result is awaited in one request
ENDED = ("finished", "failed", "stopped", "canceled")

Wait = Annotated[
    float,
    Query(
        ge=0, le=LONGEST_WAIT, description="How many seconds to wait for the job's end, at most."
    ),
]


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""

    @router.get(
        "/jobs/{job_id}",
        response_model=answers.JobRecord,
        response_model_exclude_unset=True,
        responses=responses(404, 409, 422, 503),
        tags=["jobs"],
        operation_id="job",
    )
    async def job(job_id: JobId, wait: Wait = 0.0) -> Response:
        """How a job is, and its result or error; with wait, once it has ended."""
        record = await run_in_threadpool(_read, backend, job_id)
        if wait and record["status"] not in ENDED:
            await _wait(backend, job_id, wait)
            record = await run_in_threadpool(_read, backend, job_id)
        return answer(record)

    @router.delete(
        "/jobs/{job_id}",
        response_model=answers.CanceledJob,
        responses=responses(404, 409, 422, 503),
        tags=["jobs"],
        operation_id="cancel",
    )
    async def cancel(job_id: JobId) -> Response:
        """Keep a job from running, if no slot has begun it."""
        record = await run_in_threadpool(_read, backend, job_id)
        if not await backend.producer.cancel(record["queue"], [job_id]):
            status = (await run_in_threadpool(_read, backend, job_id))["status"]
            raise HTTPException(409, f"job {job_id} is {status}; it cannot be canceled")
        return answer({"id": job_id, "status": "canceled"})


def _read(backend: Backend, job_id: str) -> dict[str, Any]:
    """A job.

    Raises:
        HTTPException: there is none, or its key holds something else.
    """
    reader = backend.reader()
    details = job_record.read(reader, backend.settings, job_id)
    if details is None and reader.unreadable:
        raise HTTPException(409, "; ".join(reader.problems()))
    if details is None:
        raise HTTPException(404, f"there is no job {job_id}; its result may have expired")
    record = details.record()
    if reader.unreadable:
        record["unreadable"] = list(reader.problems())
    return record


async def _wait(backend: Backend, job_id: str, limit: float) -> None:
    """Wait for a job's end, for so many seconds, or until the service ends."""
    waits = [
        asyncio.ensure_future(backend.producer.results.ended(job_id)),
        asyncio.ensure_future(backend.ending.wait()),
    ]
    try:
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()

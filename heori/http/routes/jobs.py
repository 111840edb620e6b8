"""The routes of jobs."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response
from starlette.concurrency import run_in_threadpool

from heori.http import responses as answers
from heori.http.backend import Backend
from heori.http.requests import JobId
from heori.http.responses import answer, invalid, responses
from heori.inspect import job as job_record
from heori.inspect.actions import ActionRefused, JobActions, JobGone
from heori.inspect.jobs import MOST_ROWS, STATES, CursorRefused, JobFilter, list_jobs

LONGEST_WAIT = 60.0  # seconds for which a result is awaited in one request
SLOT_S = 1.0  # for the consumer of a job to say what that does
NO_JOB = "there is no job {}; its result may have expired"
ENDED = ("finished", "failed", "stopped", "canceled")

Wait = Annotated[
    float,
    Query(
        ge=0, le=LONGEST_WAIT, description="How many seconds to wait for the job's end, at most."
    ),
]

AsksNow = Annotated[
    bool,
    Query(description="Also ask the consumer of a job that runs where it is and what it does."),
]
ListedQueue = Annotated[
    str | None,
    Query(max_length=500, description="With its tenants; or orders@@acme, for one of these."),
]
ListedState = Annotated[str | None, Query(pattern=f"^({'|'.join(STATES)})$")]
ListedTask = Annotated[str | None, Query(max_length=500, description="As module.function.")]
Searched = Annotated[
    str | None,
    Query(max_length=500, description="A text in the id, call, arguments, meta or error."),
]
PageCursor = Annotated[
    str | None, Query(max_length=10_000, description="As the page before has told it.")
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
    async def job(job_id: JobId, wait: Wait = 0.0, *, now: AsksNow = False) -> Response:
        """How a job is, and its result or error; with wait, once it has ended."""
        record = await run_in_threadpool(_read, backend, job_id, now=now)
        if wait and record["status"] not in ENDED:
            await _wait(backend, job_id, wait)
            record = await run_in_threadpool(_read, backend, job_id, now=now)
        return answer(record)

    @router.get(
        "/jobs",
        response_model=answers.JobPageRecord,
        responses=responses(422, 503),
        tags=["jobs"],
        operation_id="jobs",
    )
    def jobs(
        queue: ListedQueue = None,
        state: ListedState = None,
        task: ListedTask = None,
        q: Searched = None,
        cursor: PageCursor = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
    ) -> Response:
        """The jobs of a queue, state or task, or those that have a text, by pages.

        By state: what runs, then what waits, next first, then what has ended, newest first. With a
        task or a text a page may have few jobs, or none, and yet a cursor: each request looks at a
        thousand jobs.
        """
        reader = backend.reader()
        try:
            wanted = JobFilter(queue, state, task, q or None)
            page = list_jobs(reader, backend.settings, wanted, cursor, limit)
        except CursorRefused as error:
            raise invalid(("query", "cursor"), str(error)) from error
        unreadable = {"unreadable": list(reader.problems())} if reader.unreadable else {}
        return answer(page.record() | unreadable)

    for action in ("cancel", "stop", "run", "retry", "delete"):
        _add_action(router, JobActions(backend.redis, backend.commands), action)


_ABOUT = {
    "cancel": "Keep a job from running, if no slot has begun it.",
    "stop": "Ask whoever runs a job to stop it; it fails then, and is not tried again.",
    "run": "Put a scheduled job on its queue now.",
    "retry": "Let a job run again that failed, was stopped or canceled, as if for the first time.",
    "delete": "Delete a job that does not run, with its result and all that is kept about it.",
}


def _add_action(router: APIRouter, actions: JobActions, action: str) -> None:
    def act(job_id: JobId) -> Response:
        try:
            return answer(actions.act(action, job_id).record())
        except JobGone as error:
            raise HTTPException(404, NO_JOB.format(job_id)) from error
        except ActionRefused as error:
            raise HTTPException(409, str(error)) from error

    router.add_api_route(
        "/jobs/{job_id}" if action == "delete" else f"/jobs/{{job_id}}/{action}",
        act,
        methods=["DELETE" if action == "delete" else "POST"],
        response_model=answers.ActedRecord,
        responses=responses(404, 409, 422, 503),
        tags=["jobs"],
        operation_id=action,
        summary=_ABOUT[action],
    )


def _read(backend: Backend, job_id: str, *, now: bool) -> dict[str, Any]:
    """A job.

    Args:
        now: whether its consumer is asked what it does.

    Raises:
        HTTPException: there is none, or its key holds something else.
    """
    reader = backend.reader()
    details = job_record.read(reader, backend.settings, job_id, SLOT_S if now else 0.0)
    if details is None and reader.unreadable:
        raise HTTPException(409, "; ".join(reader.problems()))
    if details is None:
        raise HTTPException(404, NO_JOB.format(job_id))
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

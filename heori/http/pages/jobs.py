"""Jobs: by state, those that a search finds, and each with everything that is known of it."""

from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from heori.http.pages.site import NotDone, Site
from heori.inspect.actions import ActionRefused, JobActions, JobGone
from heori.inspect.calls import as_text
from heori.inspect.job import read
from heori.inspect.jobs import STATES, CursorRefused, JobFilter, count_jobs, list_jobs
from heori_common.errors import cut

ROWS = 50
# For its consumer to say what it does: a page that is renewed waits for none that hangs.
SLOT_S = 0.2
LONGEST_VALUE = 20_000  # characters of arguments or of a result
ACTIONS = ("cancel", "stop", "run", "retry", "delete")


def add(app: FastAPI, site: Site) -> None:
    """Add them."""
    actions = JobActions(site.backend.redis, site.backend.commands)

    @app.get("/jobs", include_in_schema=False)
    def jobs(request: Request) -> Response:
        asked = request.query_params
        queue, state, task, q = (
            asked.get(name, "").strip() or None for name in ("queue", "state", "task", "q")
        )
        if state is not None and state not in STATES:
            raise NotDone(422, "There is no such state.")
        wanted, cursor = JobFilter(queue, state, task, q), asked.get("cursor") or None
        reader = site.backend.reader()
        try:
            page = list_jobs(reader, site.backend.settings, wanted, cursor, ROWS)
            counts = count_jobs(reader, queue)
        except CursorRefused as error:
            raise NotDone(422, "{why}", why=str(error)) from error
        return site.render(
            request,
            "jobs.html",
            page=page,
            # One that has gone on to its next state while they were read is found twice.
            rows={row.id: row for row in page.jobs}.values(),
            counts=counts,
            wanted=wanted,
            states=STATES,
            problems=list(reader.problems()),
            # A search takes Redis some milliseconds: it is not done again and again.
            live=not (task or q or cursor),
        )

    @app.get("/jobs/{job_id:path}", include_in_schema=False)
    def job(request: Request, job_id: str) -> Response:
        reader = site.backend.reader()
        details = read(reader, site.backend.settings, job_id, SLOT_S)
        if details is None and reader.unreadable:
            raise NotDone(409, "{why}", why="; ".join(reader.problems()))
        if details is None:
            raise NotDone(404, "There is no job {id}; its result may have expired.", id=job_id)
        shown = partial(_shown, details.outcome)
        return site.render(
            request,
            "job.html",
            job=details,
            arguments=_arguments(details.args, details.kwargs),
            result=shown("result"),
            error=details.outcome.get("error", ""),
            problems=list(reader.problems()),
        )

    for action in ACTIONS:
        _add_action(app, site, actions, action)


def _add_action(app: FastAPI, site: Site, actions: JobActions, action: str) -> None:
    @app.post(f"/jobs/{{job_id:path}}/{action}", include_in_schema=False)
    async def act(request: Request, job_id: str) -> Response:
        try:
            await run_in_threadpool(actions.act, action, job_id)
        except JobGone as error:
            raise NotDone(
                404, "There is no job {id}; its result may have expired.", id=job_id
            ) from error
        except ActionRefused as error:
            raise NotDone(409, "{why}", why=str(error)) from error
        to = site.url("/jobs") if action == "delete" else ""
        return site.done(
            request,
            {
                "cancel": "Job {id} is canceled.",
                "stop": "Whoever runs job {id} was asked to stop it.",
                "run": "Job {id} is in its queue.",
                "retry": "Job {id} runs again.",
                "delete": "Job {id} is deleted.",
            }[action],
            to,
            id=job_id,
        )


def _arguments(args: list[Any] | None, kwargs: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Each with its name, or its number, as JSON."""
    named = [*enumerate(args or (), 1), *(kwargs or {}).items()]
    return [(str(name), _text(value)) for name, value in named]


def _shown(outcome: dict[str, Any], name: str) -> str | None:
    return _text(outcome[name]) if name in outcome else None


def _text(value: Any) -> str:
    return cut(as_text(value), LONGEST_VALUE)

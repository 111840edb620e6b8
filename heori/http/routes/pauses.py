"""The routes of pauses: what keeps jobs waiting by intent, and pauses of tasks."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from heori.http.backend import Backend
from heori.http.requests import PathName
from heori.http.responses import Changed, answer, invalid, responses
from heori.inspect.limits import read_held, resume_all
from heori_common.names import check_name
from heori_common.protocol.commands import Pause


class PausesRecord(BaseModel):
    """What keeps jobs waiting by intent."""

    paused: list[dict[str, Any]]
    rates: list[dict[str, Any]]


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""
    described: dict[str, Any] = {"tags": ["queues"], "responses": responses(404, 409, 422, 503)}

    @router.get("/pauses", response_model=PausesRecord, operation_id="pauses", **described)
    def pauses() -> Response:
        """What is paused, and which jobs wait for rates."""
        reader = backend.reader()
        queues: list[str] | None = reader.read(backend.commands.queues())
        held = read_held(reader, queues or [])
        return answer(
            {
                "paused": [asdict(each) for each in held.paused],
                "rates": [asdict(each) for each in held.rates],
            }
        )

    @router.put(
        "/pauses/tasks/{task:path}", response_model=Changed, operation_id="pause-task", **described
    )
    def pause_task(task: PathName) -> Response:
        """Have consumers take no more jobs of a task, whatever their queues."""
        return answer(
            {"paused": True, "changed": backend.redis.execute(backend.commands.pause(_task(task)))}
        )

    @router.delete(
        "/pauses/tasks/{task:path}", response_model=Changed, operation_id="resume-task", **described
    )
    def resume_task(task: PathName) -> Response:
        """Put the jobs of a task back to the front of their queues."""
        was_paused, jobs = resume_all(backend.reader(), _task(task))
        return answer({"paused": False, "changed": was_paused, "jobs": jobs})


def _task(name: str) -> Pause:
    try:
        return Pause("task", check_name("task", name))
    except ValueError as error:
        raise invalid(("path", "task"), str(error)) from error

"""The routes of periodic jobs."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import BaseModel

from heori.http.backend import Backend
from heori.http.responses import answer, responses
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
EntryName = Annotated[str, Path(min_length=1, max_length=1000)]


class EntryRecord(BaseModel):
    """A periodic entry; it is of nobody where no consumer lives that would send it."""

    name: str
    task: str
    timing: str
    queue: str
    catch_up: str
    overlap: bool
    state: Literal["active", "paused", "nobody"]
    last: str | None
    next: str | None
    job: str | None
    outcome: str | None
    sent: int
    missed: int
    skipped: int


class ScheduleRecord(BaseModel):
    """All periodic entries, by name."""

    entries: list[EntryRecord]
    unreadable: dict[str, str]


class PausedEntry(BaseModel):
    """How an entry is now."""

    name: str
    state: Literal["active", "paused"]
    changed: bool


class DeletedEntry(BaseModel):
    """An entry that is gone."""

    name: str
    state: Literal["deleted"]


class RunEntry(BaseModel):
    """A job of an entry, beside its ticks."""

    id: str
    queue: str


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""

    @router.get(
        "/schedule",
        response_model=ScheduleRecord,
        responses=responses(503),
        tags=["schedule"],
        operation_id="schedule",
    )
    def schedule() -> Response:
        """The periodic jobs, when each ran and how it went."""
        reader = backend.reader()
        entries = [view.record() for view in read_entries(reader)]
        return answer({"entries": entries, "unreadable": reader.unreadable})

    described: dict[str, Any] = {"tags": ["schedule"], "responses": responses(404, 409, 422, 503)}

    @router.post(
        "/schedule/{name:path}/pause",
        response_model=PausedEntry,
        operation_id="pause-entry",
        **described,
    )
    def pause(name: EntryName) -> Response:
        """Let the ticks of an entry pass by until it is resumed."""
        changed = _found(backend, lambda reader: set_paused(reader, name, paused=True))
        return answer({"name": name, "state": "paused", "changed": changed})

    @router.post(
        "/schedule/{name:path}/resume",
        response_model=PausedEntry,
        operation_id="resume-entry",
        **described,
    )
    def resume(name: EntryName) -> Response:
        """Send an entry again from its next tick on."""
        changed = _found(backend, lambda reader: set_paused(reader, name, paused=False))
        return answer({"name": name, "state": "active", "changed": changed})

    @router.delete(
        "/schedule/{name:path}",
        response_model=DeletedEntry,
        operation_id="delete-entry",
        **described,
    )
    def delete_it(name: EntryName) -> Response:
        """Forget an entry of nobody; it begins anew should a consumer have it again."""
        try:
            _found(backend, lambda reader: delete(reader, name))
        except StillSent as error:
            raise HTTPException(409, str(error)) from error
        return answer({"name": name, "state": "deleted"})

    @router.post(
        "/schedule/{name:path}/run",
        response_model=RunEntry,
        operation_id="run-entry",
        **described,
    )
    def run(name: EntryName) -> Response:
        """Send the job of an entry now, paused or not; its ticks stay as they are."""
        sent = _found(backend, lambda reader: run_now(reader, name))
        if sent is None:
            raise HTTPException(409, "it may not overlap, and its last job still waits or runs")
        return answer({"id": sent[0], "queue": sent[1]})


def _found(backend: Backend, act: Callable[[RedisReader], T]) -> T:
    try:
        return act(backend.reader())
    except NoSuchEntry as error:
        raise HTTPException(404, str(error)) from error

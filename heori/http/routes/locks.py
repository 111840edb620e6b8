"""The routes of locks."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from heori.http.backend import Backend
from heori.http.requests import json_body, read_json
from heori.http.responses import answer, invalid, responses
from heori.inspect.locks import Locks, LockState, deadlocks

# What it means to take a lock from a holder that is alive.
CONSEQUENCE = (
    "The holder is not stopped. It learns of this within a third of its lease; until then it goes "
    "on beside the next one. Only its writes that are guarded by the fence are refused, and only "
    "once the next holder has written."
)

Kind = Literal["mutex", "semaphore"]
LockName = Annotated[str, Path(min_length=1, max_length=1000)]


class LockParty(BaseModel):
    """Who holds a lock, or waits for it."""

    job: str | None
    host: str
    pid: int
    runner: str
    since: str
    seconds: float
    request: str
    fence: int | None = None
    lease_ends_in: float | None = Field(None, description="Seconds, unless it is renewed.")


class LockView(BaseModel):
    """A lock that is held or waited for; the next in line comes first."""

    kind: Kind
    name: str
    limit: int | None
    in_use: int
    holders: list[LockParty]
    waiters: list[LockParty]


class LocksRecord(BaseModel):
    """All locks that are in use; those that most wait for come first."""

    locks: list[LockView]
    deadlocks: list[dict[str, Any]] = Field(description="Circles of who waits for whom.")
    forced_releases: int | None
    unreadable: dict[str, str]


class ReleasedLock(BaseModel):
    """A lock that was taken from its holder."""

    released: str = Field(description="The request of the holder.")
    consequence: str


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""

    @router.get(
        "/locks",
        response_model=LocksRecord,
        responses=responses(503),
        tags=["locks"],
        operation_id="locks",
    )
    def all_locks() -> Response:
        """Who holds locks, and who waits for them."""
        locks = Locks(backend.redis, backend.commands.keys)
        found = locks.all()
        return answer(
            {
                "locks": [lock.record() for lock in found],
                "deadlocks": [each.record() for each in deadlocks(found)],
                "forced_releases": locks.count_forced(),
                "unreadable": locks.reader.unreadable,
            }
        )

    @router.get(
        "/locks/{kind}/{name:path}",
        response_model=LockView,
        responses=responses(404, 409, 422, 503),
        tags=["locks"],
        operation_id="lock",
    )
    def lock(kind: Kind, name: LockName) -> Response:
        """One lock."""
        return answer(_find(backend, kind, name)[1].record())

    @router.post(
        "/locks/{kind}/{name:path}/release",
        response_model=ReleasedLock,
        responses=responses(404, 409, 413, 415, 422, 503),
        tags=["locks"],
        operation_id="release",
        openapi_extra=json_body(
            {
                "type": "object",
                "required": ["request"],
                "properties": {"request": {"type": "string"}},
            }
        ),
    )
    async def release(request: Request, kind: Kind, name: LockName) -> Response:
        """Take a lock from the holder of that request, and hand it to the next in line."""
        given = await read_json(request, backend.settings.api_max_body)
        wanted = given.get("request") if isinstance(given, dict) else None
        if not isinstance(wanted, str):
            raise invalid(("body", "request"), "the request of a holder is needed")

        def force() -> bool:
            locks, found = _find(backend, kind, name)
            holders = {holder.request: holder for holder in found.holders}
            return wanted in holders and locks.force(found, holders[wanted])

        if not await run_in_threadpool(force):
            raise HTTPException(409, "no holder of that lock has this request any more")
        return answer({"released": wanted, "consequence": CONSEQUENCE})


def _find(backend: Backend, kind: Kind, name: str) -> tuple[Locks, LockState]:
    locks = Locks(backend.redis, backend.commands.keys)
    found = locks.named(name, kind)
    if not found and locks.reader.unreadable:
        raise HTTPException(409, "; ".join(locks.reader.problems()))
    if not found:
        raise HTTPException(404, "nobody holds that lock or waits for it")
    return locks, found[0]

"""The bodies of answers, as the service's description shows them, and the answers to errors."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import HTTPException, Response
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from heori import PayloadTooLarge, QueueFull
from heori_common.errors import cut
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.values.problems import first_problems

MOST_PROBLEMS = 100  # of one request, that are told
Place = tuple[str | int, ...]  # of something in a request: ("body", "to")


class SentJob(BaseModel):
    """A job that was sent, or had been before with the same Idempotency-Key."""

    id: str
    queue: str


class SentJobs(BaseModel):
    """The jobs of a batch, in its order."""

    ids: list[str]
    queue: str


class JobRecord(BaseModel):
    """A job. Its status is in RQ's words: queued, scheduled, started, finished, failed, …"""

    id: str
    status: str
    queue: str
    call: str
    timeout: int | None = Field(description="Seconds; -1 for no limit.")
    created_at: datetime | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    consumer: str
    deliveries: int | None
    restarts: int | None = Field(
        description="Further starts, which were cut short by no fault of its own."
    )
    tenant: str | None = None
    task: str | None = None
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    unread: str | None = Field(None, description="Why its arguments cannot be shown.")
    meta: dict[str, Any] | None = None
    waited: float | None = Field(None, description="Seconds in the queue.")
    ran: float | None = Field(None, description="Seconds, until it ended or now.")
    cpu: float | None = Field(None, description="Seconds of CPU time, if it ran for 10 ms or more.")
    gil: float | None = Field(
        None, description="Seconds for which its thread was seen to wait for the GIL, if it was."
    )
    now: dict[str, Any] | None = Field(
        None, description="With ?now=true: its worker and slot, and what its consumer says of it."
    )
    retries_left: int | None = None
    tries: list[dict[str, Any]] | None = Field(
        None, description="How it has ended, the latest first: before it was replayed, too."
    )
    locks: list[dict[str, Any]] | None = Field(
        None, description="Those that it declares: held, waited for, or needed."
    )
    waits_on: dict[str, Any] | None = Field(None, description="Jobs for which it waits.")
    came_after: dict[str, Any] | None = Field(None, description="Ended jobs of its flow.")
    then: dict[str, Any] | None = Field(None, description="Jobs that wait for it.")
    actions: list[str] = Field([], description="What its state allows: cancel, stop, …")
    waits_for: str | None = Field(None, description="What keeps it, if not its turn.")
    waits_since: datetime | None = None
    reason: str | None = Field(None, description="Why it was canceled: it has expired, say.")
    progress: float | None = Field(None, description="From 0 to 1, if the task reports it.")
    progress_text: str | None = None
    result: Any = None
    error: str | None = Field(None, description="Why it failed: a traceback, at most 500 kB of it.")
    unreadable: list[str] | None = Field(
        None, description="What of it makes no sense and is null, if anything."
    )


class Changed(BaseModel):
    """What holds now, and whether that is new."""

    paused: bool
    changed: bool
    jobs: int | None = Field(None, description="Of a task: those that went back to their queues.")


class JobRowRecord(BaseModel):
    """A job in a list."""

    id: str
    queue: str
    tenant: str | None
    task: str | None
    status: str
    call: str | None
    created_at: datetime | None
    enqueued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    waited: float | None = Field(description="Seconds in the queue, until it began or now.")
    ran: float | None = Field(description="Seconds, until it ended or now.")
    deliveries: int | None
    consumer: str | None
    progress: float | None
    progress_text: str | None
    waits_for: str | None = Field(description="Other jobs, a lock, a rate, its paused task.")
    error: str | None = Field(description="The last line of its traceback.")


class JobPageRecord(BaseModel):
    """A page of jobs."""

    jobs: list[JobRowRecord]
    searched: int = Field(description="At how many jobs this and the pages before have looked.")
    of: int = Field(description="Of how many.")
    cursor: str | None = Field(description="For the next page; null when there is none.")
    unreadable: list[str] | None = None


class ActedRecord(BaseModel):
    """What was done to a job."""

    id: str
    action: str
    status: str = Field(
        description="Afterwards; still started when it was asked to stop, else deleted, say."
    )


class QueueRecord(BaseModel):
    """How many jobs of a queue are where, and how many producers wait for room.

    Null for what cannot be read, as its key holds something else.
    """

    queue: str
    waiting: int | None
    scheduled: int | None
    running: int | None
    finished: int | None
    failed: int | None
    limit: int | None
    blocked: int | None


class Problem(BaseModel):
    """Why a request was not done."""

    detail: str


class QueueFullProblem(Problem):
    """The queue is at its limit."""

    sent: list[str] = Field(description="Ids of the jobs that were let in before.")


class InvalidField(BaseModel):
    """One thing in a request that is not valid."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidFields(BaseModel):
    """Everything in a request that is not valid."""

    detail: list[InvalidField]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The descriptions of the errors that any route may answer with, and of these."""
    everywhere = {
        400: "Its query is no UTF-8, a name in it is not known, or something stands there twice.",
        401: "No token, or not one of them.",
        403: "Not from this machine.",
    }
    known = {
        404: "There is no such job, or other thing.",
        409: "It cannot be done to a job in that state.",
        413: "It is too large.",
        415: "The body is not application/json.",
        503: "Redis is away; try again.",
    }
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text}
        for status, text in (everywhere | known).items()
        if status in (*statuses, *everywhere)
    }
    if 422 in statuses:
        described[422] = {"model": InvalidFields, "description": "Something in it is not valid."}
    if 429 in statuses:
        described[429] = {"model": QueueFullProblem, "description": "The queue is full; try again."}
    return described


def invalid(loc: Place, message: str, kind: str = "value_error") -> HTTPException:
    """The answer to a request of which one thing is not valid."""
    return HTTPException(422, [{"loc": list(loc), "msg": message, "type": kind}])


def invalid_arguments(error: Exception, loc: Place) -> HTTPException:
    """The answer to arguments that are not valid for their task."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return invalid(loc, str(error))
    return HTTPException(422, told(first_problems(cause, MOST_PROBLEMS), loc))


def told(problems: Sequence[Any], loc: Place = ()) -> list[dict[str, Any]]:
    """What is not valid, as pydantic tells it, with no more of the request than a message needs."""
    return [
        {
            "loc": [cut(part) if isinstance(part, str) else part for part in (*loc, *each["loc"])],
            "msg": cut(each["msg"], 300),
            "type": each["type"],
        }
        for each in problems[:MOST_PROBLEMS]
    ]


def failure(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers for what Redis, or a queue in it, does not allow."""
    match error:
        case PayloadTooLarge():
            return 413, {"detail": str(error)}, {}
        case QueueFull():
            after = str(max(1, math.ceil(error.retry_after or 1.0)))
            sent = [handle.id for handle in error.sent]
            return 429, {"detail": str(error), "sent": sent}, {"Retry-After": after}
        case RedisUnavailable():
            # Its message names the address, which callers need not know.
            return 503, {"detail": "Redis is away; try again"}, {"Retry-After": "1"}
        case RedisRefused():
            return 503, {"detail": f"Redis refuses: {error.said}"}, {"Retry-After": "1"}
    raise error


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON."""
    # JSON has no NaN and no infinity, though the progress of a job may.
    try:
        body = to_json(value, inf_nan_mode="null")
    except ValueError:  # half a surrogate pair: anybody may have written any bytes as an id
        body = to_json(_writable(value), inf_nan_mode="null")
    return Response(body, status, headers, media_type="application/json")


def _writable(value: Any) -> Any:
    """The same with an escape in the place of what is no text."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_writable(name): _writable(each) for name, each in value.items()}
        case list() | tuple():
            return [_writable(each) for each in value]
    return value

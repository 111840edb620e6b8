"""The routes of dead letters."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from pydantic import BaseModel, Field

from heori.http.backend import Backend
from heori.http.requests import JobId
from heori.http.responses import answer, invalid, responses
from heori.inspect import dead_steps
from heori.inspect.dead_choice import Choice
from heori.inspect.dead_groups import BARS
from heori.inspect.dead_letters import DeadLetters
from heori.inspect.dead_steps import DONE, MOST_LISTED, Deed
from heori.inspect.dead_sweep import LONGEST_CURSOR, Position
from heori_common.duration import seconds
from heori_common.names import MAX_NAME_CHARS

MOST_CHARS = 1000  # of a text that is searched for
# Why a letter stays where it is, by its fate.
REASONS = {
    "gone": "its job is gone and only its id is left, until it expires or is purged",
    "foreign": "the key of its job holds no hash",
    "elsewhere": "it is not failed any more: it waits, runs or has ended otherwise",
    "unreadable": "a key of its queue holds something else",
}

_Queue = Annotated[
    str | None,
    Query(
        max_length=2 * MAX_NAME_CHARS,
        description="Only this queue with its tenants, or orders@@acme for one of these.",
    ),
]
_Task = Annotated[
    str | None,
    Query(
        max_length=MOST_CHARS,
        description="Only this task; empty for calls that cannot be read.",
    ),
]
_Error = Annotated[
    str | None,
    Query(
        max_length=MOST_CHARS,
        description="Only this error, as that of a group: numbers and ids do not count. A type of "
        "error alone will do: ConnectionError.",
    ),
]
_Text = Annotated[
    str | None,
    Query(
        max_length=MOST_CHARS,
        description="Only letters that have this text in their id, description, meta or traceback, "
        "in upper or lower case.",
    ),
]
_Older = Annotated[
    str | None, Query(description="Only what failed at least this long ago: 12h, 7d, or seconds.")
]
_Meta = Annotated[
    str | None, Query(max_length=MOST_CHARS, description="Only letters with this: customer=acme.")
]
_Cursor = Annotated[
    str | None,
    Query(max_length=LONGEST_CURSOR, description="That of the answer before, to go on from there."),
]


class StepRecord(BaseModel):
    """How far it has looked. Ask again with the cursor until there is none."""

    searched: int = Field(description="Letters looked at, in all answers so far.")
    of: int = Field(description="Letters that there were at first.")
    cursor: str | None
    unreadable: list[str] | None = Field(
        None, description="What could not be read or changed, if anything."
    )


class LetterRecord(BaseModel):
    """A dead letter."""

    id: str
    queue: str
    task: str | None
    problem: str | None = Field(description="Why its call cannot be read, if it cannot.")
    ending: str = Field(description="failed, stopped, died with its worker, or unreadable.")
    failed_at: datetime | None
    deliveries: int | None
    restarts: int
    reason: str = Field(description="The exception, or how its worker died.")
    meta: dict[str, Any]


class LetterRecords(StepRecord):
    """Dead letters, the newest of each queue first."""

    letters: list[LetterRecord]


class GroupRecord(BaseModel):
    """Dead letters of one task and one error."""

    task: str = Field(description="Empty for calls that cannot be read.")
    error: str = Field(description="With # for each number and id.")
    count: int
    oldest: datetime | None
    newest: datetime | None
    examples: list[str] = Field(description="Some ids.")
    counts: list[int] = Field(
        description=f"How many failed in each of {BARS} equal parts of the time; the latest last."
    )


class GroupRecords(StepRecord):
    """The groups of the letters that this answer is about: add up those of all answers."""

    groups: list[GroupRecord]
    over: float = Field(description="Seconds before the first answer that the counts are about.")


class ChangeRecord(StepRecord):
    """What became of the letters that this answer is about."""

    done: int = Field(description="Letters that were replayed or purged, or would be.")
    left: dict[str, int] = Field(
        description="Letters of which that is not so, by the reason: absent (another was faster), "
        + ", ".join(f"{name} ({why})" for name, why in REASONS.items())
    )
    dry_run: bool


class ChangedLetter(BaseModel):
    """What became of one."""

    id: str
    fate: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, checked but for the server's time."""

    queue: str | None
    task: str | None
    error: str | None
    text: str | None
    age: float | None
    meta: dict[str, str]
    position: Position | None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out but other queues."""
        return (self.task, self.error, self.text, self.age, self.meta) == (*[None] * 4, {})

    def at(self, position: Position) -> "Wanted":
        """The same, to go on from there."""
        return replace(self, position=position)

    def choice(self, letters: DeadLetters) -> Choice:
        """Which letters are meant: those that failed so long before the first answer."""
        began = self.position.began if self.position else letters.now
        before = None if self.age is None else began - self.age
        return Choice(self.task, self.error, self.text, before, self.meta)


def wanted(
    queue: _Queue = None,
    task: _Task = None,
    error: _Error = None,
    q: _Text = None,
    older: _Older = None,
    meta: _Meta = None,
    cursor: _Cursor = None,
) -> Wanted:
    """What a request asks for.

    Raises:
        HTTPException: something of it makes no sense.
    """
    try:
        position = Position.of_cursor(cursor) if cursor else None
    except ValueError as problem:
        raise invalid(("query", "cursor"), str(problem)) from problem
    name, sign, value = (meta or "").partition("=")
    if meta is not None and not (name and sign):
        raise invalid(("query", "meta"), "KEY=VALUE is needed, such as customer=acme")
    age = None if older is None else _seconds("older", older)
    return Wanted(
        queue or None, task, error, q or None, age, {name: value} if meta else {}, position
    )


def _seconds(name: str, text: str) -> float:
    try:
        return seconds(text)
    except ValueError as problem:
        raise invalid(("query", name), str(problem)) from problem


_Wanted = Annotated[Wanted, Depends(wanted)]


def open_letters(backend: Backend, queue: str | None = None) -> DeadLetters:
    """The dead letters of a queue, or of all."""
    return DeadLetters(backend.redis, backend.settings, [queue] if queue else None)


def change_one(backend: Backend, job_id: str, deed: Deed) -> str:
    """Replay or purge one letter; returns its fate."""
    letters = open_letters(backend)
    action = letters.replay if deed == "replay" else letters.purge
    return letters.each_of([job_id], action, dry_run=False)[job_id]


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""

    @router.get(
        "/dead",
        response_model=LetterRecords,
        responses=responses(422, 503),
        tags=["dead letters"],
        operation_id="dead",
    )
    def dead(asked: _Wanted, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50) -> Response:
        """Dead letters. An answer may have few of them, or none, and a cursor."""
        letters = open_letters(backend, asked.queue)
        return answer(
            dead_steps.list_letters(letters, asked.choice(letters), asked.position, limit).record()
        )

    @router.get(
        "/dead/groups",
        response_model=GroupRecords,
        responses=responses(422, 503),
        tags=["dead letters"],
        operation_id="dead-groups",
    )
    def groups(
        asked: _Wanted,
        over: Annotated[str, Query(description="The time that the counts are about.")] = "1d",
    ) -> Response:
        """Dead letters counted by task and error."""
        length = _seconds("over", over)
        if length == 0:
            raise invalid(("query", "over"), "more than no time is needed")
        letters = open_letters(backend, asked.queue)
        return answer(
            dead_steps.count_groups(letters, asked.choice(letters), asked.position, length).record()
        )

    _add_changes(router, backend, "replay", "Put dead letters back at the end of their queues.")
    _add_changes(router, backend, "purge", "Delete dead letters for good.")


def _add_changes(router: APIRouter, backend: Backend, deed: Deed, about: str) -> None:
    def change(
        asked: _Wanted,
        dry_run: Annotated[  # noqa: FBT002 - a parameter of the query
            bool, Query(description="Change nothing; only count.")
        ] = False,
        everything: Annotated[  # noqa: FBT002
            bool, Query(alias="all", description="Needed where nothing says which letters.")
        ] = False,
    ) -> Response:
        if asked.is_all != everything:
            problem = "say which letters: either task, error, q, older or meta, or all=true"
            raise invalid(("query", "all"), problem)
        letters = open_letters(backend, asked.queue)
        choice = asked.choice(letters)
        done = dead_steps.change(letters, choice, asked.position, deed, dry_run=dry_run)
        return answer(done.record())

    def change_this(job_id: JobId) -> Response:
        fate = change_one(backend, job_id, deed)
        if fate == "absent":
            raise HTTPException(404, f"{job_id} is not among the dead letters")
        if fate != DONE[deed]:
            raise HTTPException(409, f"{job_id} was not {DONE[deed]}: {REASONS[fate]}")
        return answer({"id": job_id, "fate": fate})

    router.add_api_route(
        f"/dead/{deed}",
        change,
        methods=["POST"],
        response_model=ChangeRecord,
        responses=responses(422, 503),
        tags=["dead letters"],
        operation_id=f"{deed}-dead",
        summary=about,
        description="What fails meanwhile is left alone: a letter that fails again is replayed "
        "once. Any number of callers may do this at once.",
    )
    router.add_api_route(
        "/dead/{job_id}/replay" if deed == "replay" else "/dead/{job_id}",
        change_this,
        methods=["POST" if deed == "replay" else "DELETE"],
        response_model=ChangedLetter,
        responses=responses(404, 409, 422, 503),
        tags=["dead letters"],
        operation_id=f"{deed}-letter",
        summary=about.replace("letters", "letter"),
    )

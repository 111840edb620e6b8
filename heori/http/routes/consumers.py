"""The routes of consumers."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response
from pydantic import BaseModel, Field

from heori.http.backend import Backend
from heori.http.responses import answer, responses
from heori.inspect.consumers import (
    NoConsumer,
    NotDrained,
    drain,
    list_consumers,
    read_consumer,
)

ConsumerName = Annotated[str, Path(min_length=1, max_length=1000)]


class SlotLock(BaseModel):
    """A lock that a job holds."""

    kind: str
    name: str
    fence: int


class SlotWait(BaseModel):
    """A lock that a job waits for in its slot."""

    kind: str
    name: str
    seconds: float = Field(description="For which it waits.")


class SlotRecord(BaseModel):
    """A slot that runs a job."""

    slot: int
    job: str
    task: str
    queue: str
    delivery: int
    seconds: float = Field(description="For which it runs.")
    cpu: float | None = Field(description="Seconds that it has used; null for a coroutine.")
    gil: float | None = Field(description="Seconds for which it was seen to wait for the GIL.")
    thread: str = Field(
        description="What its thread does: running, gil_wait or io_wait; empty if nothing tells."
    )
    lent: bool = Field(description="Whether it waits for others, so that its slot is lent.")
    locks: list[SlotLock] = Field(description="Those that its task declares.")
    in_line: list[SlotWait] = Field(description="Those that its code waits for.")


class WorkerRecord(BaseModel):
    """A worker of a consumer."""

    worker: str
    pid: int | None
    seconds: float | None = Field(description="For which its process runs.")
    state: str = Field(description="starting, ready, ending, or alone: with one suspect job.")
    slots: int
    lent: int = Field(description="Slots that it has more, as jobs wait for others.")
    finished: int
    gil_loss: float | None
    gil_source: str
    gil_enabled: bool | None = Field(description="Whether it has a GIL that is on, if it tells.")
    states: dict[str, float] = Field(description="Shares of the time of its threads with a job.")
    jobs: list[SlotRecord] = Field(description="The slots that run one.")


class AutoMoveRecord(BaseModel):
    """A change of size."""

    ago: float = Field(description="Seconds since then.")
    before: list[int] = Field(description="Processes, threads and coroutines of each.")
    size: list[int]
    cause: str = Field(description="What there was to gain, or to mend.")
    reason: str = Field(description="For people, with what was expected.")
    outcome: str = Field(description="kept, undone or overtaken; empty until that is known.")
    gain: float | None = Field(description="How many times the throughput is since then.")
    came_of: str = Field(description="That in words.")


class AutoRecord(BaseModel):
    """The size of a consumer of the model auto."""

    size: list[int] = Field(description="Processes, threads and coroutines of each.")
    estimates: dict[str, float] = Field(
        description="How many times the throughput would be with one more, or one less."
    )
    apart: str = Field(
        description="Which tasks are kept from each other's way, in words; empty if none are."
    )
    held_up: str = Field(
        description="By which lock or rate all jobs are, in words; empty if by none."
    )
    moves: list[AutoMoveRecord] = Field(description="The latest, the last one first.")


class ConsumerRecord(BaseModel):
    """A consumer; null for what it does not say, as it does not answer."""

    name: str
    kind: str = Field(description="heori; or rq, for a stock worker.")
    host: str
    pid: str
    queues: list[str]
    state: str
    since: str
    heartbeat: int | None = Field(description="Seconds since it last said that it lives.")
    answers: bool
    reason: str = Field(description="Why it does not answer.")
    drains: bool = Field(description="Whether it was asked to claim nothing.")
    version: str
    model: str
    processes: int | None
    slots: int | None
    running: int | None
    waiting: int | None
    executed: int | None
    waits_for: str
    refuses: str
    auto: AutoRecord | None = Field(None, description="Of the model auto, if it says so now.")
    workers: list[WorkerRecord] | None = None
    left_out: int | None = Field(None, description="Jobs that run, and are not named.")


class ConsumersRecord(BaseModel):
    """All consumers and stock workers, by name."""

    consumers: list[ConsumerRecord]
    unreadable: dict[str, str]


class DrainedConsumer(BaseModel):
    """A consumer that was asked to drain, or to go on."""

    consumer: str
    drains: bool


def add(router: APIRouter, backend: Backend) -> None:
    """Add them."""

    @router.get(
        "/consumers",
        response_model=ConsumersRecord,
        responses=responses(503),
        tags=["consumers"],
        operation_id="consumers",
    )
    def consumers() -> Response:
        """Who consumes. One that does not answer within a moment is shown by its record."""
        reader = backend.reader()
        found = [each.record() for each in list_consumers(reader)]
        return answer({"consumers": found, "unreadable": reader.unreadable})

    @router.get(
        "/consumers/{name:path}",
        response_model=ConsumerRecord,
        responses=responses(404, 422, 503),
        tags=["consumers"],
        operation_id="consumer",
    )
    def consumer(name: ConsumerName) -> Response:
        """One, with its workers, and what each of their slots runs, since when."""
        found = read_consumer(backend.reader(), name)
        if found is None:
            raise HTTPException(404, "there is no such consumer")
        return answer(found.record())

    @router.post(
        "/consumers/{name:path}/drain",
        response_model=DrainedConsumer,
        responses=responses(404, 409, 422, 503),
        tags=["consumers"],
        operation_id="drain_consumer",
    )
    def drain_it(name: ConsumerName) -> Response:
        """Have it claim nothing more; what it runs goes on to its end, and it lives on."""
        return ask(name, drains=True)

    @router.post(
        "/consumers/{name:path}/resume",
        response_model=DrainedConsumer,
        responses=responses(404, 409, 422, 503),
        tags=["consumers"],
        operation_id="resume_consumer",
    )
    def resume_it(name: ConsumerName) -> Response:
        """Have it claim again."""
        return ask(name, drains=False)

    def ask(name: str, *, drains: bool) -> Response:
        try:
            drain(backend.reader(), name, drains=drains)
        except NoConsumer as error:
            raise HTTPException(404, str(error)) from error
        except NotDrained as error:
            raise HTTPException(409, str(error)) from error
        return answer({"consumer": name, "drains": drains})

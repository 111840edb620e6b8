"""Values on their way, without a Redis."""

from collections.abc import Callable
from typing import Any

from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call, decode_call
from heori_common.tasks import Task


def task_of(function: Callable[..., Any]) -> Task[..., Any]:
    return Task(function, "default", 180)


def received(
    task: Task[..., Any], args: Any, kwargs: Any, *, from_json: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The arguments of a job that was sent with these, as its worker gets them."""
    sent = task.to_send(args, kwargs, from_json=from_json, strict=strict)
    job = NewJob.create("id", Call(task.name, *sent.json, types=sent.types), 180)
    call = decode_call(job.data, ["json"], 10**6)
    return task.receive(call.args, call.kwargs, job.types)


def given_back(task: Task[..., Any], value: Any) -> Any:
    """A result as its reader gets it."""
    stored = task.dump_result(value)
    return None if stored is None else task.load_result(stored)

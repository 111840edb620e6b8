"""Functions and callbacks as applications of rq have them; none of it is Heori's."""

import os
import time
from types import TracebackType
from typing import Any

from rq import Retry, get_current_job


def add(a: int, b: int = 0) -> int:
    return a + b


def fail(text: str) -> None:
    raise ValueError(text)


def ask_for_more() -> Retry:
    return Retry(max=1)


def lose_itself() -> object:
    return object()


def leave_a_mark() -> None:
    job = get_current_job()
    assert job is not None
    mark(job, job.connection, "ran in", os.getpid())


def sleep_on() -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        time.sleep(0.01)


def say_so_and_sleep_on() -> None:
    say_so()
    sleep_on()


def say_so() -> None:
    """A job that is started may have been claimed by a worker which ends, and goes back then."""
    job = get_current_job()
    assert job is not None
    job.connection.rpush(f"runs:{job.id}", 1)


def wait_for_a_word() -> None:
    job = get_current_job()
    assert job is not None
    assert job.connection.blpop([f"word:{job.id}"], timeout=300)


def mark(job: Any, connection: Any, *told: object) -> None:
    connection.rpush(f"marks:{job.id}", " ".join(map(str, told)))


def succeeded(job: Any, connection: Any, result: object) -> None:
    told = result if isinstance(result, int) else type(result).__name__
    status = job.get_status(refresh=False)
    mark(job, connection, "success", told, getattr(status, "value", status), job.args)


def ask(job: Any, connection: Any, result: object) -> None:
    mark(job, connection, "asked", get_current_job(), job.get_status().value, job.ended_at is None)


def note(job: Any, connection: Any, result: object) -> None:
    job.meta["result"] = result
    job.save_meta()
    mark(job, connection, "noted", job.meta)


def save(job: Any, connection: Any, result: object) -> None:
    job.description = "saved"
    job.save()
    mark(job, connection, "saved")


def complain(job: Any, connection: Any, result: object) -> None:
    mark(job, connection, "complains")
    raise KeyError("what a callback raises")


async def later(job: Any, connection: Any, result: object) -> None:
    mark(job, connection, "never")


def dawdle(job: Any, connection: Any, result: object) -> None:
    mark(job, connection, "dawdles")
    sleep_on()


def failed(
    job: Any, connection: Any, kind: type, error: BaseException, trace: TracebackType
) -> None:
    status = job.get_status(refresh=False)
    mark(job, connection, "failure", kind.__name__, error, getattr(status, "value", status))


def fail_again(
    job: Any, connection: Any, kind: type, error: BaseException, trace: TracebackType
) -> None:
    mark(job, connection, "fails again")
    raise LookupError("what a failure callback raises")


def stopped(job: Any, connection: Any) -> None:
    mark(job, connection, "stopped", job.args)


def stopped_badly(job: Any, connection: Any) -> None:
    mark(job, connection, "stopped badly")
    raise LookupError("what a stopped callback raises")


def stopped_slowly(job: Any, connection: Any) -> None:
    time.sleep(2.5)
    mark(job, connection, "stopped slowly")


def say_so_and_sleep_in_c(seconds: float) -> None:
    say_so()
    time.sleep(seconds)


def handle(job: Any, *failure: Any) -> None:
    status = job.get_status(refresh=False)
    kind, error, trace = failure
    told = kind.__name__, error, trace is not None, getattr(status, "value", status), job.args
    mark(job, job.connection, "handled", *told)


def handle_last(job: Any, *failure: Any) -> bool:
    mark(job, job.connection, "handled last")
    return False


def handle_never(job: Any, *failure: Any) -> None:
    mark(job, job.connection, "never")

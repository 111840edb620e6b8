"""What the jobs of tests/rq/golden call; needs nothing but rq, of whichever version."""

from typing import Any

from rq import get_current_job


def add(a: int, b: int) -> int:
    return a + b


def give_back(*values: Any, **named: Any) -> Any:
    return [*values, named]


class Cart:
    def __init__(self, price: int) -> None:
        self.price = price

    def total(self, amount: int) -> int:
        return self.price * amount


def fail_until(run: int) -> int:
    job = get_current_job()
    assert job is not None
    runs = int(job.connection.incr(f"golden:runs:{job.id}"))
    if runs < run:
        raise ValueError(f"run {runs}")
    return runs


def note_in_meta() -> Any:
    job = get_current_job()
    assert job is not None
    job.meta["noted"] = True
    job.save_meta()  # type: ignore[no-untyped-call]
    return job.meta


def succeeded(job: Any, connection: Any, result: Any) -> None:
    connection.rpush(f"golden:called:{job.id}", f"success {result}")


def failed(job: Any, connection: Any, kind: type, error: BaseException, traceback: Any) -> None:
    connection.rpush(f"golden:called:{job.id}", f"failure {kind.__name__}: {error}")

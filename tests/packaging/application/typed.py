"""What type checkers know of Heori: each `reveal_type` is compared with the comment behind it."""

from dataclasses import dataclass
from typing import reveal_type

from heori import (
    JobFailed,
    Mutex,
    Producer,
    RedisExecutor,
    Retry,
    acquire_all,
    current_job,
    group,
    task,
)


@dataclass
class Total:
    """A result of a type of its own."""

    amount: int


@task
def add(a: int, b: int = 2) -> int:
    """A task without options."""
    return a + b


@task(queue="sums", timeout=30, retry=Retry(max=2))
async def total(amounts: list[int]) -> Total:
    """An async task with options."""
    return Total(sum(amounts))


def send(producer: Producer, executor: RedisExecutor) -> None:
    """Send jobs in every way."""
    reveal_type(producer.submit(add, 1))  # Handle[int]
    reveal_type(producer.submit(add, 1).result())  # int
    reveal_type(producer.submit(total, [1, 2]))  # Handle[Total]
    reveal_type(producer.submit(total, [1, 2], delay=5).result(timeout=1.0))  # Total
    reveal_type(producer.submit_many(add, [1, 2]))  # list[Handle[int]]
    reveal_type(group(producer.submit_many(add, [1, 2])).results())  # list[int]
    reveal_type(executor.submit(add, 1))  # JobFuture[int]
    reveal_type(executor.submit(add, 1).result())  # int
    reveal_type(executor.submit(total, [1, 2]).result())  # Total
    reveal_type(add(1))  # int
    producer.submit(add, "one")  # error
    executor.submit(add, a="one")  # error


async def wait(producer: Producer) -> None:
    """Wait in a coroutine."""
    reveal_type(await producer.submit(add, 1))  # int
    async with acquire_all([Mutex("a"), Mutex("b")]):
        reveal_type(current_job().id)  # str


def read(failed: JobFailed) -> None:
    """What an error tells."""
    reveal_type(failed.job_id)  # str

"""What type checkers know of Heori: each `reveal_type` is compared with the comment behind it.

A line that ends in "error" is a wrong use, which both checkers refuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import reveal_type

from heori import (
    AsyncProducer,
    FlowFailure,
    Group,
    Handle,
    JobExpired,
    JobFailed,
    JobFuture,
    Mutex,
    Options,
    Producer,
    QueueFull,
    RedisExecutor,
    Retry,
    Sender,
    acquire_all,
    chain,
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


@task
def tell(queue: str, *, delay: float, key: str | None = None) -> None:
    """A task whose parameters are called as options are."""


@task(queue="names")
def join(first: str, /, *others: str, **named: int) -> str:
    """A task of every kind of parameters."""
    return first.join(others) + str(named)


@task
def look_up(name: str) -> Total | None:
    """A task that may have no result."""
    return None if name else Total(0)


@task
async def split(text: str, at: datetime | None = None) -> dict[str, list[int]]:
    """An async task with a nested result."""
    return {text: [at.year if at else 0]}


@task
def mend(failures: list[FlowFailure], hours: int) -> str:
    """A task that handles failures."""
    return " ".join(failure.error for failure in failures) + str(hours)


SOON = datetime.now(UTC) + timedelta(hours=1)


def send(producer: Producer, executor: RedisExecutor) -> None:
    """Send jobs in every way."""
    reveal_type(producer.submit(add, 1))  # Handle[int]
    reveal_type(producer.submit(add, 1, 2))  # Handle[int]
    reveal_type(producer.submit(add, a=1, b=2))  # Handle[int]
    reveal_type(producer.submit(add, 1).result())  # int
    reveal_type(producer.submit(total, [1, 2]))  # Handle[Total]
    reveal_type(producer.submit(total, amounts=[1, 2]).result(timeout=1.0))  # Total
    reveal_type(producer.submit(tell, "a", delay=5))  # Handle[None]
    reveal_type(producer.submit(tell, queue="a", delay=5, key="k"))  # Handle[None]
    reveal_type(producer.submit(join, "a", "b", "c", task=1, self=2))  # Handle[str]
    reveal_type(producer.submit(join, "a").result())  # str
    reveal_type(producer.submit(look_up, "a").result())  # Total | None
    reveal_type(producer.submit(split, "a", SOON))  # Handle[dict[str, list[int]]]
    reveal_type(producer.submit(split, "a", at=None).result())  # dict[str, list[int]]
    reveal_type(add(1))  # int
    reveal_type(executor.submit(add, 1))  # JobFuture[int]
    reveal_type(executor.submit(add, 1).result())  # int
    reveal_type(executor.submit(total, [1, 2]).result())  # Total
    reveal_type(executor.submit(tell, "a", delay=1.5))  # JobFuture[None]
    reveal_type(list(executor.map(add, [1, 2])))  # list[int]
    reveal_type(next(executor.map(total, [[1], [2]])))  # Total
    reveal_type(executor.submit(add, 1).handle)  # Handle[Any] | None


def send_with_options(producer: Producer) -> None:
    """Say how jobs are sent."""
    reveal_type(producer.options())  # Sender
    reveal_type(producer.options(queue="a").options(tenant="t"))  # Sender
    reveal_type(producer.options(delay=5).submit(total, [1, 2]).result())  # Total
    reveal_type(producer.options(delay="5min").submit(add, 1))  # Handle[int]
    reveal_type(producer.options(delay=timedelta(hours=1)).submit(add, 1))  # Handle[int]
    reveal_type(producer.options(delay=None, at=SOON).submit(add, 1, b=2))  # Handle[int]
    reveal_type(producer.options(at_front=True, queue="urgent").submit(join, "a"))  # Handle[str]
    reveal_type(producer.options(key="order-17").submit(look_up, "a"))  # Handle[Total | None]
    reveal_type(producer.options(expires=60).submit(add, 1).result())  # int
    reveal_type(producer.options(expires=SOON).submit(split, "a"))  # Handle[dict[str, list[int]]]
    reveal_type(producer.options(unique="until_done").submit(total, [1]))  # Handle[Total]
    reveal_type(producer.options(debounce="5s", key="k").submit(tell, "a", delay=1))  # Handle[None]
    sender: Sender = producer.options(when_full="reject", full_timeout=None)
    reveal_type(sender.submit(add, 1))  # Handle[int]
    reveal_type(sender.options(tenant=None).submit(add, 1))  # Handle[int]
    reveal_type(Options(queue="a", expires="1h"))  # Options
    reveal_type(Options().but(tenant="t").tenant)  # str | None
    reveal_type(Options().expires)  # float | str | timedelta | datetime | None
    reveal_type(RedisExecutor(queue="a", tenant="t", expires=60))  # RedisExecutor
    reveal_type(RedisExecutor(when_full="block", delay="1s").submit(add, 1))  # JobFuture[int]


def send_many(producer: Producer) -> None:
    """Send many jobs at once, and wait for all of them."""
    reveal_type(producer.submit_many(add, [1, 2]))  # list[Handle[int]]
    reveal_type(producer.submit_many(total, [([1],), {"amounts": [2]}]))  # list[Handle[Total]]
    reveal_type(producer.options(tenant="t").submit_many(add, range(9)))  # list[Handle[int]]
    reveal_type(producer.submit_many(look_up, "ab")[0].result())  # Total | None
    reveal_type(group(producer.submit_many(add, [1, 2])))  # Group[int]
    reveal_type(group(producer.submit_many(add, [1, 2])).results())  # list[int]
    reveal_type(group(producer.submit_many(total, [[1]])).results(5))  # list[Total]
    reveal_type(group([producer.submit(add, 1)]).progress().done)  # int
    reveal_type(group(producer.submit_many(add, [1])).cancel())  # int
    reveal_type(group(producer.submit_many(add, [1])).wait(1))  # bool
    reveal_type(producer.send("shop.tasks.add", 1, b=2))  # Handle[Any]


def flows(producer: Producer) -> None:
    """Send jobs that wait for others."""
    reveal_type(add.s(1))  # TaskCall[int]
    reveal_type(total.s([1]))  # TaskCall[Total]
    reveal_type(total.s())  # FlowStep[list[int], Total]
    reveal_type(add.s(b=2))  # FlowStep[int, int]
    reveal_type(chain(add.s(1), add.s(b=1), tell.s("a", delay=1)))  # Flow[None]
    reveal_type(group([add.s(1), add.s(2)]))  # Flow[list[int]]
    reveal_type(group([add.s(1)], then=total.s()))  # Flow[Total]
    reveal_type(group(producer.submit_many(add, [1]), then=total.s()))  # Flow[Total]
    reveal_type(producer.submit_flow(add.s(1)).result())  # int
    reveal_type(producer.submit_flow(group([add.s(1)], then=total.s())))  # FlowHandle[Total]
    reveal_type(producer.options(after="id").submit(add, 1))  # Handle[int]
    reveal_type(chain(total.s(), look_up.s("a")))  # FlowStep[list[int], Total | None]
    reveal_type(chain(add.s(1), add.s(b=1), on_failure=mend.s(2)))  # Flow[int]
    reveal_type(chain(total.s(), on_failure=look_up.s("a")))  # FlowStep[list[int], Total]
    reveal_type(group([add.s(1)], then=total.s(), on_failure=mend.s(2)))  # Flow[Total]
    reveal_type(group([producer.submit(add, 1)], on_failure=mend.s(2)))  # Flow[list[int]]
    chain(add.s(1), on_failure=total.s())  # error
    group([add.s(1)], on_failure=add.s(b=1))  # error
    producer.submit_flow(total.s())  # error
    add.s("one")  # error
    chain(add.s(1), total.s())  # error
    producer.submit_flow(chain(total.s(), add.s(1)))  # error
    group([look_up.s("a")], then=total.s())  # error


def wrong_arguments(producer: Producer, executor: RedisExecutor) -> None:
    """What is no call of its task."""
    producer.submit(add, "one")  # error
    producer.submit(add)  # error
    producer.submit(add, 1, 2, 3)  # error
    producer.submit(add, 1, c=2)  # error
    producer.submit(add, 1, delay=5)  # error
    producer.submit(add, 1, queue="a")  # error
    producer.submit(total, [1], key="k")  # error
    producer.submit(total, ["one"])  # error
    producer.submit(tell, "a")  # error
    producer.submit(tell, "a", 5)  # error
    producer.submit(join, first="a")  # error
    producer.submit(join, "a", task="b")  # error
    producer.submit(split, "a", "2050-01-01")  # error
    producer.submit("shop.tasks.add", 1)  # error
    executor.submit(add, a="one")  # error
    executor.submit(add, 1, tenant="t")  # error
    producer.options(queue="a").submit(add, "one")  # error


def wrong_options(producer: Producer) -> None:
    """What is no option, or not of that type."""
    producer.options("a")  # error
    producer.options(dealy=5)  # error
    producer.options(queue=5)  # error
    producer.options(delay=SOON)  # error
    producer.options(at="2050-01-01")  # error
    producer.options(at_front="yes")  # error
    producer.options(expires=[1])  # error
    producer.options(unique="for ever")  # error
    producer.options(debounce=SOON)  # error
    producer.options(when_full="drop")  # error
    producer.options(full_timeout="5s")  # error
    RedisExecutor(key="k")  # error
    RedisExecutor(unique="until_done")  # error
    Options(dealy=5)  # error
    Options("a")  # error
    Options().queue = "a"  # error
    producer.submit_many(add, [1], tenant="t")  # error
    producer.submit_many(add, 1)  # error


def wrong_results(producer: Producer) -> None:
    """What a result is not."""
    number: str = producer.submit(add, 1).result()  # error
    totals: Handle[int] = producer.submit(total, [1])  # error
    group([add])  # error
    print(number, totals)


async def wait(producer: Producer) -> None:
    """Wait in a coroutine."""
    reveal_type(await producer.submit(add, 1))  # int
    reveal_type(await producer.options(delay=1).submit(total, [1]))  # Total
    reveal_type(await group(producer.submit_many(add, [1])))  # list[int]
    async with acquire_all([Mutex("a"), Mutex("b")]):
        reveal_type(current_job().id)  # str


async def send_and_wait(producer: AsyncProducer) -> None:
    """Likewise, with a producer of an event loop."""
    reveal_type(await producer.submit(total, [1]))  # AsyncHandle[Total]
    reveal_type(await (await producer.options(delay=1).submit(add, 1)))  # int
    flow = await producer.submit_flow(chain(add.s(1), add.s(b=1)))
    reveal_type(flow)  # AsyncFlowHandle[int]
    reveal_type(await flow.result(5))  # int
    await producer.submit_flow(total.s())  # error
    await producer.submit(add, "one")  # error


def read(failed: JobFailed, expired: JobExpired, full: QueueFull) -> None:
    """What an error tells."""
    reveal_type(failed.job_id)  # str
    reveal_type(expired.reason)  # str
    reveal_type(full.retry_after)  # float | None


def annotate(handles: Sequence[Handle[int]], future: JobFuture[int]) -> Group[int]:
    """Names for the types of what is sent."""
    reveal_type(handles[0].status())  # str
    reveal_type(handles[0].cancel())  # bool
    reveal_type(future.cancel())  # bool
    return group(handles)

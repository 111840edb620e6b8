"""What the shop's jobs call."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from rq import Retry, get_current_job
from rq.timeouts import JobTimeoutException

from shop.models import Colour, Order
from shop.redis import mark, redis

if TYPE_CHECKING:
    from shop.models import Parcel

_loops: list[asyncio.AbstractEventLoop] = []


def add(a: int, b: int) -> int:
    return a + b


def echo(*values: Any) -> tuple[Any, ...]:
    """Its arguments, as they came."""
    return values


def ship(order: Order) -> Order:
    return replace(order, price=order.price + 5)


def paint(colour: Colour) -> str:
    return f"{type(colour).__name__} {colour.value}"


def double(n: int) -> int:
    """What callers give is not what it says; RQ has never looked."""
    return n * 2


def price_of(order: Order) -> int:
    """Producers send a dict."""
    return order["price"]  # type: ignore[index,no-any-return]


def weigh(parcel: Parcel) -> float:
    """Its hint has no meaning at run time."""
    return parcel["weight"]  # type: ignore[index,no-any-return]


def kill_itself(key: str) -> None:
    mark(key)
    os.kill(os.getpid(), signal.SIGKILL)


async def is_new_loop() -> bool:
    """Whether no call before had the same event loop."""
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    _loops.append(loop)
    return loop not in _loops[:-1]


def later(n: int) -> Coroutine[Any, Any, int]:
    """A plain function that returns a coroutine."""

    async def value() -> int:
        await asyncio.sleep(0)
        return n + 1

    return value()


def hear_a_signal() -> str:
    """Only a main thread may set a handler."""
    heard = []
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(signal.Signals(number).name))
    os.kill(os.getpid(), signal.SIGUSR1)
    return ",".join(heard)


def notice_the_time() -> str:
    try:
        time.sleep(60)
    except JobTimeoutException:
        return "late"
    return "on time"


def tidy_up_when_late(key: str) -> None:
    try:
        time.sleep(60)
    finally:
        time.sleep(1.2)
        mark(key)


def catalogue() -> str:
    return "x" * 2_000_000


def make_function() -> Callable[[], None]:
    return lambda: None


def tell_progress() -> str:
    job = get_current_job()
    assert job is not None
    job.meta["progress"] = 50
    job.save_meta()
    return f"{job.func_name} of {job.origin}, {job.get_status()}"


def own_id() -> str | None:
    return os.environ.get("RQ_JOB_ID")


def fail() -> NoReturn:
    raise ValueError("out of stock")


def fail_before(run: int, key: str) -> int:
    """Works at this run, and not before."""
    if mark(key) < run:
        raise ConnectionError("the bank does not answer")
    return run


def try_once_more(key: str) -> Retry:
    mark(key)
    return Retry(max=1)


def wait_for_long(key: str) -> None:
    mark(key)
    time.sleep(60)


def count(key: str) -> int:
    return mark(key)


def use_the_bank(key: str) -> None:
    """Notes when two do at once."""
    if redis().incr(f"shop:{key}:now") > 1:
        mark(f"{key}:together")
    time.sleep(0.05)
    redis().decr(f"shop:{key}:now")
    mark(key)


def pack(thing: str, weight: int) -> str:
    return f"{thing}, {weight} kg"


def wait_for_release(key: str) -> None:
    mark(key)
    redis().blpop([f"shop:{key}:release"])


def note(line: str) -> None:
    redis().rpush("shop:notes", line)

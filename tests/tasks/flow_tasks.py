"""Tasks for tests of flows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import redis

from heori import FlowFailure, task


@dataclass
class Day:
    """A value that JSON alone does not keep."""

    at: datetime
    number: int


@task
def begin(number: int) -> Day:
    """The first step."""
    return Day(datetime.fromisoformat("2026-11-28T00:00:00+00:00"), number)


@task
async def move(day: Day, days: int, *, twice: bool = False) -> Day:
    """A step in between."""
    return Day(day.at + timedelta(days=days * (1 + twice)), day.number + 1)


@task(queue="elsewhere")
def tell(day: Day) -> str:
    """The last one."""
    return f"{day.at:%d} {day.number}"


@task
def fails_without(number: int, path: str) -> int:
    """Fails unless there is a file."""
    Path(path).stat()
    return number


@task
def double(number: int) -> int:
    """A step whose result is plain."""
    return 2 * number


@task
def total(numbers: list[int], more: int = 0) -> int:
    """What gets all results."""
    return sum(numbers) + more


@task
def join(texts: list[str]) -> str:
    """Likewise, of texts."""
    return ",".join(texts)


@task
def nothing() -> None:
    """A task without a result."""


@task
def count(nothings: list[None]) -> int:
    """Gets what says nothing."""
    return len(nothings)


@task
def handle(failures: list[FlowFailure]) -> list[FlowFailure]:
    """Handles failures: gives them back."""
    return failures


@task
def handle_and_count(failures: list[FlowFailure], url: str, key: str) -> list[FlowFailure]:
    """Likewise, and counts its runs."""
    with redis.Redis.from_url(url, socket_timeout=None) as client:
        client.incr(key)
    return failures

"""Tasks with a rate, and some that may be paused."""

import time

from heori import task


@task(rate="200/s", rate_key="api:{customer}", burst=5)
def call(customer: str, number: int) -> tuple[int, float]:
    """Tells when it has begun."""
    return number, time.time()


@task(rate="2/h")
def seldom(number: int) -> int:
    return number


@task
def plain(number: int) -> int:
    return number

"""An application that sends jobs, for `test_shop.py` to test."""

from datetime import datetime
from decimal import Decimal

from heori import Producer, Retry, current_job, task


@task(queue="mail", retry=Retry(max=2, intervals=("1min",)), retry_on=ConnectionError)
def send_mail(to: str, subject: str, written: datetime | None = None) -> str:
    """Fails twice for who is busy."""
    if to == "busy@example.org" and current_job().delivery < 3:
        raise ConnectionError("the mail server is away")
    if "@" not in to:
        raise ValueError(f"{to} is no address")
    when = f" at {written:%H:%M}" if written else ""
    return f"{subject} to {to}{when}"


@task
async def total(prices: list[Decimal]) -> Decimal:
    """Adds up prices."""
    return sum(prices, Decimal(0))


@task
def place_order(number: int, prices: list[Decimal]) -> None:
    """Sends two jobs more."""
    with Producer() as producer:
        sum_ = producer.submit(total, prices).result(timeout=60)
        later = producer.options(queue="slow-mail", delay="5min")
        later.submit(send_mail, "ada@example.org", subject=f"Order {number}: {sum_}")

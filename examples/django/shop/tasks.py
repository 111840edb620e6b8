"""Its tasks."""

from typing import Any

import heori
from shop.models import Order

try:
    from django.tasks import task  # from Django 6 on
except ImportError:
    from django_tasks import task


@task(queue_name="mail")
def confirm(order: int) -> str:
    """Tell a customer that the order has come."""
    Order.objects.filter(pk=order).update(confirmed=True)
    return f"confirmed to {Order.objects.get(pk=order).customer}"


@task(takes_context=True)
async def count(context: Any) -> dict[str, int]:
    """Count the orders, without blocking an event loop."""
    return {"orders": await Order.objects.acount(), "attempt": context.attempt}


@task()
@heori.task(timeout=10, retry=heori.Retry(max=2, base="10ms"), retry_on=Order.DoesNotExist)
def pack(order: int) -> None:
    """Fail where there is no such order, after two retries."""
    Order.objects.get(pk=order)

"""Tasks that leave a connection to a database as one is that its server has closed."""

from asgiref.sync import sync_to_async
from django.db import connection
from shop.models import Order

from heori import task


@task
def leave_closed() -> int:
    orders: int = Order.objects.count()
    connection.connection.close()  # Django takes it for open
    return orders


@task
def count() -> int:
    orders: int = Order.objects.count()
    return orders


@task
async def leave_closed_later() -> int:
    orders: int = await sync_to_async(leave_closed)()
    return orders


@task
async def count_later() -> int:
    orders: int = await sync_to_async(count)()
    return orders

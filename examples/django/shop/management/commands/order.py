"""`manage.py order CUSTOMER`: an order, and its confirmation once it is there for all to see."""

from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from shop.models import Order
from shop.tasks import confirm


class Command(BaseCommand):
    """Takes an order."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name of the customer."""
        parser.add_argument("customer")

    def handle(self, *_: Any, customer: str, **__: Any) -> None:
        """Take the order and send its confirmation on commit."""
        with transaction.atomic():
            order = Order.objects.create(customer=customer)
            transaction.on_commit(partial(confirm.enqueue, order.pk))
        self.stdout.write(f"order {order.pk}")

"""What a program of the example's Django project does with its tasks; prints what it has seen.

DJANGO_SETTINGS_MODULE=shop.settings python project.py
"""

import asyncio
import json
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.db import transaction  # noqa: E402 - Django is to be set up first
from django.utils import timezone  # noqa: E402
from shop.models import Order  # noqa: E402
from shop.tasks import confirm, count, pack  # noqa: E402

from heori.django.framework import (  # noqa: E402
    InvalidTask,
    TaskResultDoesNotExist,
    task_enqueued,
)


def ended(result: Any) -> Any:
    """The same, once it has ended."""
    while not result.is_finished:
        time.sleep(0.02)
        result.refresh()
    return result


def told(result: Any) -> dict[str, Any]:
    """What does not differ from one run to the next."""
    return {
        "status": str(result.status),
        "attempts": result.attempts,
        "value": result.return_value if result.status == "SUCCESSFUL" else None,
        "errors": [error.exception_class_path for error in result.errors],
        "queue": result.task.queue_name,
        "args": result.args,
        "in order": result.enqueued_at <= result.started_at <= result.finished_at,
    }


def refusal(call: Any) -> str:
    """The error that a call raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
    return "none"


def main() -> None:
    """Do all of it."""
    order = Order.objects.create(customer="Ann")
    sent: list[str] = []
    task_enqueued.connect(lambda task_result, **_: sent.append(task_result.id), weak=False)
    seen: dict[str, Any] = {}

    rolled_back: list[Any] = []
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: rolled_back.append(confirm.enqueue(order.pk)))
            raise InterruptedError
    except InterruptedError:
        seen["sent after a rollback"] = len(rolled_back)
    committed: list[Any] = []
    with transaction.atomic():
        transaction.on_commit(lambda: committed.append(confirm.enqueue(order.pk)))
        seen["sent before the commit"] = len(committed)
    first = ended(committed[0])
    seen["confirm"] = told(first)
    seen["read by its id"] = told(confirm.get_result(first.id))
    Order.objects.get(pk=order.pk, confirmed=True)

    seen["count"] = told(ended(asyncio.run(count.aenqueue())))
    seen["pack"] = told(ended(pack.enqueue(0)))
    # Any time will do that is past once Redis has the job, and is not once it is sent.
    due = timezone.now() + timedelta(seconds=1)
    later = ended(confirm.using(run_after=due, queue_name="default").enqueue(order.pk))
    seen["later"] = told(later) | {"not before": later.started_at >= due}
    waiting = confirm.using(run_after=timezone.now() + timedelta(days=1)).enqueue(order.pk)
    seen["waiting"] = [str(waiting.status), str(confirm.get_result(waiting.id).status)]
    seen["signals"] = len(sent)

    seen["priority"] = refusal(lambda: confirm.using(priority=1))
    seen["queue"] = refusal(lambda: confirm.using(queue_name="elsewhere"))
    seen["arguments"] = refusal(lambda: confirm.enqueue(object()))
    seen["unknown id"] = refusal(lambda: confirm.get_result("nothing")).partition(":")[0]
    seen["of another"] = refusal(lambda: pack.get_result(first.id)).partition(":")[0]
    assert InvalidTask
    assert TaskResultDoesNotExist
    json.dump(seen, sys.stdout)


main()

"""Heori."""

from collections.abc import Sequence
from functools import partial

from benchmarks.apps import RESULT_PATIENCE, Call, function, heori_tasks, redis_url, stamped
from heori import Producer

__all__ = ["call", "heori_tasks", "send_bulk", "send_each"]

producer = Producer(redis_url())


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(partial(producer.submit, function(task)), calls)


def send_bulk(
    task: str, calls: Sequence[Call], tenant: str | None = None, queue: str | None = None
) -> None:
    producer.options(tenant=tenant, queue=queue).submit_many(function(task), calls)


def call(task: str, call: Call, queue: str) -> None:
    producer.options(queue=queue).submit(function(task), *call).result(RESULT_PATIENCE)

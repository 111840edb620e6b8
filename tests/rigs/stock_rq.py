"""RQ itself: its command, and its way to put jobs on a queue."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import pytest
from rq import Queue
from rq.job import Job as RqJob
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from tests.rigs.commands import output_of
from tests.rigs.waiting import until

VERSION = tuple(map(int, version("rq").split(".")[:2]))
# Since when rq reads all that a test asks it for; older ones store the same.
READS_ALL = (2, 12)
reads_all = pytest.mark.skipif(VERSION < READS_ALL, reason="this rq cannot be asked for it")


def rq(redis_url: str, *words: str) -> str:
    """Run the stock command."""
    return output_of("rq.cli", *words, "--url", redis_url, env=os.environ)


def enqueue(
    redis: Any,
    task: str,
    *calls: Sequence[Any],
    queue: str = "default",
    module: str = "tests.tasks.sample_tasks",
) -> list[RqJob]:
    """Put jobs on any queue, as rq does."""
    stock = Queue(queue, connection=redis, serializer=JSONSerializer)
    data = [stock.prepare_data(f"{module}.{task}", args=tuple(args)) for args in calls]
    return list(stock.enqueue_many(data))


def until_idle(redis: Any) -> None:
    """Wait until no worker has a job, so that stock ones may be asked to stop.

    They forget a request that comes when a job has ended, and they do not wait for another yet.
    """
    until(lambda: {redis.hget(each, "state") for each in redis.smembers("rq:workers")} <= {b"idle"})


def running(registry: StartedJobRegistry) -> list[tuple[str, str]]:
    """The jobs in the registry of those that run, each with its execution."""
    if VERSION >= READS_ALL:
        return registry.get_job_and_execution_ids()
    pairs = (stored.partition(":") for stored in registry.get_job_ids())
    return [(job, execution) for job, _, execution in pairs]

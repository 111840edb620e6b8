"""RQ, with its JSON serializer, so that its jobs are the same as Heori's."""

from collections.abc import Sequence
from functools import partial

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.apps import Call, redis_url, stamped

queue = Queue("bench", connection=Redis.from_url(redis_url()), serializer=JSONSerializer)


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(partial(queue.enqueue, f"benchmarks.tasks.{task}"), calls)


def send_bulk(task: str, calls: Sequence[Call]) -> None:
    queue.enqueue_many([Queue.prepare_data(f"benchmarks.tasks.{task}", call) for call in calls])

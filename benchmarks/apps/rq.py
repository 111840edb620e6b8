"""RQ, with its JSON serializer, so that its jobs are the same as Heori's."""

from collections.abc import Sequence
from functools import cache, partial

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.apps import RESULT_PATIENCE, Call, function, redis_url, stamped

# Longer than redis-py's own, which would end the wait for a result that is late.
client = Redis.from_url(redis_url(), socket_timeout=2 * RESULT_PATIENCE)


@cache
def queue_of(name: str) -> Queue:
    return Queue(name, connection=client, serializer=JSONSerializer)


queue = queue_of("bench")


def send_each(task: str, calls: Sequence[Call]) -> list[int]:
    return stamped(partial(queue.enqueue, function(task)), calls)


def send_bulk(task: str, calls: Sequence[Call]) -> None:
    queue.enqueue_many([Queue.prepare_data(function(task), call) for call in calls])


def call(task: str, call: Call, queue: str) -> None:
    """It waits by a read that blocks, which is one command, where a poll would be many."""
    job = queue_of(queue).enqueue(function(task), *call)
    if job.latest_result(RESULT_PATIENCE) is None:
        raise TimeoutError(f"job {call[0]} has no result after {RESULT_PATIENCE} s")

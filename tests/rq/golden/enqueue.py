"""Leaves jobs as one version of rq writes them. It is run by a Python that has that version.

python -m tests.rq.golden.enqueue REDIS_URL TAG
"""

import datetime as dt
import decimal
import sys

import redis
from rq import Callback, Queue, Retry, SimpleWorker
from rq.serializers import JSONSerializer

from tests.tasks import golden_tasks as tasks

LONG_S = 100 * 365 * 86400  # what has ended must not be over before the next test of it
MOMENT = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)


def main(url: str, tag: str) -> None:
    connection = redis.Redis.from_url(url, socket_timeout=None)
    queue = Queue("default", connection=connection)
    in_json = Queue("default", connection=connection, serializer=JSONSerializer)

    def named(kind: str) -> str:
        return f"{tag}-{kind}"

    # Stock workers run these first.
    queue.enqueue(tasks.add, 20, 22, job_id=named("finished"), result_ttl=LONG_S)
    queue.enqueue(tasks.fail_until, 2, job_id=named("failed"), failure_ttl=LONG_S)
    queue.enqueue(tasks.fail_until, 2, job_id=named("tried"), retry=Retry(max=3))
    SimpleWorker([queue], connection=connection).work(burst=True, max_jobs=3)

    queue.enqueue(tasks.add, 1, 2, job_id=named("plain"))
    values = {1, 2}, MOMENT, decimal.Decimal("1.10"), b"\x00"
    queue.enqueue(
        tasks.give_back, args=values, kwargs={"day": MOMENT.date()}, job_id=named("values")
    )
    in_json.enqueue("tests.tasks.golden_tasks.add", a=1, b=3, job_id=named("json"))
    queue.enqueue(tasks.Cart(3).total, 4, job_id=named("method"))
    queue.enqueue(tasks.fail_until, 3, job_id=named("retry"), retry=Retry(max=2, interval=[0, 1]))
    parent = queue.enqueue(tasks.add, 0, 1, job_id=named("parent"))
    queue.enqueue(tasks.add, 0, 2, job_id=named("child"), depends_on=parent)
    queue.enqueue_at(MOMENT, tasks.add, 5, 5, job_id=named("scheduled"))
    callbacks = {
        "on_success": Callback(tasks.succeeded, timeout=10),
        "on_failure": Callback("tests.tasks.golden_tasks.failed"),
    }
    queue.enqueue(tasks.add, 2, 2, job_id=named("success"), **callbacks)
    queue.enqueue(tasks.add, 2, "2", job_id=named("failure"), failure_ttl=LONG_S, **callbacks)
    queue.enqueue(tasks.note_in_meta, job_id=named("meta"), meta={"from": MOMENT})
    queue.enqueue(
        tasks.add,
        3,
        3,
        job_id=named("limits"),
        job_timeout="2m",
        result_ttl=1000,
        failure_ttl=2000,
        ttl=LONG_S,
        description="three and three",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

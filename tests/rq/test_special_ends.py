"""Jobs of stock rq whose end is more than that: they repeat, ask to be retried, share slots."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue, Retry
from rq.job import Dependency, Job
from rq.serializers import JSONSerializer

from tests.rigs.consumers import Consumer
from tests.rigs.stock_rq import VERSION, reads_all, rq
from tests.rigs.waiting import until

MODULE = "tests.tasks.special_ends"
COUNT = f"{MODULE}.count"
SERIALIZER = "rq.serializers.JSONSerializer"
has_limits = pytest.mark.skipif(VERSION < (3, 0), reason="this rq knows of no rate limits")


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


def types(job: Job) -> list[int]:
    return [result.type.value for result in reversed(job.results())]


def leave_mark(redis: Any, child: Job) -> None:
    """Have a job wait for one that has ended, and of which a killed consumer has left a mark."""
    redis.delete(f"rq:job::{child.id}:dependencies")
    redis.sadd("rq:job:ended:dependents", child.id)
    redis.zadd("rq:heori:ended", {"finished 500 ended": 1})


def clone(redis: Any, child: Job, parent: Job, times: int) -> None:
    """Have as many more jobs wait for the same one: more than an acknowledgement looks at."""
    record = redis.hgetall(child.key)
    with redis.pipeline(transaction=False) as pipe:
        for number in range(times):
            pipe.hset(f"rq:job:clone-{number}", mapping=record)
            pipe.sadd(parent.dependents_key, f"clone-{number}")
            pipe.zadd("rq:deferred:default", {f"clone-{number}": number})
        pipe.execute()


@reads_all
def test_jobs_of_stock_rq_end_as_they_do_with_its_workers(
    stock: Queue, redis: Any, redis_url: str, consume: Callable[..., Consumer]
) -> None:
    from rq import Repeat

    repeated = stock.enqueue(COUNT, redis_url, "repeated", repeat=Repeat(2, [0, 0.2]), ttl=600)  # type: ignore[list-item]
    again = stock.enqueue(f"{MODULE}.ask_again", redis_url, "again", 2)
    too_often = stock.enqueue(f"{MODULE}.ask_again", redis_url, "too often", 9)
    bad = stock.enqueue("tests.tasks.sample_tasks.fail", "no", retry=Retry(1), ttl=600)
    end = stock.enqueue(COUNT, redis_url, "end", depends_on=Dependency([bad], allow_failure=True))
    for _ in range(5):
        end = stock.enqueue(COUNT, redis_url, "end", depends_on=end, result_ttl=0)
    last = stock.enqueue(COUNT, redis_url, "end", depends_on=end)
    absent = stock.enqueue("tests.tasks.special_ends.absent", retry=Retry(1))
    left = stock.enqueue(COUNT, redis_url, "left", depends_on=too_often)
    leave_mark(redis, left)
    many = stock.enqueue(COUNT, redis_url, "many", result_ttl=0)
    child = stock.enqueue(COUNT, redis_url, "many", depends_on=many)
    clone(redis, child, many, 300)
    consume(HEORI_ALLOW="tests", HEORI_UNKNOWN_WAIT="0").ready()
    result = last.latest_result(timeout=60)
    assert result is not None
    assert result.return_value == 7
    for job, ends in ((again, [4, 4, 1]), (too_often, [4, 4, 5]), (repeated, [1, 1, 1])):
        until(lambda job=job, ends=ends: types(job) == ends)  # type: ignore[misc]
        assert job.get_status() == ("failed" if ends[-1] == 5 else "finished")
    assert again.return_value() == 3
    assert Job.fetch(repeated.id, redis, serializer=JSONSerializer).repeats_left == 0
    until(lambda: redis.get("many") == b"302")
    until(lambda: redis.get("left") == b"1")
    until(lambda: absent.get_status() == "failed")
    assert types(absent) == [2], "a retry leaves no result"
    assert Job.fetch(absent.id, redis, serializer=JSONSerializer).retries_left == 0


@has_limits
def test_a_limit_holds_for_jobs_that_heori_and_a_stock_worker_share(
    stock: Queue, redis: Any, redis_url: str, consume: Callable[..., Consumer]
) -> None:
    """Each serves a queue of its own, and lets the other's jobs through."""
    from rq import RateLimit

    other = Queue("other", connection=redis, serializer=JSONSerializer)
    jobs = [
        queue.enqueue(f"{MODULE}.run_alone", redis_url, "k", 0.01, rate_limit=RateLimit("k", 1))
        for _ in range(5)
        for queue in (stock, other)
    ]
    parent = stock.enqueue(COUNT, redis_url, "parent")
    jobs.append(
        other.enqueue(
            *(f"{MODULE}.run_alone", redis_url, "k", 0.01),
            rate_limit=RateLimit("k", 1),
            depends_on=parent,
        )
    )
    jobs.append(
        stock.enqueue_call(
            "tests.tasks.sample_tasks.fail",
            ("no",),
            retry=Retry(1, 1),
            rate_limit=RateLimit("k", 1),
        )
    )
    words = ("worker", "other", "--max-jobs", "6", "--serializer", SERIALIZER)
    worker = threading.Thread(
        target=rq,
        args=(redis_url, *words, "-w", "rq.worker.SimpleWorker", "--path", str(Path.cwd())),
    )
    consume("--model", "threads", "--slots", "4", HEORI_ALLOW="tests").ready()
    worker.start()
    results = [job.latest_result(timeout=120) for job in jobs]
    worker.join()
    assert [result.return_value for result in results if result] == [1] * 11 + [None]
    assert redis.get("k:runs") == b"11"
    until(lambda: not redis.keys("rq:rl*"))

"""Both directions with stock rq 3.0.0: what one writes the other runs and reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue, Retry
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from heori import JobFailed, Producer
from tests.rigs.consumers import Consumer
from tests.rigs.stock_rq import rq
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

pytestmark = pytest.mark.usefixtures("redis_url")


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


def end_of(job: Job) -> Result:
    """Wait for a job's result with rq's own means."""
    result = job.latest_result(timeout=60)
    assert result is not None
    return result


def error_of(job: Job) -> str:
    """The traceback of a failed job, read with rq's own means."""
    result = end_of(job)
    assert result.type == Result.Type.FAILED
    assert result.exc_string is not None
    return result.exc_string


def test_jobs_of_stock_rq_run_and_stock_rq_reads_their_results(
    stock: Queue, consume: Callable[..., Consumer], redis: Any
) -> None:
    good = [stock.enqueue("tests.tasks.sample_tasks.add", n, b=1) for n in range(100)]
    bad = stock.enqueue("tests.tasks.sample_tasks.fail", "because")
    wrong = stock.enqueue("tests.tasks.sample_tasks.add", "no number")
    consumer = consume().ready()
    assert [end_of(job).return_value for job in good] == list(range(1, 101))
    assert {job.get_status() for job in good} == {JobStatus.FINISHED}
    assert "ValueError: because" in error_of(bad)
    assert bad.get_status() == JobStatus.FAILED
    assert "a: Input should be a valid integer" in error_of(wrong)
    assert set(FinishedJobRegistry(queue=stock).get_job_ids()) == {job.id for job in good}
    assert set(FailedJobRegistry(queue=stock).get_job_ids()) == {bad.id, wrong.id}
    fetched = Job.fetch(good[5].id, connection=redis, serializer=JSONSerializer)
    assert fetched.return_value() == 6
    assert fetched.ended_at and fetched.started_at and fetched.enqueued_at  # noqa: PT018
    assert fetched.ended_at >= fetched.started_at >= fetched.enqueued_at
    assert consumer.stop() == 0


def test_stock_rq_runs_our_jobs_and_we_read_its_results(producer: Producer, redis_url: str) -> None:
    good = producer.submit(sample_tasks.add, 1, b=5)
    coroutine = producer.submit(sample_tasks.add_later, 1, b=5)
    bad = producer.submit(sample_tasks.fail, "because")
    rq(
        redis_url,
        *("worker", "default", "--burst", "--serializer", "rq.serializers.JSONSerializer"),
        *("-w", "rq.worker.SimpleWorker", "--path", str(Path.cwd())),
    )
    assert good.result(60) == 6
    assert coroutine.result(60) == 6
    with pytest.raises(JobFailed, match="ValueError: because"):
        bad.result(60)


def test_a_task_says_how_long_its_results_are_kept(
    producer: Producer, redis: Any, consume: Callable[..., Consumer]
) -> None:
    handle = producer.submit(sample_tasks.add_for_a_while, 1, 2)
    assert Job.fetch(handle.id, redis, serializer=JSONSerializer).result_ttl == 100
    consume().ready()
    assert handle.result(60) == 3
    for key in (f"rq:job:{handle.id}", f"rq:results:{handle.id}"):
        assert 0 < redis.ttl(key) <= 100
    other = producer.submit(sample_tasks.add, 1, 2)
    assert other.result(60) == 3
    assert 100 < redis.ttl(f"rq:job:{other.id}") <= 500


def test_rq_info_shows_our_consumers_and_counts(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    consumer = consume().ready()
    name = next(iter(redis.smembers("rq:workers"))).decode().removeprefix("rq:worker:")
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    with pytest.raises(JobFailed):
        producer.submit(sample_tasks.fail, "x").result(60)
    shown = rq(redis_url, "info", "--raw")
    assert "queue default 0" in shown
    assert name in shown
    human = rq(redis_url, "info")
    assert "1 workers, 1 queues" in human
    counts = redis.hmget(f"rq:worker:{name}", "successful_job_count", "failed_job_count")
    assert counts == [b"1", b"1"]
    assert consumer.stop() == 0
    assert "0 workers, 1 queues" in rq(redis_url, "info")


def test_pickled_jobs_run_where_they_are_accepted(
    redis: Any, consume: Callable[..., Consumer]
) -> None:
    pickled = Queue("default", connection=redis)
    job = pickled.enqueue("tests.tasks.sample_tasks.add", 1)
    refusing = consume()
    assert refusing.join() == 2
    assert "HEORI_ACCEPT=json,pickle" in refusing.log[-1]["event"]
    consume(HEORI_ACCEPT="json,pickle").ready()
    assert end_of(job).return_value == 3


def test_only_registered_or_allowed_functions_are_imported(
    stock: Queue, consume: Callable[..., Consumer]
) -> None:
    refused = stock.enqueue("os.system", "true")
    allowed = stock.enqueue("operator.mul", 6, 7)
    consume(HEORI_ALLOW="operator").ready()
    assert "no registered task and under no allowed prefix" in error_of(refused)
    assert end_of(allowed).return_value == 42


@pytest.mark.parametrize("interval", [0, [1, 0]])
def test_stock_retries_are_done_as_stock_rq_does_them(
    interval: Any, stock: Queue, consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    """The task declares two retries; what the job says counts."""
    works = stock.enqueue(
        "tests.tasks.sample_tasks.fail_at_first", redis_url, "a", 3, retry=Retry(3, interval)
    )
    gives_up = stock.enqueue(
        "tests.tasks.sample_tasks.fail_at_first", redis_url, "b", 3, retry=Retry(1, interval)
    )
    plain = stock.enqueue("tests.tasks.sample_tasks.fail_at_first", redis_url, "c", 2)
    consume().ready()
    assert end_of(works).return_value == 4
    assert "run 2" in error_of(gives_up)
    assert end_of(plain).return_value == 3  # a job that says nothing is retried as its task says
    assert Job.fetch(works.id, redis, serializer=JSONSerializer).retries_left == 0
    assert len(works.results()) == len(gives_up.results()) == 1


def test_dependents_are_enqueued_as_rq_does(stock: Queue, consume: Callable[..., Consumer]) -> None:
    parent = stock.enqueue("tests.tasks.sample_tasks.add", 1)
    child = stock.enqueue("tests.tasks.sample_tasks.add", 2, depends_on=parent)
    orphan = stock.enqueue(
        "tests.tasks.sample_tasks.add",
        3,
        depends_on=stock.enqueue("tests.tasks.sample_tasks.fail", "x"),
    )
    assert child.get_status() == JobStatus.DEFERRED
    consume().ready()
    assert end_of(child).return_value == 4
    assert orphan.get_status() == JobStatus.DEFERRED  # its parent failed, as in rq


def test_jobs_nobody_can_read_fail_with_one_message_and_harm_no_neighbour(
    stock: Queue, producer: Producer, redis: Any, consume: Callable[..., Consumer]
) -> None:
    import zlib

    def broken(**fields: bytes | str) -> str:
        job = stock.enqueue("tests.tasks.sample_tasks.add", 1)
        redis.hset(job.key, mapping=fields)
        return str(job.id)

    no_data = stock.enqueue("tests.tasks.sample_tasks.add", 1).id
    redis.hdel(f"rq:job:{no_data}", "data")
    call = json.dumps(["tests.tasks.sample_tasks.add", None, [1], {}]).encode()
    bad = {
        broken(data=b"\x00garbage"): "no json",
        broken(data=zlib.compress(b'{"a": 1}')): "not a call",
        broken(
            data=zlib.compress(b'["tests.tasks.sample_tasks.gone", null, [], {}]')
        ): "no registered",
        broken(data=b"x" * 10_000_000): "over the limit of 1000000",
        broken(data=zlib.compress(b" " * 50_000_000 + call)): "inflates to more than the limit",
        broken(timeout="abc"): "timeout",
        broken(enqueued_at="yesterday"): "enqueued_at",
        broken(status="bananas"): "bananas",
        no_data: "no data field",
    }
    good = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(50)])
    consumer = consume("--slots", "1", HEORI_UNKNOWN_WAIT="0").ready()
    assert [handle.result(60) for handle in good] == list(range(50))
    until(lambda: redis.zcard("rq:failed:default") == len(bad))
    for job_id, message in bad.items():
        entries = redis.xrevrange(f"rq:results:{job_id}", count=1)
        text = Result.restore(job_id, entries[0][0].decode(), entries[0][1], redis).exc_string
        assert text and message in text, (message, text)  # noqa: PT018
        assert text.count("\n") == 1  # one sentence, no traceback of ours
    until(lambda: consumer.metric("heori_jobs_total", outcome="failed") == len(bad))
    assert consumer.stop() == 0

"""What producers, tools and people do with RQ all day, with `heori worker` behind it."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Queue, Worker
from rq.decorators import job as rq_job
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry, FailedJobRegistry

from tests.rigs.consumers import Consumer
from tests.rigs.stock_rq import reads_all, rq
from tests.rigs.waiting import until
from tests.tasks import everyday_tasks

pytestmark = reads_all


@pytest.fixture
def worker(redis_url: str) -> Iterator[Consumer]:
    """One that runs."""
    words = ["--allow", "tests.tasks.everyday_tasks", "--with-scheduler", "default", "low"]
    started = Consumer(words, {"HEORI_REDIS_URL": redis_url}, command="worker")
    yield started.ready()
    if started.process.poll() is None:
        assert started.stop(signal.SIGQUIT) == 0
    print(*started.log[-50:], sep="\n")  # is shown when the test has failed


def ended(job: Job) -> JobStatus | None:
    """Wait for the end of a job; how it has ended."""
    until(lambda: job.get_status() in ("finished", "failed", "stopped", "canceled"))
    return job.get_status()


def error_of(job: Job) -> str:
    """The traceback of a failed job."""
    result = job.latest_result()
    assert result is not None
    return result.exc_string or ""


def test_what_producers_send_is_run_and_what_they_ask_is_answered(
    redis: Any, redis_url: str, worker: Consumer
) -> None:
    queue, low = Queue(connection=redis), Queue("low", connection=redis)

    # From Python, from the command line, and by the decorator.
    called = queue.enqueue(everyday_tasks.add, 1, b=1)
    by_name = low.enqueue("tests.tasks.everyday_tasks.add", 5)
    shell = rq(
        redis_url,
        *("enqueue", "-q", "low", "--job-id", "from-shell", "-P", str(Path.cwd())),
        *("tests.tasks.everyday_tasks.add", ":1", "b:=7"),
    )
    decorated = rq_job("default", connection=redis)(everyday_tasks.double).delay(4)
    at_once = Queue("elsewhere", is_async=False, connection=redis).enqueue(everyday_tasks.add, 2)
    many = queue.enqueue_many(
        [Queue.prepare_data(everyday_tasks.add, args=(n,), job_id=f"many-{n}") for n in range(3)]
    )
    from_shell = Job.fetch("from-shell", connection=redis)
    assert "from-shell" in shell
    jobs = [called, by_name, from_shell, decorated, *many]
    assert [ended(job) for job in jobs] == ["finished"] * 7
    assert [job.return_value() for job in jobs] == [2, 7, 8, 8, 2, 3, 4]
    assert at_once.return_value() == 4

    # For how long results are kept.
    gone = queue.enqueue(everyday_tasks.add, 1, result_ttl=0)
    kept = queue.enqueue(everyday_tasks.add, 1, result_ttl=-1)
    until(lambda: not redis.exists(gone.key))
    assert ended(kept) == "finished"
    assert redis.ttl(kept.key) == -1
    assert 300 < redis.ttl(called.key) <= 500

    # Each run has a result.
    failing = queue.enqueue(everyday_tasks.work_when_told, "told")
    assert ended(failing) == "failed"
    assert "RuntimeError: not yet" in error_of(failing)
    assert FailedJobRegistry(queue=queue).get_job_ids() == [failing.id]
    redis.set("told", 1)
    rq(redis_url, "requeue", failing.id, "--queue", "default")
    until(lambda: failing.get_status() == "finished")
    assert [result.type.name for result in failing.results()] == ["SUCCESSFUL", "FAILED"]
    assert failing.return_value(refresh=True) == "at last"
    assert FailedJobRegistry(queue=queue).count == 0

    # Timeouts: of a job, and of its queue.
    late = queue.enqueue(everyday_tasks.sleep, job_timeout=1)
    Queue("low", connection=redis, default_timeout=1).enqueue(everyday_tasks.sleep, job_id="too")
    for job in (late, Job.fetch("too", connection=redis)):
        assert ended(job) == "failed"
        assert "Task exceeded maximum timeout value (1 seconds)" in error_of(job)


def test_what_waits_can_be_looked_at_and_taken_away(
    redis: Any, redis_url: str, worker: Consumer
) -> None:
    queue = Queue(connection=redis)
    holding = queue.enqueue(everyday_tasks.hold, "let-go")
    until(lambda: redis.exists("let-go:begun"))

    # A worker is at work, and RQ's tools see which one.
    [seen] = Worker.all(connection=redis)
    assert Worker.count(connection=redis) == Worker.count(queue=queue) == 1
    until(lambda: holding.id in queue.started_job_registry.get_job_ids())
    assert holding.get_status() == "started"
    assert Job.fetch(holding.id, connection=redis).worker_name == seen.name
    info = rq(redis_url, "info", "--raw")
    assert f"worker {seen.name}" in info
    assert "queue default 0, 1 executing" in info
    assert seen.name in rq(redis_url, "info", "-R")

    # What waits behind it, in the order in which it will run.
    first, second, third = (queue.enqueue(everyday_tasks.add, n) for n in range(3))
    front = queue.enqueue(everyday_tasks.add, 9, at_front=True)
    assert queue.job_ids == [front.id, first.id, second.id, third.id]
    assert (queue.count, second.get_position()) == (4, 2)
    second.cancel()
    third.delete()
    assert CanceledJobRegistry(queue=queue).get_job_ids() == [second.id]
    with pytest.raises(NoSuchJobError):
        Job.fetch(third.id, connection=redis)

    # A cancelled parent may let its children go; otherwise they stay where they are.
    parent = queue.enqueue(everyday_tasks.add, 1)
    child = queue.enqueue(everyday_tasks.add, 2, depends_on=parent)
    parent.cancel(enqueue_dependents=True)
    other = queue.enqueue(everyday_tasks.add, 1)
    stays = queue.enqueue(everyday_tasks.add, 2, depends_on=other)
    other.cancel()

    # What is due later, and what was due; it may be cancelled, too.
    past = queue.enqueue_at(datetime.now(UTC) - timedelta(1), everyday_tasks.add, 7)
    future = queue.enqueue_in(timedelta(hours=1), everyday_tasks.add, 7)
    never = queue.enqueue_in(timedelta(hours=1), everyday_tasks.add, 7)
    never.cancel()
    until(lambda: queue.scheduled_job_registry.get_job_ids() == [future.id])

    # While workers are suspended, none begins anything.
    rq(redis_url, "suspend")
    redis.rpush("let-go", "")
    assert ended(holding) == "finished"
    worker.wait_for("suspended: claiming nothing until `rq resume`")
    assert front.get_status() == "queued"
    rq(redis_url, "resume")
    assert [ended(job) for job in (front, first, child, past)] == ["finished"] * 4
    assert stays.get_status() == "deferred"
    assert future.get_status() == "scheduled"

    # Queues are emptied and deleted.
    heap = Queue("heap", connection=redis)
    for n in range(3):
        heap.enqueue(everyday_tasks.add, n)
    rq(redis_url, "empty", "heap")
    assert heap.count == 0
    heap.enqueue(everyday_tasks.add, 1)
    heap.delete()
    assert "heap" not in [each.name for each in Queue.all(connection=redis)]

    # A worker that is told to stop does so once its job has ended, as long as that takes.
    last = queue.enqueue(everyday_tasks.hold, "last")
    behind = queue.enqueue(everyday_tasks.add, 1)
    until(lambda: redis.exists("last:begun"))
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_for("draining")["grace_seconds"] > 1_000_000
    redis.rpush("last", "")
    assert worker.join() == 0
    assert (last.get_status(), behind.get_status()) == ("finished", "queued")
    assert Worker.count(connection=redis) == 0

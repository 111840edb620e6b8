"""What a person may ask of a consumer with `rq.command`."""

from collections.abc import Callable
from typing import Any

from rq import Queue, Retry
from rq.command import (
    send_command,
    send_kill_horse_command,
    send_shutdown_command,
    send_stop_job_command,
)
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from heori import Producer
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


def name_of(consumer: Consumer) -> str:
    """Under which name RQ's tools know it."""
    [line] = [line for line in consumer.log if line["event"] == "consuming"]
    return str(line["consumer"])


def hears_commands(redis: Any, consumer: Consumer) -> bool:
    """Whether it is told what is published to it with `rq.command`: its last subscription."""
    [(_, listeners)] = redis.pubsub_numsub(f"rq:pubsub:{name_of(consumer)}")
    return bool(listeners)


def test_rqs_shutdown_drains_as_sigterm_does(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume().ready()
    until(lambda: hears_commands(redis, consumer))
    handle = producer.submit(sample_tasks.hold, redis_url, "shutdown")
    assert redis.blpop(["shutdown:running"], timeout=60)
    send_shutdown_command(redis, name_of(consumer))
    consumer.wait_for("draining")
    redis.rpush("shutdown:go", "now")
    assert consumer.join() == 0
    assert handle.result(60) == "shutdown"


def test_kill_horse_ends_what_runs_as_rq_does_and_nothing_else(
    consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    hold = "tests.tasks.sample_tasks.hold"
    consumer = consume("--model", "hybrid", "--processes", "1", "--slots", "2").ready()
    plain = queue.enqueue(hold, redis_url, "plain")
    again = queue.enqueue(hold, redis_url, "again", retry=Retry(max=1))
    for key in ("plain", "again"):
        assert redis.blpop([f"{key}:running"], timeout=60)
    waits = queue.enqueue("tests.tasks.sample_tasks.add", 1)
    until(lambda: hears_commands(redis, consumer))
    send_kill_horse_command(redis, name_of(consumer))
    told = consumer.wait_for("rq asks to kill what runs; its jobs fail, or use a retry")
    assert told["processes"] == 1
    assert redis.blpop(["again:running"], timeout=60)
    redis.rpush("again:go", "")
    for job, status in ((plain, "failed"), (again, "finished"), (waits, "finished")):
        until(lambda job=job, status=status: job.get_status() == status)  # type: ignore[misc]
    result = plain.latest_result()
    assert result is not None
    assert result.exc_string is not None
    assert result.exc_string.startswith("Work-horse terminated unexpectedly; waitpid returned 9")
    again.refresh()  # type: ignore[no-untyped-call]
    assert again.retries_left == 0
    send_kill_horse_command(redis, name_of(consumer))
    told = consumer.wait_for("rq asks to kill what runs; its jobs fail, or use a retry")
    assert told["processes"] == 0, "nothing runs"
    assert consumer.stop() == 0


def test_commands_that_cannot_be_obeyed_are_told_and_survived(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume().ready()
    until(lambda: hears_commands(redis, consumer))
    name = name_of(consumer)
    job = RqJob.create("tests.tasks.sample_tasks.add", connection=redis, serializer=JSONSerializer)
    job.worker_name = name
    job.save()
    send_stop_job_command(redis, job.id, serializer=JSONSerializer)
    here = consumer.wait_for("asked to stop a job that does not run here")
    assert here["job"] == job.id
    send_command(redis, name, "stop-execution", job_id=job.id, execution_id="e")
    consumer.wait_for("asked to stop a job that does not run here")
    send_command(redis, name, "dance")
    assert consumer.wait_for("a command that is not known")["command"] == "dance"
    redis.publish(f"rq:pubsub:{name}", b"\xff{")
    consumer.wait_for("a command of rq's cannot be read")
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert consumer.stop() == 0


# Suspended, broken, refused

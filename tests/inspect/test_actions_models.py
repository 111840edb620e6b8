"""What is done to a job that a running consumer has, in each of its models; and rq's own worker."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heori import Producer
from heori.inspect.actions import ActionRefused, JobActions, JobGone
from heori.inspect.reader import RedisReader
from tests.rigs.consumers import IN_PROCESSES, MODELS, Consumer
from tests.rigs.stock_rq import enqueue, until_idle
from tests.rigs.waiting import until
from tests.rigs.zygote import Started
from tests.tasks import sample_tasks

SLOTS = {"threads": 4, "processes": 2, "hybrid": 4, "asyncio": 4, "auto": 4}


@pytest.fixture
def actions(reader: RedisReader) -> JobActions:
    return JobActions(reader.client, reader.commands)


def refusals(actions: JobActions, job_id: str, *asked: str) -> list[str]:
    """Why each is refused."""
    why = []
    for action in asked:
        with pytest.raises(ActionRefused) as refused:
            actions.act(action, job_id)
        why.append(str(refused.value).rpartition(": ")[2])
    return why


NOT_WHILE_IT_RUNS = [
    "it has begun; stop it instead",
    "it is started",
    "it is not among the jobs that failed",
    "it runs; stop it first",
]


@pytest.mark.parametrize("model", IN_PROCESSES)
def test_an_action_does_the_same_whatever_the_model(
    model: str,
    actions: JobActions,
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
) -> None:
    consumer = consume(*MODELS[model]).ready()
    keys = [f"k{number}" for number in range(SLOTS[model])]
    first, *others = (producer.submit(sample_tasks.hold, redis_url, key) for key in keys)
    for key in keys:
        assert redis.blpop([f"{key}:running"], 60)
    canceled, deleted, last = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(3)])
    assert actions.act("cancel", canceled.id).status == "canceled"
    assert actions.act("delete", deleted.id).status == "deleted"

    asked = ("cancel", "run", "retry", "delete")
    assert refusals(actions, first.id, *asked) == NOT_WHILE_IT_RUNS
    for key in keys[1:]:
        redis.rpush(f"{key}:go", 1)
    assert [other.result(60) for other in others] == keys[1:]
    assert refusals(actions, first.id, *asked) == NOT_WHILE_IT_RUNS
    actions.act("stop", first.id)
    until(lambda: first.status() == "stopped")

    assert last.result(60) == 2
    assert canceled.status() == "canceled"
    assert actions.act("retry", first.id).action == "retry"
    assert redis.blpop([f"{keys[0]}:running"], 60)
    redis.rpush(f"{keys[0]}:go", 1)
    until(lambda: first.status() == "finished")
    assert actions.act("retry", canceled.id).action == "retry"
    assert canceled.result(60) == 0
    for job in (first, canceled):
        assert actions.act("delete", job.id).status == "deleted"
    for job in (first, canceled, deleted):
        with pytest.raises(JobGone):
            actions.act("retry", job.id)

    failed = producer.submit(sample_tasks.fail_at_first, redis_url, "tries", 1, "KeyError")
    until(lambda: failed.status() == "failed")
    actions.act("retry", failed.id)
    until(lambda: failed.status() == "finished")
    assert consumer.stop() == 0


@pytest.fixture
def stock_worker(redis: Any, redis_url: str) -> Iterator[Started]:
    """An `rq worker`, which forks a process for each job."""
    serializer = "rq.serializers.JSONSerializer"
    words = ("worker", "default", "--serializer", serializer, "--url", redis_url)
    worker = Started("rq.cli", *words, env=os.environ)
    yield worker
    until_idle(redis)
    worker.terminate()
    assert worker.wait(60) == 0


def test_a_job_of_a_stock_worker_is_stopped_by_it_retried_and_deleted(
    actions: JobActions, stock_worker: Started, redis: Any, redis_url: str
) -> None:
    [job] = enqueue(redis, "hold", (redis_url, "k"))
    child = int(redis.blpop(["k:running"], 60)[1])
    assert child != stock_worker.pid
    asked = ("cancel", "run", "retry", "delete")
    assert refusals(actions, job.id, *asked) == NOT_WHILE_IT_RUNS
    actions.act("stop", job.id)
    until(lambda: job.get_status(refresh=True) == "stopped")
    actions.act("retry", job.id)
    assert redis.blpop(["k:running"], 60)
    redis.rpush("k:go", 1)
    until(lambda: job.get_status(refresh=True) == "finished")
    assert actions.act("delete", job.id).status == "deleted"
    assert redis.keys(f"*{job.id}*") == []

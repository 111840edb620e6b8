"""What each slot does now: /slots of a consumer's own server."""

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from heori import Mutex, Producer
from tests.rigs.consumers import MODELS, Consumer
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks, waiting_tasks

HOLD = "tests.tasks.sample_tasks.hold"


def slots(consumer: Consumer, query: str = "") -> dict[str, Any]:
    with urllib.request.urlopen(f"{consumer.url}/slots{query}", timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        said: dict[str, Any] = json.loads(answer.read())
        return said


def jobs(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [job for worker in said["workers"] for job in worker["jobs"]]


@pytest.mark.parametrize("model", MODELS)
def test_each_slot_tells_what_it_runs_and_since_when(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*MODELS[model]).ready()
    idle = slots(consumer)
    assert (idle["consumer"], idle["model"], idle["state"]) == (consumer.name, model, "idle")
    assert (idle["running"], idle["left_out"], jobs(idle)) == (0, 0, [])

    job = producer.submit(sample_tasks.hold, redis_url, "k")
    pid = int(redis.blpop("k:running", 60)[1])
    until(lambda: jobs(slots(consumer)) and jobs(slots(consumer))[0]["task"])
    said = slots(consumer)
    [shown] = jobs(said)
    assert said["running"] == 1
    assert said["slots"] == sum(worker["slots"] for worker in said["workers"])
    assert (shown["job"], shown["task"], shown["queue"]) == (job.id, HOLD, "default")
    assert (shown["delivery"], shown["lent"], shown["locks"]) == (1, False, [])
    [worker] = [worker for worker in said["workers"] if worker["jobs"]]
    assert worker["pid"] == pid
    assert (worker["state"], worker["lent"]) == ("ready", 0)
    assert worker["seconds"] >= shown["seconds"] >= 0
    until(lambda: jobs(slots(consumer))[0]["seconds"] > shown["seconds"])

    assert "hold" not in str(slots(consumer, "?jobs=0")), "the consumer alone"
    redis.rpush("k:go", 1)
    assert job.result(60) == "k"
    until(lambda: slots(consumer)["executed"] == 1)
    assert jobs(slots(consumer)) == []


def test_no_argument_is_told_and_the_locks_of_its_task_are(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--slots", "2", HEORI_TASKS="tests.tasks.lock_tasks").ready()
    job = producer.submit(lock_tasks.hold_account, redis_url, 7, "a-secret-argument")
    until(lambda: jobs(slots(consumer)))
    said = slots(consumer)
    assert "a-secret-argument" not in json.dumps(said)
    [lock] = jobs(said)[0]["locks"]
    assert (lock["kind"], lock["name"]) == ("mutex", "account:7")
    assert lock["fence"] > 0
    redis.rpush("a-secret-argument:go", 1)
    job.result(60)


def test_of_many_those_are_named_that_run_for_longest(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--slots", "3").ready()
    ids = []
    for key in "abc":
        ids.append(producer.submit(sample_tasks.hold, redis_url, key).id)
        redis.blpop(f"{key}:running", 60)
    until(lambda: len(jobs(slots(consumer))) == 3)
    said = slots(consumer, "?jobs=2")
    assert {job["job"] for job in jobs(said)} == set(ids[:2])
    assert (said["running"], said["left_out"]) == (3, 1)
    for strange in ("?jobs=-1", "?jobs=x", "?jobs=" + "9" * 5000, "?&&=%ff"):
        assert len(jobs(slots(consumer, strange))) == 3
    for key in "abc":
        redis.rpush(f"{key}:go", 1)


@pytest.mark.parametrize("model", ["threads", "processes", "asyncio"])
def test_a_job_that_waits_for_locks_in_its_slot_names_them(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*MODELS[model]).ready()
    with Mutex("account:9", redis_url):
        job = producer.submit(sample_tasks.hold_mutex, redis_url, "account:9")
        until(lambda: [lock for each in jobs(slots(consumer)) for lock in each["in_line"]])
        [waits] = jobs(slots(consumer))[0]["in_line"]
        assert (waits["kind"], waits["name"]) == ("mutex", "account:9")
        until(lambda: jobs(slots(consumer))[0]["in_line"][0]["seconds"] > waits["seconds"])
    redis.blpop("account:9:running", 60)
    until(lambda: jobs(slots(consumer))[0]["in_line"] == [])
    redis.rpush("account:9:go", 1)
    job.result(60)


@pytest.mark.parametrize("model", ["threads", "processes"])
def test_of_a_job_it_is_told_what_its_thread_does_and_has_used(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*MODELS[model], HEORI_GRACE="0").ready()
    idle = producer.submit(sample_tasks.hold, redis_url, "k")
    redis.blpop("k:running", 60)
    busy = producer.submit(sample_tasks.spin, 600.0)

    def one(job_id: str) -> dict[str, Any]:
        [found] = jobs(slots(consumer, f"?job={job_id}"))
        return found

    until(lambda: len(jobs(slots(consumer))) == 2)
    until(lambda: (one(busy.id)["cpu_seconds"] or 0) > 0.5)
    until(lambda: one(busy.id)["thread_state"] == "running")
    until(lambda: one(idle.id)["thread_state"] == "io_wait")
    assert one(idle.id)["cpu_seconds"] < one(busy.id)["cpu_seconds"] <= one(busy.id)["seconds"]
    assert jobs(slots(consumer, "?job=nobody")) == []
    redis.rpush("k:go", 1)
    idle.result(60)


def test_a_coroutine_has_no_thread_of_its_own(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume(*MODELS["asyncio"], HEORI_GRACE="0").ready()
    for _ in range(2):
        producer.submit(sample_tasks.wait_for_long)
    until(lambda: len([job for job in jobs(slots(consumer)) if job["task"]]) == 2)
    for job in jobs(slots(consumer)):
        assert (job["cpu_seconds"], job["gil_seconds"]) == (None, None)
        assert job["thread_state"] == "io_wait"


def test_a_job_that_waits_for_another_has_lent_its_slot(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    tasks = "tests.tasks.waiting_tasks,tests.tasks.sample_tasks"
    consumer = consume("--slots", "1", HEORI_TASKS=tasks).ready()
    parent = producer.submit(waiting_tasks.wait_for_held, redis_url, "child")
    redis.blpop("child:running", 60)
    until(lambda: len(jobs(slots(consumer))) == 2)
    until(lambda: slots(consumer)["waiting"] == 1)
    by_task = {job["task"].rpartition(".")[2]: job for job in jobs(slots(consumer))}
    assert (by_task["wait_for_held"]["lent"], by_task["hold"]["lent"]) == (True, False)
    assert slots(consumer)["running"] == 1
    redis.rpush("child:go", 1)
    parent.result(60)

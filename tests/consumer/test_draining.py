"""A consumer that is drained from outside claims nothing, and lives on."""

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from heori import Producer
from tests.rigs.commands import Heori
from tests.rigs.consumers import MODELS, Consumer, run_short_jobs
from tests.rigs.script_bench import Bench
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

QUEUE = "rq:queue:default"
SLOTS = {"threads": 4, "processes": 2, "hybrid": 4, "asyncio": 4, "auto": 4, "inline": 1}


def state(consumer: Consumer) -> str:
    with urllib.request.urlopen(f"{consumer.url}/slots?jobs=0", timeout=60) as answer:
        return str(json.loads(answer.read())["state"])


def waiting(redis: Any) -> list[str]:
    return [job.decode() for job in redis.lrange(QUEUE, 0, -1)]


@pytest.fixture
def drain(bench: Bench) -> Callable[..., str]:
    """Ask a consumer to drain, or to go on."""

    def ask(consumer: Consumer, *, drains: bool = True) -> str:
        return bench.execute(bench.commands.drain(consumer.name, drains=drains))

    return ask


@pytest.mark.parametrize("model", MODELS)
def test_what_has_begun_ends_and_all_else_goes_back_until_it_is_resumed(
    model: str,
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
    drain: Callable[..., str],
) -> None:
    consumer = consume(*MODELS[model]).ready()
    run_short_jobs(producer)  # so that it claims ahead
    until(lambda: consumer.metric("heori_jobs_held") == 0)  # the last one need not end last
    done = consumer.metric("heori_jobs_total")
    keys = [f"k{n}" for n in range(SLOTS[model])]
    held = [producer.submit(sample_tasks.hold, redis_url, key) for key in keys]
    for key in keys:
        redis.blpop(f"{key}:running", 60)
    rest = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(20)])

    assert drain(consumer) == "done"
    until(lambda: state(consumer) == "draining")
    until(lambda: waiting(redis) == [handle.id for handle in rest])
    assert consumer.metric("heori_draining") == 1
    until(lambda: redis.hget(f"rq:worker:{consumer.name}", "state") == b"suspended")
    for key in keys:
        redis.rpush(f"{key}:go", 1)
    assert [handle.result(60) for handle in held] == keys
    until(lambda: state(consumer) == "drained")

    last = producer.submit(sample_tasks.add, 20, 0)
    other = consume(*MODELS[model]).ready()
    assert [handle.result(60) for handle in [*rest, last]] == list(range(21))
    assert consumer.metric("heori_jobs_total") == done + len(held), "none but what it ran then"
    assert other.stop() == 0

    assert drain(consumer, drains=False) == "done"
    assert producer.submit(sample_tasks.add, 1, 1).result(60) == 2
    until(lambda: state(consumer) == "idle")
    assert consumer.metric("heori_draining") == 0


def test_an_idle_one_takes_its_offer_back(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, drain: Callable[..., str]
) -> None:
    consumer = consume().ready()
    for _ in range(20):
        assert producer.submit(sample_tasks.add, 1, 1).result(60) == 2
        drain(consumer)
        until(lambda: redis.keys("rq:heori:offers:*") == [])
        until(lambda: state(consumer) == "drained")
        job = producer.submit(sample_tasks.add, 2, 2)
        assert waiting(redis) == [job.id]
        drain(consumer, drains=False)
        assert job.result(60) == 4


def test_it_stays_drained_over_lost_connections_and_a_server_that_forgets(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, drain: Callable[..., str]
) -> None:
    consumer = consume().ready()
    record = f"rq:worker:{consumer.name}"
    # As it is when nobody hears that it was asked: it is read with a heartbeat.
    redis.hset(record, "heori_drain", 1)
    until(lambda: state(consumer) == "drained")
    for kind in ("normal", "pubsub"):
        redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    redis.flushall()
    until(lambda: redis.hget(record, "heori_drain") == b"1")
    until(lambda: redis.sismember("rq:workers", record))
    job = producer.submit(sample_tasks.add, 1, 1)
    assert state(consumer) == "drained"
    assert waiting(redis) == [job.id]
    redis.hdel(record, "heori_drain")
    assert job.result(60) == 2


def test_it_goes_on_to_lead(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, drain: Callable[..., str]
) -> None:
    consumer = consume().ready()
    drain(consumer)
    until(lambda: state(consumer) == "drained")
    job = producer.options(delay=0.05).submit(sample_tasks.add, 1, 1)
    until(lambda: waiting(redis) == [job.id])
    assert job.status() == "queued"
    assert consumer.stop() == 0, "and ends as ever"


def test_a_request_ends_with_its_process(bench: Bench, redis: Any) -> None:
    record = {"heori_metrics": "http://127.0.0.1:1"}
    bench.execute(bench.commands.announce("w", ["default"], record, is_new=True))
    assert bench.execute(bench.commands.drain("w", drains=True)) == "done"
    assert bench.execute(bench.commands.drain("w", drains=True)) == "already"
    bench.execute(bench.commands.announce("w", ["default"], record))
    assert redis.hexists("rq:worker:w", "heori_drain")
    bench.execute(bench.commands.announce("w", ["default"], record, is_new=True))
    assert not redis.hexists("rq:worker:w", "heori_drain")
    assert bench.execute(bench.commands.drain("w", drains=False)) == "already"


def test_the_commands_say_what_they_did_and_refuse_what_cannot_be(
    consume: Callable[..., Consumer], redis: Any, heori: Heori
) -> None:
    consumer = consume().ready()
    assert f"heori resume --consumer {consumer.name}" in heori("drain", consumer.name).stdout
    until(lambda: state(consumer) == "drained")
    assert "was drained already" in heori("drain", consumer.name).stdout
    assert "claims again" in heori("resume", "--consumer", consumer.name).stdout
    assert "was not drained" in heori("resume", "--consumer", consumer.name).stdout
    until(lambda: state(consumer) == "idle")

    redis.hset("rq:worker:stock", "state", "idle")
    stock = heori("drain", "stock")
    assert (stock.returncode, "rq suspend" in stock.stderr) == (1, True)
    for words in (("drain", "nobody"), ("resume", "--consumer", "nobody")):
        missing = heori(*words)
        assert (missing.returncode, "no consumer nobody" in missing.stderr) == (2, True)
    assert heori("resume", "mail", "--consumer", consumer.name).returncode == 2

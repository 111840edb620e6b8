"""The records of executions that rq's tools read: of jobs that last, and gone with their end."""

from collections.abc import Callable
from typing import Any

import pytest
from rq.executions import Execution, ExecutionRegistry

from heori import Producer
from heori_common.protocol.job import Claim
from heori_common.protocol.keys import Keys
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import ME, Bench, done, failed
from tests.rigs.stock_rq import reads_all
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

KEYS = Keys()
LEASE_S = 30.0


def executions(bench_redis: Any, job_id: str) -> list[Execution]:
    """As rq's own tools read them; it raises where an index names one that is not there."""
    return list(ExecutionRegistry(job_id, bench_redis).get_executions())


def records(redis: Any) -> set[str]:
    return {key.decode() for key in redis.keys("rq:exec*") + redis.keys("*:executions")}


def record(bench: Bench, *claims: Claim) -> int:
    return bench.execute(bench.commands.record_executions(claims, consumer=ME, lease=LEASE_S))


@reads_all
def test_an_execution_is_recorded_as_rq_records_its_own(bench: Bench) -> None:
    bench.send("a", "b", queue="x")
    bench.send("c", queue="y")
    a, b, c = bench.claim("x", "y")
    assert record(bench, a, c) == 2
    [found] = executions(bench.redis, "a")
    assert (found.id, found.job_id, found.worker_name) == (a.execution, "a", ME)
    assert found.created_at.timestamp() == pytest.approx(bench.now(), abs=60)
    assert executions(bench.redis, "b") == []
    members = bench.redis.smembers(f"rq:worker:{ME}:executions")
    assert {member.decode() for member in members} == {f"a:{a.execution}", f"c:{c.execution}"}
    for key in records(bench.redis):
        assert LEASE_S < bench.redis.ttl(key) <= LEASE_S + 61, key
    before = bench.redis.hget(f"rq:execution:a:{a.execution}", "created_at")
    extend = bench.commands.extend_leases([a, b, c], lease=200, consumer=ME, recorded={a.execution})
    assert bench.execute(extend).lost == []
    assert bench.redis.hget(f"rq:execution:a:{a.execution}", "created_at") == before
    assert bench.redis.ttl(f"rq:execution:a:{a.execution}") > 200
    assert bench.redis.ttl("rq:executions:a") > 200
    assert bench.redis.ttl("rq:executions:c") <= LEASE_S + 61


@pytest.mark.parametrize("way", ["done", "failed", "given back", "lost", "deleted"])
def test_its_records_are_gone_with_it(bench: Bench, way: str) -> None:
    bench.send("a")
    [claim] = bench.claim()
    assert record(bench, claim) == 1
    match way:
        case "done" | "failed":
            end = done(claim) if way == "done" else failed(claim)
            command = bench.commands.ack([end], consumer=ME, recorded={claim.execution})
            assert bench.execute(command).refused == []
        case "given back":
            assert bench.release(claim) == ["queued"]
        case "lost":
            bench.end_lease(claim)
            assert bench.reclaim() == (1, 0)
        case "deleted":
            bench.rq_job("a").delete()
    assert records(bench.redis) <= {f"rq:worker:{ME}:executions"}
    if way != "deleted":  # rq leaves its own there, too
        assert not records(bench.redis)
    assert record(bench, claim) == 0, "it may come late"
    assert executions(bench.redis, "a") == []


def test_where_others_need_to_know_of_it_a_claim_records_it(bench: Bench) -> None:
    bench.send("a", "limited")
    bench.redis.hset("rq:job:limited", "rate_limit_key", "api")
    _, limited = bench.claim()
    assert executions(bench.redis, "a") == []
    [found] = executions(bench.redis, "limited")
    assert found.id == limited.execution
    bench.send("strict")
    [strict] = bench.execute(
        bench.commands.claim(
            ["default"],
            count=1,
            lease=LEASE_S,
            consumer=ME,
            token="0" * 16,
            max_payload=1000,
            strict=True,
        )
    ).claims
    [found] = executions(bench.redis, "strict")
    assert found.id == strict.execution


@reads_all
def test_a_job_that_lasts_is_recorded_until_it_ends(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    consume().ready()
    short = producer.submit(sample_tasks.add, 1)
    assert short.result(60) == 3
    held = producer.submit(sample_tasks.hold, redis_url, "begun")
    redis.blpop(["begun:running"], 60)
    until(lambda: executions(redis, held.id))
    [found] = executions(redis, held.id)
    [worker] = redis.smembers("rq:workers")
    assert found.worker_name == worker.decode().removeprefix("rq:worker:")
    assert records(redis) == {
        f"rq:executions:{held.id}",
        f"rq:execution:{held.id}:{found.id}",
        f"rq:worker:{found.worker_name}:executions",
    }
    until(lambda: redis.hget(worker, "state") == b"busy")
    redis.lpush("begun:go", "")
    held.result(60)
    assert not records(redis), "they are gone in the step that ends it"
    until(lambda: redis.hget(worker, "state") == b"idle")

"""Tenants of a queue take turns: who sends much does not keep another's few jobs waiting."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.job import Job as RqJob
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from rq.serializers import JSONSerializer

from heori import JobCanceled, JobFailed, Producer, QueueFull
from heori_common.protocol.commands import Bound, Commands
from heori_common.protocol.commands.delivery import MOST_TENANTS
from heori_common.protocol.job import RETRY, Outcome, RetryLater
from heori_common.settings import Settings
from heori_consumer.supervisor.claimer import LOOK_EVERY_S
from heori_consumer.supervisor.queue_sampler import INTERVAL, TENANTS
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import Bench, done, failed, ids
from tests.rigs.stock_rq import rq
from tests.rigs.tenants import TURN, flood
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

# A tenant's queue is an RQ queue like any other


def test_what_is_given_back_goes_to_the_front_of_the_tenants_queue(bench: Bench) -> None:
    names = flood(bench, "a", 5)
    claims = bench.claim(count=3)
    assert bench.release(*claims, counted=False) == ["queued"] * 3
    assert bench.queue("default@@a") == names
    claims = bench.claim(count=5)
    assert bench.look().empty
    for claim in claims:
        bench.end_lease(claim)
    assert bench.reclaim() == (5, 0)
    assert bench.queue("default@@a") == names
    token = f"{bench.calls + 1:016x}"
    assert len(bench.claim(count=5)) == 5
    assert bench.undo("default", token=token) == 5
    assert ids(bench.claim(count=5)) == names


def test_a_retry_waits_with_the_jobs_of_its_tenant_and_so_does_a_replayed_letter(
    bench: Bench,
) -> None:
    flood(bench, "a", 3)
    first, second, third = bench.claim(count=3)
    assert bench.look().empty
    bench.ack((first, Outcome(RETRY, retry=RetryLater(0.0, 1))), failed(second))
    assert bench.queue("default@@a") == [first.job_id]
    assert ids(bench.claim(count=3)) == [first.job_id]
    assert bench.redis.zrange("rq:failed:default@@a", 0, -1) == [second.job_id.encode()]
    replayed = bench.commands.replay(
        "default@@a", [second.job_id], forget=["heori_deliveries"], dry_run=False
    )
    assert bench.execute(replayed) == ["replayed"]
    assert ids(bench.claim(count=3)) == [second.job_id]
    bench.ack((third, Outcome(RETRY, retry=RetryLater(60.0, 1))))
    assert bench.redis.zrange("rq:scheduled:default", 0, -1) == [third.job_id.encode()]


def schedule(bench: Bench) -> int:
    return bench.execute(
        bench.commands.enqueue_due(["default"], consumer="me", lock_ttl=9, batch=100)
    ).jobs


def test_scheduled_jobs_join_their_tenant_when_they_are_due(
    bench: Bench, producer: Producer
) -> None:
    late = producer.options(tenant="a", delay=60).submit(sample_tasks.add, 1)
    soon = producer.options(tenant="a", delay=0.2).submit_many(sample_tasks.add, [1, 2])
    none = producer.options(delay=0.2).submit(sample_tasks.add, 1)
    assert late.status() == "scheduled"
    moved = 0

    def all_moved() -> bool:
        nonlocal moved
        moved += schedule(bench)
        return moved == 3

    until(all_moved)
    of_tenant = bench.queue("default@@a")  # what is due in the same second comes in any order
    assert set(of_tenant) == {each.id for each in soon}
    assert bench.queue() == [none.id]
    assert ids(bench.claim(count=10)) == [*of_tenant, none.id]
    assert late.cancel()
    assert late.status() == "canceled"
    with pytest.raises(JobCanceled):
        late.result(60)


def test_a_waiting_job_of_a_tenant_can_be_cancelled(bench: Bench, producer: Producer) -> None:
    first, second = producer.options(tenant="a").submit_many(sample_tasks.add, [1, 2])
    assert first.cancel()
    assert ids(bench.claim()) == [second.id]
    assert bench.redis.zscore("rq:canceled:default@@a", first.id) is not None


def test_a_key_that_holds_something_else_stops_its_tenant_alone(bench: Bench) -> None:
    flood(bench, "a", 2)
    names = flood(bench, "b", 2)
    for key in ("rq:queue:default@@a", "rq:wip:default@@a"):
        mend = bench.spoil(key)
        assert ids(bench.claim()) == names
        assert bench.look().empty
        bench.forget_looks()
        told = bench.execute(bench.reclaim_command())
        assert told is not None
        assert told.broken == {key}
        mend()
        names = [f"again{key}{n}" for n in range(2)]
        bench.send(*names, queue="default@@b")
    bench.reclaim()
    assert sorted(ids(bench.claim())) == sorted(["a0", "a1", *names])


def test_spoilt_turns_pass_the_queue_over_until_they_are_mended(bench: Bench) -> None:
    mend = bench.spoil("rq:queue:default@@")
    names = flood(bench, "a", 2)
    assert bench.look().broken == {"rq:queue:default@@"}
    mend()
    bench.reclaim()
    assert ids(bench.claim()) == names


def test_a_tenant_of_whom_nothing_is_left_is_forgotten(bench: Bench) -> None:
    flood(bench, "a", 2)
    first, second = bench.claim()
    bench.reclaim()
    assert b"rq:queue:default@@a" in bench.redis.smembers("rq:queues")
    bench.ack(done(first), failed(second))
    for _ in range(3):
        bench.tidy()
    assert b"rq:queue:default@@a" in bench.redis.smembers("rq:queues"), "its results are there"
    for registry in ("finished", "failed"):
        key = f"rq:{registry}:default@@a"
        bench.redis.zadd(key, dict.fromkeys(bench.redis.zrange(key, 0, -1), 1))
    bench.redis.sadd("rq:workers:default", "rq:worker:me")  # it serves the tenants, too
    bench.redis.hset("rq:worker:me", "state", "idle")
    bench.tidy(forget=60)
    bench.tidy(forget=60)
    known = bench.redis.smembers("rq:queues")
    assert b"rq:queue:default@@a" in known, (
        "rq names a queue some time before its first job is on it"
    )
    bench.send("another", queue="default@@a")
    bench.tidy()
    assert b"rq:queue:default@@a" in bench.redis.smembers("rq:queues")
    bench.redis.delete("rq:queue:default@@a")
    for _ in range(3):
        bench.tidy()
    assert bench.redis.smembers("rq:queues") == {b"rq:queue:default"}
    assert not bench.redis.exists("rq:heori:idle")


def test_all_of_many_tenants_are_looked_after(bench: Bench) -> None:
    tenants = [f"t{n}" for n in range(3 * MOST_TENANTS)]
    for tenant in tenants:
        flood(bench, tenant, 1)
    for claim in bench.claim(count=len(tenants)):
        bench.end_lease(claim)
    redelivered: list[int] = []

    def all_redelivered() -> bool:
        redelivered.append(bench.reclaim()[0])
        return sum(redelivered) == len(tenants)

    until(all_redelivered)  # a third of them each second
    assert max(redelivered) <= MOST_TENANTS


def test_the_census_counts_tenants_with_their_queue(bench: Bench) -> None:
    flood(bench, "a", 5)
    flood(bench, "b", 5)
    flood(bench, "", 5)
    bench.ack(done(bench.claim(count=3)[0]))
    census = bench.execute(bench.commands.count_queues(["default"], service="me", lease=3))
    assert census.keys() == {"default"}
    assert (census["default"].waiting, census["default"].oldest > 0) == (12, True)
    assert census["default"].registries["started"] == 2
    assert census["default"].registries["finished"] == 1
    assert census["default"].tenants == 2


def test_thousands_of_tenants_are_counted_less_often(
    redis: Any, consume: Callable[..., Consumer]
) -> None:
    many = [f"rq:queue:default@@{n}" for n in range(TENANTS)]
    redis.sadd("rq:queues", *many)
    for n in range(TENANTS):  # something of theirs is left, or they would be forgotten
        redis.zadd(f"rq:finished:default@@{n}", {"job": "+inf"})
    consumer = consume().ready()
    ends = [-1]  # milliseconds, until when it was known who counts: later, each time they do

    def is_counted() -> bool:
        consumer.metric("heori_queue_depth")
        end = redis.pexpiretime(Commands().keys.counter("default"))
        ends.extend([end] if end > ends[-1] else [])
        return len(ends) == 3

    until(is_counted)
    _, first, second = ends
    assert second - first > 1500 * INTERVAL


# Limits


def test_a_limit_holds_for_each_tenant_alone(bench: Bench, redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 10}, when_full="reject")
    with Producer(settings=settings) as producer:
        for tenant in (None, "a", "b"):
            with pytest.raises(QueueFull, match=r"10 of 10 jobs wait") as full:
                producer.options(tenant=tenant).submit_many(sample_tasks.add, range(12))
            assert full.value.taken == 10
        bench.claim(count=TURN)
        producer.options(tenant="a").submit(sample_tasks.add, 1)
        with pytest.raises(QueueFull):
            producer.submit(sample_tasks.add, 1)
        dropped = producer.options(tenant="c").submit_many(sample_tasks.add, range(10))
        producer.options(tenant="c", when_full="drop_oldest").submit_many(
            sample_tasks.add, range(3)
        )
        assert [each.status() for each in dropped[2:4]] == ["failed", "queued"]
        bound = bench.execute(bench.commands.bound("default"))
        assert bound == Bound(limit=10, sent=44, blocked=0, rejected=7, dropped=3)
        assert bench.redis.ttl("rq:heori:bound:default@@a") > 0


def test_a_tenant_that_waits_for_room_keeps_no_other_waiting(bench: Bench, redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 10})
    with Producer(settings=settings) as producer:
        producer.options(tenant="a").submit_many(sample_tasks.add, range(10))
        sent = threading.Event()

        def send() -> None:
            producer.options(tenant="a").submit(sample_tasks.add, 1)
            sent.set()

        thread = threading.Thread(target=send)
        thread.start()
        until(lambda: bench.redis.zcard("rq:heori:line:default@@a"))
        producer.options(tenant="b", full_timeout=1).submit(sample_tasks.add, 1)
        assert not sent.is_set()
        bench.claim(count=11)
        assert sent.wait(60), "as soon as there is room"
        thread.join()
        assert bench.redis.hget("rq:heori:bound:default", "blocked") == b"1"


# Names


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b"])
def test_a_name_that_would_make_other_keys_is_refused(
    name: str, producer: Producer, redis: Any
) -> None:
    with pytest.raises(ValueError, match=r"tenant .*: a name without blanks, colons or commas"):
        producer.options(tenant=name).submit(sample_tasks.add, 1)
    with pytest.raises(ValueError, match="tenant"):
        producer.options(tenant=name).submit_many(sample_tasks.add, [1])
    assert redis.keys("*") == []


def test_an_idempotency_key_is_of_one_tenant_alone(producer: Producer) -> None:
    mine = producer.options(key="order-17", tenant="a").submit(sample_tasks.add, 1)
    assert producer.options(key="order-17", tenant="a").submit(sample_tasks.add, 1).id == mine.id
    of_another = producer.options(key="order-17", tenant="b").submit(sample_tasks.add, 1)
    of_none = producer.options(key="order-17").submit(sample_tasks.add, 1)
    assert len({mine.id, of_another.id, of_none.id}) == 3, "nobody gets another's result"
    assert mine.cancel()


def test_a_queue_cannot_be_named_like_one_of_a_tenant(producer: Producer, redis: Any) -> None:
    with pytest.raises(ValueError, match="a tenant is named apart from its queue"):
        producer.options(queue="default@@a").submit(sample_tasks.add, 1)
    assert redis.keys("*") == []


def test_the_command_sends_for_a_tenant(heori: Heori, redis: Any, tmp_path: Path) -> None:
    task = "tests.tasks.sample_tasks.add"
    one = heori("send", task, "--args", "[1]", "--tenant", "acme@example.org")
    assert one.returncode == 0, one.stderr
    lines = tmp_path / "jobs.jsonl"
    lines.write_text("[1]\n[2]\n")
    for _ in range(2):  # the second time, all are in
        many = heori("send", task, "--from", str(lines), "--tenant", "acme@example.org")
        assert many.returncode == 0, many.stderr
    assert redis.llen("rq:queue:default@@acme@example.org") == 3
    assert heori("send", task, "--from", str(lines), "--tenant", "other").returncode == 0
    assert redis.llen("rq:queue:default@@other") == 2
    assert "default@@other" in heori("status").stdout
    assert "default@@other" not in heori("limit").stdout
    refused = heori("send", task, "--tenant", "a b")
    assert refused.returncode == 2
    assert "tenant 'a b'" in refused.stderr
    assert "a tenant is named apart" in heori("consume", "--queue", "default@@other").stderr


# With consumers


def test_ten_jobs_start_before_a_flood_that_came_first(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, tmp_path: Path
) -> None:
    file = tmp_path / "order"
    flooding = producer.options(tenant="a").submit_many(
        sample_tasks.record, [(str(file), 0)] * 3000
    )
    consumer = consume("--model", "threads", "--slots", "1").ready()
    until(lambda: file.exists() and len(file.read_text().split()) > 50)
    few = producer.options(tenant="b").submit_many(sample_tasks.record, [(str(file), 1)] * 10)
    begun = len(file.read_text().split())
    for handle in few:
        handle.result(60)
    order = file.read_text().split()
    last = max(n for n, number in enumerate(order) if number == "1")
    assert last < begun + 1000, "what was claimed goes first, and nothing else"
    assert consumer.stop() == 0
    assert len(flooding) == 3000


def test_an_idle_consumer_begins_at_once_and_counts_by_queue(
    producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    consumer = consume().ready()
    waits = []
    for number in range(20):
        begin = time.monotonic()
        assert (
            producer.options(tenant=f"t{number}").submit(sample_tasks.add, number).result(60)
            == number + 2
        )
        waits.append(time.monotonic() - begin)
    assert sorted(waits)[10] < LOOK_EVERY_S / 2, "it is told, and does not look by itself"
    until(
        lambda: consumer.metric("heori_registry_jobs", queue="default", registry="finished") == 20
    )
    assert consumer.metric("heori_deliveries_total", queue="default") == 20
    assert consumer.metric("heori_deliveries_total") == 20
    with pytest.raises(JobFailed, match="because"):
        producer.options(tenant="t1").submit(sample_tasks.fail, "because").result(60)
    failed_registry = FailedJobRegistry("default@@t1", redis, serializer=JSONSerializer)
    assert len(failed_registry.get_job_ids()) == 1


def test_nothing_is_lost_while_tenants_come_and_go(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, tmp_path: Path
) -> None:
    consumers = [consume("--model", "threads").ready() for _ in range(2)]
    expected: Counter[int] = Counter()
    path = tmp_path / "runs"
    path.touch()

    def send(seed: int) -> None:
        dice = random.Random(seed)
        for number in range(100):
            tenant = f"t{dice.randint(1, 50)}"
            first = (seed * 100 + number) * 10
            calls = [(str(path), first + n) for n in range(dice.randint(1, 10))]
            expected.update(job for _, job in calls)
            producer.options(tenant=tenant).submit_many(sample_tasks.record, calls)

    threads = [threading.Thread(target=send, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert consumers[0].stop() == 0  # what it gives back, the other runs

    def runs() -> "Counter[int]":
        return Counter(int(line) for line in path.read_bytes().split())

    until(lambda: len(runs()) == len(expected), 60)
    until(lambda: redis.keys("rq:wip:*") == [])
    assert runs() == expected
    assert redis.keys("rq:queue:*") == []


def test_a_stock_worker_serves_a_tenants_queue(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    good = producer.options(tenant="acme").submit(sample_tasks.add, 1)
    bad = producer.options(tenant="acme").submit(sample_tasks.fail, "because")
    other = producer.options(tenant="other").submit(sample_tasks.add, 1)
    assert "queue default@@acme 2" in rq(redis_url, "info", "--raw")
    rq(
        redis_url,
        *("worker", "default@@acme", "--burst", "--serializer", "json"),
        *("-w", "rq.worker.SimpleWorker", "--path", str(Path.cwd())),
    )
    assert good.result(60) == 3
    with pytest.raises(JobFailed, match="ValueError: because"):
        bad.result(60)
    assert other.status() == "queued"
    finished = FinishedJobRegistry("default@@acme", redis, serializer=JSONSerializer)
    assert finished.get_job_ids() == [good.id]
    assert redis.exists("rq:queue:default@@acme:intermediate") == 0


def test_jobs_that_stock_tools_put_on_a_tenants_queue_run(
    producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    stock = Queue("default@@acme", connection=redis, serializer=JSONSerializer)
    consume().ready()
    job = stock.enqueue("tests.tasks.sample_tasks.add", 1)
    result = job.latest_result(timeout=60)
    assert result is not None
    assert result.return_value == 3
    handle = producer.options(tenant="acme").submit(sample_tasks.fail, "because")
    with pytest.raises(JobFailed):
        handle.result(60)
    again = RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer)
    first = again.latest_result()
    assert first is not None
    again.requeue()
    until(lambda: again.latest_result().id != first.id)  # type: ignore[union-attr]

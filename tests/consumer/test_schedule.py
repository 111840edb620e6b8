"""Scheduled jobs: the scripts on a real server, real consumers, and stock rq beside them."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq import Queue
from rq.cron import get_cron_job_ids
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.scripts import acquire_or_refresh_lock, release_lock
from rq.serializers import JSONSerializer

from heori import Handle, Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands, Moved
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_common.redis.client import AsyncRedisClient
from heori_consumer.supervisor.scheduler import BATCH, Scheduler
from tests.conftest import Consumer, Execute, until
from tests.tasks import sample_tasks

ROOT = Path(__file__).parents[2]
ME, OTHER = "consumer-1", "consumer-2"
LOCK = "rq:scheduler-lock:default"
SCHEDULED = "rq:scheduled:default"


@dataclass
class Bench:
    """A server, and short ways to do to it what producers and schedulers do."""

    execute: Execute
    redis: Any  # its hints mix in those of asyncio and of decoded replies
    commands: Commands

    def send(self, *ids: str, queue: str = "default", **when: Any) -> int:
        call = Call("tests.tasks.sample_tasks.add", [1], {})
        jobs = [NewJob.create(id_, call, 180) for id_ in ids]
        return self.execute(self.commands.enqueue(queue, jobs, **when)).new

    def send_due(self, *ids: str, queue: str = "default") -> None:
        """Jobs that are due, the first longest."""
        self.send(*ids, queue=queue, delay=1000)
        ago = {id_: self.now() - 1 - len(ids) + n for n, id_ in enumerate(ids)}
        self.redis.zadd(f"rq:scheduled:{queue}", ago)

    def look(
        self, *queues: str, consumer: str = ME, lock_ttl: float = 30, batch: int = 100
    ) -> Moved:
        return self.execute(
            self.commands.schedule(
                queues or ("default",), consumer=consumer, lock_ttl=lock_ttl, batch=batch
            )
        )

    def now(self) -> float:
        seconds, micros = self.redis.time()
        return float(seconds + micros / 1e6)

    def queue(self, name: str = "default") -> list[str]:
        return [item.decode() for item in self.redis.lrange(f"rq:queue:{name}", 0, -1)]

    def scheduled(self, queue: str = "default") -> list[str]:
        return [item.decode() for item in self.redis.zrange(f"rq:scheduled:{queue}", 0, -1)]

    def field(self, job_id: str, name: str) -> str | None:
        value = self.redis.hget(f"rq:job:{job_id}", name)
        return None if value is None else value.decode()

    def everything(self) -> dict[bytes, Any]:
        """All keys with their content and TTL, to see that nothing has changed."""
        return {key: (self.redis.dump(key), self.redis.ttl(key)) for key in self.redis.keys("*")}


@pytest.fixture
def bench(connect: Callable[[str], Execute], redis_url: str, redis: Any) -> Bench:
    return Bench(connect(redis_url), redis, Commands())


# Being scheduled


def test_a_delay_is_counted_by_the_servers_clock_in_fractions_of_a_second(bench: Bench) -> None:
    before = bench.now()
    assert bench.send("a", "b", delay=100.25) == 2
    assert bench.queue() == []
    for id_ in ("a", "b"):
        assert before + 100.25 <= bench.redis.zscore(SCHEDULED, id_) <= bench.now() + 100.25
        assert bench.field(id_, "status") == "scheduled"
        assert bench.field(id_, "enqueued_at") is None
    assert bench.redis.smembers("rq:queues") == {b"rq:queue:default"}
    due = bench.execute(bench.commands.due("default", "a"))
    assert due is not None
    assert due.timestamp() == pytest.approx(bench.redis.zscore(SCHEDULED, "a"), abs=1e-5)
    assert bench.execute(bench.commands.due("default", "nobody")) is None


def test_a_scheduled_job_sent_again_keeps_its_time_and_does_not_come_back(bench: Bench) -> None:
    bench.send("a", delay=100)
    before = bench.everything()
    assert bench.send("a", delay=500) == 0
    assert bench.send("a") == 0
    assert bench.everything() == before
    bench.redis.zadd(SCHEDULED, {"a": 1})
    assert bench.look().jobs == 1
    assert bench.send("a", "b", delay=500) == 1
    assert (bench.queue(), bench.scheduled()) == (["a"], ["b"])


@pytest.mark.parametrize("key", ["rq:queue:default", SCHEDULED])
def test_nothing_is_written_when_a_key_does_not_hold_what_it_should(bench: Bench, key: str) -> None:
    bench.redis.set(key, "text")
    with pytest.raises(Exception, match="WRONGTYPE"):
        bench.send("a", delay=100)
    assert bench.redis.keys("*") == [key.encode()]


# Being moved


def test_what_is_due_is_moved_in_the_order_of_its_time_and_nothing_else_is(bench: Bench) -> None:
    bench.send("waiting")
    bench.send_due("a", "b", "c")
    bench.send("later", delay=100)
    before = bench.now()
    moved = bench.look()
    assert (moved.jobs, moved.held, moved.broken) == (3, 1, [])
    assert 3 < moved.late < 30
    assert bench.queue() == ["waiting", "a", "b", "c"]
    assert bench.scheduled() == ["later"]
    for id_ in ("a", "b", "c"):
        job = RqJob.fetch(id_, connection=bench.redis, serializer=JSONSerializer)
        assert job.get_status() is JobStatus.QUEUED
        assert job.enqueued_at is not None
        assert job.enqueued_at.timestamp() >= before - 1e-5
    assert bench.field("later", "status") == "scheduled"
    assert bench.look().pause == pytest.approx(100, abs=10)


def test_a_job_is_never_moved_early(bench: Bench) -> None:
    bench.send("a", delay=0.05)
    due = bench.redis.zscore(SCHEDULED, "a")
    looks = 0
    while not (moved := bench.look()).jobs:
        looks += 1
        assert moved.pause is not None
        assert moved.pause <= 0.05
    assert looks
    enqueued_at = datetime.fromisoformat(str(bench.field("a", "enqueued_at")))
    assert enqueued_at.timestamp() >= due - 2e-6, "what is written there has whole microseconds"


def test_an_empty_schedule_is_looked_at_and_nothing_is_written_but_the_lock(bench: Bench) -> None:
    assert bench.look() == Moved(0, 0.0, 1, None, [])
    assert bench.redis.keys("*") == [LOCK.encode()]


def test_jobs_that_rq_would_put_in_front_go_in_front(bench: Bench) -> None:
    bench.send("waiting")
    bench.send_due("a", "front1", "retried", "on_retry", "front2", "not_front")
    for id_, fields in {
        "front1": {"enqueue_at_front": 1},
        "retried": {"enqueue_at_front_on_retry": 1, "ended_at": "2026-01-01T00:00:00.000000Z"},
        "on_retry": {"enqueue_at_front_on_retry": 1, "ended_at": ""},
        "front2": {"enqueue_at_front": 1},
        "not_front": {"enqueue_at_front": 0, "ended_at": "2026-01-01T00:00:00.000000Z"},
    }.items():
        bench.redis.hset(f"rq:job:{id_}", mapping=fields)
    assert bench.look().jobs == 6
    assert bench.queue() == ["front2", "retried", "front1", "waiting", "a", "on_retry", "not_front"]


def test_what_went_on_by_another_way_is_dropped_and_what_is_odd_is_left_to_the_claim_to_name(
    bench: Bench,
) -> None:
    gone = ["queued", "started", "deferred", "finished", "failed", "stopped", "canceled"]
    bench.send_due("deleted", *gone, "bananas", "none", "wrong type", "good")
    bench.redis.delete("rq:job:deleted", "rq:job:wrong type")
    for status in (*gone, "bananas"):
        bench.redis.hset(f"rq:job:{status}", "status", status)
    bench.redis.hdel("rq:job:none", "status")
    bench.redis.set("rq:job:wrong type", "text")
    before = bench.everything()
    assert bench.look().jobs == 4
    assert bench.queue() == ["bananas", "none", "wrong type", "good"]
    assert bench.scheduled() == []
    changed = {key for key, value in bench.everything().items() if before.get(key) != value}
    assert changed == {b"rq:job:good", b"rq:queue:default", LOCK.encode()}
    claims = bench.execute(
        bench.commands.claim(
            ["default"], 9, lease=30, consumer=ME, token="0" * 16, max_payload=1000
        )
    )
    problems = {claim.job_id: claim.problem for claim in claims.claims}
    assert problems.pop("good") is problems.pop("none") is None
    assert "bananas" in str(problems["bananas"])
    assert "does not hold a hash" in str(problems["wrong type"])


@pytest.mark.parametrize("key", ["rq:scheduled:x", "rq:queue:x", "rq:scheduler-lock:x"])
def test_a_key_of_another_type_stops_no_other_queue_and_loses_nothing(
    bench: Bench, key: str
) -> None:
    for queue in ("w", "x", "y"):
        bench.send_due(f"{queue}1", f"{queue}2", queue=queue)
    kept = bench.redis.dump(key) if bench.redis.exists(key) else None
    bench.redis.delete(key)
    bench.redis.xadd(key, {"a": "b"})
    for expected in (4, 0, 0):
        moved = bench.look("w", "x", "y")
        assert (moved.jobs, moved.broken) == (expected, [key])
    assert bench.field("x1", "status") == "scheduled"
    bench.redis.delete(key)
    if kept is not None:
        bench.redis.restore(key, 0, kept)
    assert bench.look("w", "x", "y").jobs == 2
    assert bench.look("w", "x", "y").broken == []
    assert [bench.queue(name) for name in ("w", "x", "y")] == [
        ["w1", "w2"], ["x1", "x2"], ["y1", "y2"],
    ]  # fmt: skip


def test_a_set_of_queues_of_another_type_loses_no_job(bench: Bench) -> None:
    bench.send_due("a")
    bench.redis.delete("rq:queues")
    bench.redis.set("rq:queues", "text")
    assert bench.look().jobs == 1
    assert (bench.queue(), bench.scheduled()) == (["a"], [])


def test_a_queue_that_was_deleted_while_it_was_empty_is_known_again(bench: Bench) -> None:
    bench.send_due("a")
    bench.redis.delete("rq:queues")
    bench.look()
    assert bench.redis.smembers("rq:queues") == {b"rq:queue:default"}


def test_one_call_moves_no_more_than_a_batch_and_every_queue_has_its_share(bench: Bench) -> None:
    for queue, number in (("x", 50), ("y", 5), ("z", 50)):
        bench.send_due(*(f"{queue}{n}" for n in range(number)), queue=queue)
    moved = bench.look("x", "y", "z", batch=30)
    assert (moved.jobs, moved.pause) == (30, 0)
    assert [len(bench.queue(name)) for name in ("x", "y", "z")] == [10, 5, 15]
    while bench.look("x", "y", "z", batch=30).jobs:
        pass
    assert bench.queue("x") == [f"x{n}" for n in range(50)]
    assert bench.queue("z") == [f"z{n}" for n in range(50)]
    assert bench.look("x", "y", "z", batch=1).pause is None


def test_a_job_with_a_time_to_live_has_it_from_when_it_is_moved_as_in_rq(bench: Bench) -> None:
    bench.send_due("a", "garbage")
    bench.redis.hset("rq:job:a", "ttl", 700)
    bench.redis.hset("rq:job:garbage", "ttl", "soon")
    bench.redis.expire("rq:job:a", 5)
    assert bench.look().jobs == 2
    assert bench.redis.ttl("rq:job:a") == pytest.approx(700, abs=5)
    assert bench.redis.ttl("rq:job:garbage") == -1


# Being elected


def test_only_whoever_is_elected_moves_jobs_until_it_is_not_heard_of_or_resigns(
    bench: Bench,
) -> None:
    bench.send_due("a", "b")
    assert bench.look(batch=1, lock_ttl=30).jobs == 1
    standby = bench.look(consumer=OTHER)
    assert (standby.jobs, standby.held) == (0, 0)
    assert standby.pause == pytest.approx(30, abs=5), "when there may be nobody elected"
    assert bench.execute(bench.commands.resign(["default"], consumer=OTHER)) == 0
    assert bench.redis.get(LOCK) == ME.encode()
    bench.redis.pexpire(LOCK, 1)
    until(lambda: bench.look(consumer=OTHER).held == 1)
    assert bench.queue() == ["a", "b"]
    assert bench.look().held == 0
    assert bench.execute(bench.commands.resign(["default", "x"], consumer=OTHER)) == 1
    assert bench.look().held == 1


def test_the_lock_is_renewed_when_half_of_its_time_is_over(bench: Bench) -> None:
    bench.look(lock_ttl=100)
    bench.redis.pexpire(LOCK, 60_000)
    bench.look(lock_ttl=100)
    assert bench.redis.pttl(LOCK) <= 60_000
    bench.redis.pexpire(LOCK, 40_000)
    bench.look(lock_ttl=100)
    assert bench.redis.pttl(LOCK) > 90_000


def test_a_consumer_may_be_elected_for_some_of_its_queues(bench: Bench) -> None:
    bench.send_due("a", queue="x")
    bench.send_due("b", queue="y")
    bench.look("x", consumer=OTHER)
    assert bench.look("x", "y").held == 1
    assert (bench.queue("x"), bench.queue("y")) == (["a"], ["b"])


def test_stock_rq_and_we_respect_each_others_lock(bench: Bench) -> None:
    bench.send_due("a")
    assert acquire_or_refresh_lock(bench.redis, LOCK, "stock", 61) == "acquired"
    assert (bench.look().held, bench.queue()) == (0, [])
    assert bench.execute(bench.commands.resign(["default"], consumer=ME)) == 0
    assert release_lock(bench.redis, LOCK, "stock")
    assert (bench.look().held, bench.queue()) == (1, ["a"])
    assert acquire_or_refresh_lock(bench.redis, LOCK, "stock", 61) == "taken"
    bench.execute(bench.commands.resign(["default"], consumer=ME))
    assert acquire_or_refresh_lock(bench.redis, LOCK, "stock", 61) == "acquired"


# The scheduler

FILL = """
for n = 1, ARGV[1] do
  redis.call('HSET', 'rq:job:j' .. n, 'status', 'scheduled', 'data', 'x')
  redis.call('ZADD', 'rq:scheduled:default', 1e9 + n / 1e3, 'j' .. n)
end
"""


def test_100_000_jobs_due_at_once_are_moved_once_each_while_others_are_claimed(
    redis: Any, redis_url: str
) -> None:
    number = 100_000
    redis.eval(FILL, 0, number)
    commands = Commands()

    async def unwatched() -> bool:
        return False

    async def move() -> tuple[list[str], int]:
        client = AsyncRedisClient(redis_url)
        scheduler = Scheduler(client, commands, ["default"], ME, unwatched)
        rival = Scheduler(client, commands, ["default"], OTHER, unwatched)
        roles = [asyncio.create_task(each.run()) for each in (scheduler, rival)]
        claimed: list[str] = []
        between = 0
        while scheduler.moved + rival.moved < number:
            claims = await client.execute(
                commands.claim(
                    ["default"], 10, lease=30, consumer=ME, token=f"{between:016x}", max_payload=9
                )
            )
            claimed += [claim.job_id for claim in claims.claims]
            between += 1
        for role in roles:
            role.cancel()
        await asyncio.gather(*roles, return_exceptions=True)
        await client.close()
        assert 0 in (scheduler.moved, rival.moved)
        return claimed, between

    claimed, between = asyncio.run(move())
    assert between >= number / BATCH / 2, "claims have their turn between the batches"
    left = [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)]
    assert claimed + left == [f"j{n}" for n in range(1, number + 1)]
    assert not redis.exists(SCHEDULED)


# Real consumers


def name_of(consumer: Consumer) -> bytes:
    """The name under which a consumer is known to Redis."""
    [record] = [record for record in consumer.log if record["event"] == "consuming"]
    return str(record["consumer"]).encode()


def test_delayed_jobs_run_in_the_order_of_their_time_and_none_early(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, tmp_path: Path
) -> None:
    consumer = consume("--slots", "1").ready()
    path = str(tmp_path / "order")
    delays = [0.8, 0.2, 0.5, 0.35, 0.65]
    handles = [producer.submit(sample_tasks.record, path, n, delay=d) for n, d in enumerate(delays)]
    handles.append(
        producer.submit(sample_tasks.record, path, 5, at=datetime.now(UTC) + timedelta(seconds=1))
    )
    due = [redis.zscore(SCHEDULED, handle.id) for handle in handles]
    assert [handle.result(60) for handle in handles] == [0, 1, 2, 3, 4, 5]
    assert Path(path).read_text().split() == ["1", "3", "2", "4", "0", "5"]
    for handle, moment in zip(handles, due, strict=True):
        started = datetime.fromisoformat(redis.hget(f"rq:job:{handle.id}", "started_at").decode())
        assert -2e-6 <= started.timestamp() - moment < 2
    assert consumer.metric("heori_jobs_scheduled_moved_total") == 6
    assert 0 <= consumer.metric("heori_scheduler_lag_seconds") < 2


def test_a_job_that_is_due_sooner_than_all_others_is_not_slept_over(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consume().ready()
    producer.submit(sample_tasks.add, 1, delay="1h")
    assert producer.submit(sample_tasks.add, 1, delay=0.1).result(5) == 3


def test_when_the_elected_consumer_is_killed_another_moves_what_is_due(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumers = [consume("--slots", "1").ready() for _ in range(2)]
    until(lambda: redis.get(LOCK))
    consumers.sort(key=lambda consumer: name_of(consumer) != redis.get(LOCK))
    elected, other = consumers
    assert 0 < redis.pttl(LOCK) <= 3000
    handle = producer.submit(sample_tasks.add, 1, delay=0.5)
    assert elected.stop(signal.SIGKILL) == -signal.SIGKILL
    assert handle.result(10) == 3
    assert redis.get(LOCK) == name_of(other)
    assert other.metric("heori_jobs_scheduled_moved_total") == 1


def test_a_consumer_that_stops_leaves_no_lock_behind(
    consume: Callable[..., Consumer], redis: Any
) -> None:
    consumer = consume("--queue", "x").ready()
    until(lambda: redis.get(LOCK) == redis.get("rq:scheduler-lock:x") == name_of(consumer))
    assert consumer.stop() == 0
    assert not redis.exists(LOCK, "rq:scheduler-lock:x")


def test_moving_goes_on_when_redis_refused_to_write_and_when_it_was_away(
    consume: Callable[..., Consumer],
) -> None:
    with (
        EmbeddedValkey() as server,
        Producer(server.url) as producer,
        redis_py.Redis.from_url(server.url) as redis,
    ):
        consumer = consume(HEORI_REDIS_URL=server.url).ready()
        handle = producer.submit(sample_tasks.add, 1, delay=0.2)
        redis.config_set("maxmemory", "1")
        consumer.wait_for("Redis refuses to move scheduled jobs")
        redis.config_set("maxmemory", "0")
        assert handle.result(60) == 3
        server.stop()
        consumer.wait_for("Redis is away; trying again")
        server.start()
        assert producer.submit(sample_tasks.add, 2, delay=0.2).result(60) == 4
        assert consumer.stop() == 0


# With stock rq


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


@pytest.fixture
def background() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts Python programs beside the test, and ends them after it."""
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> "subprocess.Popen[bytes]":
            process = stack.enter_context(
                subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.terminate)
            return process

        yield start


def test_jobs_that_stock_rq_schedules_run(
    stock: Queue, consume: Callable[..., Consumer], redis: Any
) -> None:
    soon = stock.enqueue_in(timedelta(seconds=0.5), "tests.tasks.sample_tasks.add", 1)
    later = stock.enqueue_at(
        datetime.now(UTC) + timedelta(seconds=1), "tests.tasks.sample_tasks.add", 2, at_front=True
    )
    cancelled = stock.enqueue_in(timedelta(seconds=0), "tests.tasks.sample_tasks.add", 3)
    cancelled.cancel()
    consume().ready()
    for job, value in ((soon, 3), (later, 4)):
        result = job.latest_result(timeout=20)
        assert result is not None
        assert result.return_value == value
        assert job.get_status() is JobStatus.FINISHED
    assert cancelled.get_status() is JobStatus.CANCELED
    assert not redis.exists(SCHEDULED)


def test_our_scheduled_jobs_are_moved_by_a_stock_scheduler(
    producer: Producer, redis_url: str, redis: Any, background: Callable[..., Any]
) -> None:
    handle = producer.submit(sample_tasks.add, 1, delay=0.1)
    background("-c", STOCK_SCHEDULER, redis_url)
    until(lambda: handle.status() == "queued")
    assert redis.lrange("rq:queue:default", 0, -1) == [handle.id.encode()]


STOCK_SCHEDULER = """
import sys, redis
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
connection = redis.Redis.from_url(sys.argv[1])
RQScheduler(["default"], connection, serializer=JSONSerializer).work()
"""


def test_a_stock_scheduler_and_ours_together_move_each_job_once(
    producer: Producer,
    consume: Callable[..., Consumer],
    redis_url: str,
    redis: Any,
    background: Callable[..., Any],
) -> None:
    stock = background("-c", STOCK_SCHEDULER, redis_url)
    until(lambda: redis.get(LOCK))
    theirs = redis.get(LOCK)
    consumer = consume("--slots", "4").ready()

    def send(wave: str) -> list[Handle[None]]:
        return [
            handle
            for delay in (0.1, 0.4, 0.7)
            for handle in producer.submit_many(
                sample_tasks.count_run,
                [(redis_url, "runs", f"{wave} {delay} {n}") for n in range(50)],
                delay=delay,
            )
        ]

    for handle in send("theirs"):
        handle.result(60)
    assert redis.get(LOCK) == theirs
    assert consumer.metric("heori_jobs_scheduled_moved_total") == 0

    handles = send("both")
    stock.terminate()  # it lets go of its lock, and ours takes over in the middle of it
    for handle in handles:
        handle.result(60)
    assert stock.wait(60) == 0
    assert redis.get(LOCK) == name_of(consumer)

    background("-c", STOCK_SCHEDULER, redis_url)
    until(lambda: redis.keys("rq:scheduler:*"))
    for handle in send("ours"):
        handle.result(60)
    assert redis.get(LOCK) == name_of(consumer)
    assert set(redis.hvals("runs")) == {b"1"}
    assert redis.hlen("runs") == 450


def test_what_rq_cron_enqueues_runs_again_and_again(
    consume: Callable[..., Consumer], redis_url: str, redis: Any, background: Callable[..., Any]
) -> None:
    """It pickles its calls and cannot be told otherwise."""
    consume(HEORI_ACCEPT="json,pickle").ready()
    cron = background("-m", "rq.cli", "cron", "tests.tasks.cron_jobs", "--url", redis_url)

    def results() -> list[Any]:
        ids = get_cron_job_ids("tests.tasks.sample_tasks.add", redis)
        return [RqJob.fetch(job_id, connection=redis).return_value() for job_id in ids]

    until(lambda: results().count(42) >= 2)
    cron.terminate()
    assert cron.wait(60) == 0
    assert redis.zcard("rq:failed:default") == 0

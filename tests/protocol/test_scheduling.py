"""The script that moves scheduled jobs to their queues when they are due."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from heori_common.protocol.commands import Commands, Moved
from heori_common.redis.client import RedisClient
from tests.rigs.script_bench import ME, Bench
from tests.rigs.stock_rq import reads_all
from tests.rigs.waiting import about, until

OTHER = "consumer-2"
LOCK = "rq:scheduler-lock:default"
SCHEDULED = "rq:scheduled:default"


class Desk(Bench):
    """Short ways to do what schedulers do."""

    def send_due(self, *ids: str, queue: str = "default") -> None:
        """Jobs that are due, the first longest."""
        self.send(*ids, queue=queue, delay=1000)
        ago = {id_: self.now() - 1 - len(ids) + n for n, id_ in enumerate(ids)}
        self.redis.zadd(f"rq:scheduled:{queue}", ago)

    def move(
        self, *queues: str, consumer: str = ME, lock_ttl: float = 30, batch: int = 100
    ) -> Moved:
        return self.execute(
            self.commands.enqueue_due(
                queues or ("default",), consumer=consumer, lock_ttl=lock_ttl, batch=batch
            )
        )

    def scheduled(self, queue: str = "default") -> list[str]:
        return [item.decode() for item in self.redis.zrange(f"rq:scheduled:{queue}", 0, -1)]


@pytest.fixture
def desk(redis_url: str, redis: Any) -> Iterator[Desk]:
    with RedisClient(redis_url) as client:
        yield Desk(client.execute, redis, Commands())


# Being scheduled


def test_a_delay_is_counted_by_the_servers_clock_in_fractions_of_a_second(desk: Desk) -> None:
    before = desk.now()
    assert desk.send("a", "b", delay=100.25) == 2
    assert desk.queue() == []
    for id_ in ("a", "b"):
        assert before + 100.25 <= desk.redis.zscore(SCHEDULED, id_) <= desk.now() + 100.25
        assert desk.field(id_, "status") == "scheduled"
        assert desk.field(id_, "enqueued_at") is None
    assert desk.redis.smembers("rq:queues") == {b"rq:queue:default"}
    due = desk.execute(desk.commands.due("default", "a"))
    assert due is not None
    assert due.timestamp() == pytest.approx(desk.redis.zscore(SCHEDULED, "a"), abs=1e-5)
    assert desk.execute(desk.commands.due("default", "nobody")) is None


def test_a_scheduled_job_sent_again_keeps_its_time_and_does_not_come_back(desk: Desk) -> None:
    desk.send("a", delay=100)
    before = desk.everything()
    assert desk.send("a", delay=500) == 0
    assert desk.send("a") == 0
    assert desk.everything() == before
    desk.redis.zadd(SCHEDULED, {"a": 1})
    assert desk.move().jobs == 1
    assert desk.send("a", "b", delay=500) == 1
    assert (desk.queue(), desk.scheduled()) == (["a"], ["b"])


@pytest.mark.parametrize("key", ["rq:queue:default", SCHEDULED])
def test_nothing_is_written_when_a_key_does_not_hold_what_it_should(desk: Desk, key: str) -> None:
    desk.redis.set(key, "text")
    with pytest.raises(Exception, match="WRONGTYPE"):
        desk.send("a", delay=100)
    assert desk.redis.keys("*") == [key.encode()]


# Being moved


def test_what_is_due_is_moved_in_the_order_of_its_time_and_nothing_else_is(desk: Desk) -> None:
    desk.send("waiting")
    desk.send_due("a", "b", "c")
    desk.send("later", delay=100)
    before = desk.now()
    moved = desk.move()
    assert (moved.jobs, moved.held, moved.broken) == (3, 1, [])
    assert 3 < moved.late < 60
    assert desk.queue() == ["waiting", "a", "b", "c"]
    assert desk.scheduled() == ["later"]
    for id_ in ("a", "b", "c"):
        job = RqJob.fetch(id_, connection=desk.redis, serializer=JSONSerializer)
        assert job.get_status() is JobStatus.QUEUED
        assert job.enqueued_at is not None
        assert job.enqueued_at.timestamp() >= before - 1e-5
    assert desk.field("later", "status") == "scheduled"
    assert desk.move().pauses == [about(100)]


def test_a_job_is_never_moved_early(desk: Desk) -> None:
    for number in range(20):  # until one was looked at before it was due: a busy machine is slow
        name = f"job {number}"
        desk.send(name, delay=0.05)
        due = desk.redis.zscore(SCHEDULED, name)
        looks = 0
        while not (moved := desk.move()).jobs:
            looks += 1
            [pause] = moved.pauses
            assert pause is not None
            assert pause <= 0.05
        enqueued_at = datetime.fromisoformat(str(desk.field(name, "enqueued_at")))
        assert enqueued_at.timestamp() >= due - 2e-6, "what is written has whole microseconds"
        if looks:
            break
    assert looks


def test_an_empty_schedule_is_looked_at_and_nothing_is_written(desk: Desk) -> None:
    assert desk.move() == Moved(0, 0.0, 0, [None], [])
    assert desk.redis.keys("*") == []


def test_jobs_that_rq_would_put_in_front_go_in_front(desk: Desk) -> None:
    desk.send("waiting")
    desk.send_due("a", "front1", "retried", "on_retry", "front2", "not_front")
    for id_, fields in {
        "front1": {"enqueue_at_front": 1},
        "retried": {"enqueue_at_front_on_retry": 1, "ended_at": "2026-01-01T00:00:00.000000Z"},
        "on_retry": {"enqueue_at_front_on_retry": 1, "ended_at": ""},
        "front2": {"enqueue_at_front": 1},
        "not_front": {"enqueue_at_front": 0, "ended_at": "2026-01-01T00:00:00.000000Z"},
    }.items():
        desk.redis.hset(f"rq:job:{id_}", mapping=fields)
    assert desk.move().jobs == 6
    assert desk.queue() == ["front2", "retried", "front1", "waiting", "a", "on_retry", "not_front"]


def test_what_went_on_by_another_way_is_dropped_and_what_is_odd_or_gone_is_left_to_the_claim(
    desk: Desk,
) -> None:
    gone = ["queued", "started", "deferred", "finished", "failed", "stopped", "canceled"]
    desk.send_due("deleted", *gone, "bananas", "none", "wrong type", "good")
    desk.redis.delete("rq:job:deleted", "rq:job:wrong type")
    for status in (*gone, "bananas"):
        desk.redis.hset(f"rq:job:{status}", "status", status)
    desk.redis.hdel("rq:job:none", "status")
    desk.redis.set("rq:job:wrong type", "text")
    before = desk.everything()
    assert desk.move().jobs == 5
    assert desk.queue() == ["deleted", "bananas", "none", "wrong type", "good"]
    assert desk.scheduled() == []
    changed = {key for key, value in desk.everything().items() if before.get(key) != value}
    assert changed == {b"rq:job:good", b"rq:queue:default", LOCK.encode()}
    claims = desk.execute(
        desk.commands.claim(["default"], 9, lease=30, consumer=ME, token="0" * 16, max_payload=1000)
    )
    assert claims.gone == (("default", "deleted"),)
    problems = {claim.job_id: claim.problem for claim in claims.claims}
    assert problems.pop("good") is problems.pop("none") is None
    assert "bananas" in str(problems["bananas"])
    assert "does not hold a hash" in str(problems["wrong type"])


@pytest.mark.parametrize("key", ["rq:scheduled:x", "rq:queue:x", "rq:scheduler-lock:x"])
def test_a_key_of_another_type_stops_no_other_queue_and_loses_nothing(desk: Desk, key: str) -> None:
    for queue in ("w", "x", "y"):
        desk.send_due(f"{queue}1", f"{queue}2", queue=queue)
    kept = desk.redis.dump(key) if desk.redis.exists(key) else None
    desk.redis.delete(key)
    desk.redis.xadd(key, {"a": "b"})
    for expected in (4, 0, 0):
        moved = desk.move("w", "x", "y")
        assert (moved.jobs, moved.broken) == (expected, [key])
    assert desk.field("x1", "status") == "scheduled"
    desk.redis.delete(key)
    if kept is not None:
        desk.redis.restore(key, 0, kept)
    assert desk.move("w", "x", "y").jobs == 2
    assert desk.move("w", "x", "y").broken == []
    assert [desk.queue(name) for name in ("w", "x", "y")] == [
        ["w1", "w2"], ["x1", "x2"], ["y1", "y2"],
    ]  # fmt: skip


def test_a_set_of_queues_of_another_type_loses_no_job(desk: Desk) -> None:
    desk.send_due("a")
    desk.redis.delete("rq:queues")
    desk.redis.set("rq:queues", "text")
    assert desk.move().jobs == 1
    assert (desk.queue(), desk.scheduled()) == (["a"], [])


def test_a_queue_that_was_deleted_while_it_was_empty_is_known_again(desk: Desk) -> None:
    desk.send_due("a")
    desk.redis.delete("rq:queues")
    desk.move()
    assert desk.redis.smembers("rq:queues") == {b"rq:queue:default"}


def test_one_call_moves_no_more_than_a_batch_and_every_queue_has_its_share(desk: Desk) -> None:
    for queue, number in (("x", 50), ("y", 5), ("z", 50)):
        desk.send_due(*(f"{queue}{n}" for n in range(number)), queue=queue)
    moved = desk.move("x", "y", "z", batch=30)
    assert (moved.jobs, moved.pauses) == (30, [0, 0, 0])
    assert [len(desk.queue(name)) for name in ("x", "y", "z")] == [10, 5, 15]
    while desk.move("x", "y", "z", batch=30).jobs:
        pass
    assert desk.queue("x") == [f"x{n}" for n in range(50)]
    assert desk.queue("z") == [f"z{n}" for n in range(50)]
    assert desk.move("x", "y", "z", batch=1).pauses == [None, None, None]


def test_a_job_with_a_time_to_live_has_it_from_when_it_is_moved_as_in_rq(desk: Desk) -> None:
    desk.send_due("a", "garbage")
    desk.redis.hset("rq:job:a", "ttl", 700)
    desk.redis.hset("rq:job:garbage", "ttl", "soon")
    desk.redis.expire("rq:job:a", 300)
    assert desk.move().jobs == 2
    assert desk.redis.ttl("rq:job:a") == about(700)
    assert desk.redis.ttl("rq:job:garbage") == -1


# Being elected


def test_only_whoever_is_elected_moves_jobs_until_it_is_not_heard_of_or_resigns(
    desk: Desk,
) -> None:
    desk.send_due("a", "b")
    desk.send("later", delay=1000)
    assert desk.move(batch=1, lock_ttl=30).jobs == 1
    standby = desk.move(consumer=OTHER)
    assert (standby.jobs, standby.held) == (0, 0)
    assert standby.pauses == [about(30)], "when there may be nobody elected"
    assert desk.execute(desk.commands.resign(["default"], consumer=OTHER)) == 0
    assert desk.redis.get(LOCK) == ME.encode()
    desk.redis.pexpire(LOCK, 1)
    until(lambda: desk.move(consumer=OTHER).held == 1)
    assert desk.queue() == ["a", "b"]
    assert desk.move().held == 0
    assert desk.execute(desk.commands.resign(["default", "x"], consumer=OTHER)) == 1
    assert desk.move().held == 1


def test_the_lock_is_renewed_when_half_of_its_time_is_over(desk: Desk) -> None:
    desk.send("later", delay=1000)
    desk.move(lock_ttl=100)
    desk.redis.pexpire(LOCK, 60_000)
    desk.move(lock_ttl=100)
    assert desk.redis.pttl(LOCK) <= 60_000
    desk.redis.pexpire(LOCK, 40_000)
    desk.move(lock_ttl=100)
    assert desk.redis.pttl(LOCK) > 90_000


def test_a_consumer_may_be_elected_for_some_of_its_queues(desk: Desk) -> None:
    desk.send_due("a", queue="x")
    desk.send_due("b", queue="y")
    desk.move("x", consumer=OTHER)
    assert desk.move("x", "y").held == 1
    assert (desk.queue("x"), desk.queue("y")) == (["a"], ["b"])


@reads_all
def test_stock_rq_and_we_respect_each_others_lock(desk: Desk) -> None:
    from rq.scripts import acquire_or_refresh_lock, release_lock

    desk.send_due("a")
    assert acquire_or_refresh_lock(desk.redis, LOCK, "stock", 61) == "acquired"
    assert (desk.move().held, desk.queue()) == (0, [])
    assert desk.execute(desk.commands.resign(["default"], consumer=ME)) == 0
    assert release_lock(desk.redis, LOCK, "stock")
    assert (desk.move().held, desk.queue()) == (1, ["a"])
    assert acquire_or_refresh_lock(desk.redis, LOCK, "stock", 61) == "taken"
    desk.execute(desk.commands.resign(["default"], consumer=ME))
    assert acquire_or_refresh_lock(desk.redis, LOCK, "stock", 61) == "acquired"

"""The scripts on a real server: one suite for the blocking client and for the asyncio one."""

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgpack
import pytest
import redis as redis_py
from rq import Queue
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.results import Result as RqResult
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.suspension import resume, suspend

from heori_common.protocol.commands import (
    EXECUTION_MARK,
    FAILURE_TTL,
    LEASE_MARGIN,
    RESULT_TTL,
    Claimed,
    Command,
    Commands,
    Ended,
    GivenBack,
    QueueCounts,
    Reclaimed,
)
from heori_common.protocol.commands.delivery import STRIKE, UNREADABLE
from heori_common.protocol.job import CLAIM_FIELDS, UNSUPPORTED_FIELDS, Claim, NewJob
from heori_common.protocol.payload import Call, decode_failure, encode_failure, encode_result
from heori_common.protocol.scripts import script
from heori_common.redis.client import AsyncRedisClient, RedisClient, address
from heori_common.redis.errors import RedisUnavailable
from tests.conftest import Execute
from tests.protocol.test_protocol import CALLED
from tests.rigs.proxy import Proxy, proxy

T = TypeVar("T")
ADD = "tests.tasks.sample_tasks.add"
ME = "consumer-1"
EVIDENCE = encode_failure("its consumer was lost 3 times while it ran\n")


@dataclass
class Bench:
    """A server, and short ways to do to it what producers and consumers do."""

    execute: Execute
    redis: Any  # its hints mix in those of asyncio and of decoded replies
    commands: Commands
    calls: int = 0

    def send(self, *ids: str, queue: str = "default") -> int:
        call = Call(ADD, [1], {"b": 2})
        jobs = [NewJob.create(id_, call, 180) for id_ in ids]
        return self.execute(self.commands.enqueue(queue, jobs)).new

    def look(
        self,
        *queues: str,
        count: int = 100,
        lease: float = 30.0,
        max_payload: int = 1_000_000,
        shares: Sequence[int] = (),
    ) -> Claimed:
        self.calls += 1
        return self.execute(
            self.commands.claim(
                queues or ("default",),
                count,
                lease=lease,
                consumer=ME,
                token=f"{self.calls:016x}",
                max_payload=max_payload,
                shares=shares,
            )
        )

    def claim(self, *queues: str, **options: Any) -> list[Claim]:
        claimed = self.look(*queues, **options)
        assert not claimed.empty
        return claimed.claims

    def ack(self, *ended: Ended) -> tuple[list[int], list[int]]:
        refused, with_dependents, broken = self.execute(self.commands.ack(ended, consumer=ME))
        assert broken == []
        return refused, with_dependents

    def release(self, *claims: Claim, counted: bool = True, max_deliveries: int = 3) -> list[str]:
        given_back = [GivenBack(claim, counted, EVIDENCE) for claim in claims]
        return self.execute(
            self.commands.release(given_back, consumer=ME, max_deliveries=max_deliveries)
        )

    def reclaim_command(
        self, *queues: str, interval: float = 0.001, max_deliveries: int = 3
    ) -> Command[Reclaimed | None]:
        return self.commands.reclaim(
            queues or ("default",),
            interval=interval,
            consumer=ME,
            max_deliveries=max_deliveries,
            evidence=EVIDENCE,
        )

    def reclaim(
        self, *queues: str, interval: float = 0.001, max_deliveries: int = 3
    ) -> tuple[int, int]:
        if interval < 1:
            self.redis.delete("rq:heori:reaper")
        reclaimed = self.execute(
            self.reclaim_command(*queues, interval=interval, max_deliveries=max_deliveries)
        )
        return (reclaimed.queued, reclaimed.dead) if reclaimed else (0, 0)

    def undo(self, *queues: str, token: str) -> int:
        command = self.commands.undo(queues, token=token, consumer=ME, max_deliveries=1)
        return self.execute(command)

    def spoil(self, key: str) -> Callable[[], None]:
        """Put something else under a key; returns how to put back what was there."""
        existed = bool(self.redis.exists(key))
        if existed:
            self.redis.rename(key, "aside")
        self.redis.set(key, "text")

        def mend() -> None:
            self.redis.delete(key)
            if existed:
                self.redis.rename("aside", key)

        return mend

    def end_lease(self, claim: Claim, ago: float = 1.0) -> None:
        """As if the lease had run out so many seconds ago."""
        key = f"rq:wip:{claim.queue}"
        assert self.redis.zscore(key, member(claim)) is not None
        self.redis.zadd(key, {member(claim): self.now() + LEASE_MARGIN - ago})

    def now(self) -> float:
        seconds, micros = self.redis.time()
        return float(seconds + micros / 1e6)

    def queue(self, name: str = "default") -> list[str]:
        return [item.decode() for item in self.redis.lrange(f"rq:queue:{name}", 0, -1)]

    def wip(self, queue: str = "default") -> dict[str, float]:
        entries = self.redis.zrange(f"rq:wip:{queue}", 0, -1, withscores=True)
        return {name.decode(): score for name, score in entries}

    def field(self, job_id: str, name: str) -> str | None:
        value = self.redis.hget(f"rq:job:{job_id}", name)
        return None if value is None else value.decode()

    def everything(self) -> dict[bytes, Any]:
        """All keys with their content and TTL, to see that nothing has changed."""
        return {key: (self.redis.dump(key), self.redis.ttl(key)) for key in self.redis.keys("*")}

    def rq_job(self, job_id: str, serializer: Any = JSONSerializer) -> RqJob:
        return RqJob.fetch(job_id, connection=self.redis, serializer=serializer)


def member(claim: Claim) -> str:
    return f"{claim.job_id}:{claim.execution}"


def done(claim: Claim, value: Any = 3) -> Ended:
    return Ended(claim, "finished", encode_result(json.dumps(value).encode(), "json"), 0.25)


def failed(claim: Claim, text: str = "Traceback …\nValueError: no\n") -> Ended:
    return Ended(claim, "failed", encode_failure(text), 0.25)


def ids(claims: list[Claim]) -> list[str]:
    return [claim.job_id for claim in claims]


@pytest.fixture
def bench(connect: Callable[[str], Execute], redis_url: str, redis: redis_py.Redis) -> Bench:
    return Bench(connect(redis_url), redis, Commands())


# enqueue


def test_jobs_sent_again_change_nothing_and_only_new_ones_are_added(bench: Bench) -> None:
    assert bench.send("a", "b") == 2
    bench.redis.hset("rq:job:a", "status", "started")
    before = bench.everything()
    assert bench.send("a", "b") == 0
    assert bench.everything() == before
    assert bench.send("b", "c") == 1
    assert bench.queue() == ["a", "b", "c"]
    assert bench.field("a", "status") == "started"


def test_a_job_that_has_been_claimed_is_not_queued_by_sending_it_again(bench: Bench) -> None:
    bench.send("a")
    bench.claim()
    assert bench.send("a") == 0
    assert bench.queue() == []


def test_nothing_is_written_when_the_queue_is_no_list(bench: Bench) -> None:
    bench.redis.set("rq:queue:default", "text")
    for _ in range(2):
        with pytest.raises(redis_py.ResponseError, match="WRONGTYPE"):
            bench.send("a")
    assert bench.redis.keys("*") == [b"rq:queue:default"]


# claim


def test_jobs_are_claimed_oldest_first_and_in_the_order_of_the_queues(bench: Bench) -> None:
    bench.send("low1", "low2", queue="low")
    bench.send("high1", "high2", queue="high")
    claims = bench.claim("high", "low", count=3)
    assert [(c.queue, c.job_id) for c in claims] == [
        ("high", "high1"), ("high", "high2"), ("low", "low1"),
    ]  # fmt: skip
    assert bench.queue("low") == ["low2"]
    assert ids(bench.claim("high", "low", count=3)) == ["low2"]
    assert bench.look("high", "low") == Claimed([])


def test_a_claim_leases_the_job_and_tells_where_rq_looks(bench: Bench) -> None:
    bench.send("a", "b")
    bench.redis.expire("rq:job:a", 1000)
    enqueued_at = bench.field("a", "enqueued_at")
    started = bench.now()
    a, b = bench.claim(lease=30.0)

    assert started <= a.claimed_at == b.claimed_at <= bench.now()
    assert a.execution != b.execution
    for claim in (a, b):
        assert claim.execution.startswith(EXECUTION_MARK)
        assert (claim.deliveries, claim.problem) == (1, None)
        score = bench.wip()[member(claim)]
        assert score == pytest.approx(a.claimed_at + 30 + LEASE_MARGIN, abs=1.001)
        assert score >= a.claimed_at + 30 + LEASE_MARGIN
        assert score == int(score), "rq parses scores as whole seconds"
    unpacked = msgpack.unpackb(a.values, raw=True)
    values = dict(zip(CLAIM_FIELDS + UNSUPPORTED_FIELDS, unpacked, strict=True))
    data = bench.redis.hget("rq:job:a", "data")
    assert {name: value for name, value in values.items() if value} == {
        "data": data, "status": b"queued", "timeout": b"180",
        "enqueued_at": str(enqueued_at).encode(),
    }  # fmt: skip
    assert bench.redis.ttl("rq:job:a") == -1, "a job must not expire while it runs"
    job = bench.rq_job("a")
    assert job.get_status() is JobStatus.STARTED
    assert job.worker_name == ME
    assert job.started_at is not None
    assert job.started_at.timestamp() == pytest.approx(a.claimed_at, abs=1e-5)
    assert job.started_at == job.last_heartbeat
    assert bench.field("a", "heori_deliveries") == "1"
    assert bench.field("a", "heori_execution") == a.execution
    registry = StartedJobRegistry("default", connection=bench.redis)
    assert registry.get_job_ids() == ["a", "b"]


def test_a_job_that_runs_again_does_not_expire_with_its_last_run(bench: Bench) -> None:
    queue = Queue("default", connection=bench.redis, serializer=JSONSerializer)
    queue.enqueue(ADD, 1, job_id="a", failure_ttl=60, result_ttl=30)
    [claim] = bench.claim()
    bench.ack(failed(claim))
    FailedJobRegistry("default", connection=bench.redis).requeue("a")
    assert bench.redis.ttl("rq:job:a") > 0
    [claim] = bench.claim()
    assert bench.redis.ttl("rq:job:a") == -1
    bench.ack(done(claim))
    queue.enqueue(ADD, 1, job_id="a")
    assert bench.redis.ttl("rq:job:a") > 0
    bench.claim()
    assert bench.redis.ttl("rq:job:a") == -1


def test_each_delivery_is_counted(bench: Bench) -> None:
    bench.send("a")
    for delivery in (1, 2, 3):
        [claim] = bench.claim()
        assert claim.deliveries == delivery
        assert bench.release(claim, max_deliveries=9) == ["queued"]


@pytest.mark.parametrize("garbage", ["abc", "1.5", "nan", "inf", "9" * 40, ""])
def test_a_garbage_delivery_count_starts_anew(bench: Bench, garbage: str) -> None:
    bench.send("a", "b")
    bench.redis.hset("rq:job:a", "heori_deliveries", garbage)
    claims = bench.claim()
    assert [claim.deliveries for claim in claims] == [1, 1]
    assert bench.release(*claims, counted=False) == ["queued", "queued"]


def test_ids_of_jobs_that_have_ended_are_dropped_and_their_neighbours_run(bench: Bench) -> None:
    ended = ["finished", "failed", "stopped", "canceled"]
    bench.send("first", *ended, "deleted", "last")
    for status in ended:
        bench.redis.hset(f"rq:job:{status}", "status", status)
    bench.redis.delete("rq:job:deleted")
    assert ids(bench.claim()) == ["first", "last"]
    assert len(bench.wip()) == 2
    for status in ended:
        assert bench.field(status, "status") == status
        assert bench.field(status, "heori_deliveries") is None
    assert not bench.redis.exists("rq:job:deleted")


def test_a_job_that_rq_cancelled_while_it_waited_does_not_run(bench: Bench) -> None:
    bench.send("a", "b")
    bench.rq_job("a").cancel()
    bench.redis.lpush("rq:queue:default", "a")
    assert ids(bench.claim()) == ["b"]


def test_only_dropped_ids_are_not_the_same_as_an_empty_queue(bench: Bench) -> None:
    bench.redis.rpush("rq:queue:default", "nobody")
    assert bench.look() == Claimed([], empty=False)
    assert bench.look() == Claimed([], empty=True)


@pytest.mark.parametrize("status", ["queued", "created", "deferred", "scheduled", "started", ""])
def test_jobs_in_any_status_that_leads_to_running_are_claimed(bench: Bench, status: str) -> None:
    bench.send("a")
    bench.redis.hset("rq:job:a", "status", status)
    [claim] = bench.claim()
    assert claim.problem is None


def test_an_id_that_stands_twice_runs_once_under_a_live_lease(bench: Bench) -> None:
    bench.send("a", "b")
    bench.redis.rpush("rq:queue:default", "a", "b")
    bench.redis.rpush("rq:queue:other", "a")
    first, _ = claims = bench.claim("default", "other")
    assert ids(claims) == ["a", "b"], "once in one claim"
    bench.redis.rpush("rq:queue:default", "a")
    assert bench.claim() == [], "and in a later one"
    assert bench.ack(done(first)) == ([], [])
    bench.redis.rpush("rq:queue:default", "a")
    assert bench.claim() == [], "it has finished"


def test_an_id_whose_other_delivery_has_lost_its_lease_is_claimed(bench: Bench) -> None:
    bench.send("a")
    [lost] = bench.claim()
    bench.redis.zrem("rq:wip:default", member(lost))
    bench.redis.rpush("rq:queue:default", "a")
    [claim] = bench.claim()
    assert claim.deliveries == 2
    assert bench.ack(done(lost)) == ([0], [])
    assert bench.ack(done(claim)) == ([], [])


def test_what_cannot_run_is_claimed_with_its_problem_and_its_neighbours_run(bench: Bench) -> None:
    bench.send("first", "nodata", "large", "wrong", "status", "binary", "last")
    bench.redis.hdel("rq:job:nodata", "data")
    bench.redis.hset("rq:job:large", "data", b"x" * 1001)
    bench.redis.delete("rq:job:wrong")
    bench.redis.rpush("rq:job:wrong", "a list")
    bench.redis.hset("rq:job:status", "status", "paused" * 1000)
    bench.redis.hset("rq:job:binary", "status", b"\xff\x00")
    claims = bench.claim(max_payload=1000)
    assert [(c.job_id, c.problem) for c in claims] == [
        ("first", None),
        ("nodata", "its hash has no data field"),
        ("large", "its payload of 1001 bytes is over the limit of 1000"),
        ("wrong", "its key rq:job:wrong does not hold a hash"),
        ("status", f"its status {('paused' * 10)[:40]} is none that RQ knows"),
        ("binary", "its status \\xff\x00 is none that RQ knows"),
        ("last", None),
    ]
    assert [bool(claim.values) for claim in claims] == [c.problem is None for c in claims]
    assert bench.ack(*(done(c) if c.problem is None else failed(c) for c in claims)) == ([], [])
    assert bench.wip() == {}
    failures = FailedJobRegistry("default", connection=bench.redis).get_job_ids()
    assert sorted(failures) == ["binary", "large", "nodata", "status", "wrong"]
    assert bench.redis.lrange("rq:job:wrong", 0, -1) == [b"a list"], "it is not ours to repair"
    assert bench.redis.xlen("rq:results:wrong") == 1
    for job_id in ("nodata", "large", "status", "binary"):
        assert bench.field(job_id, "status") == "failed"


AWKWARD_IDS = ["with space", "with\nnewline", "co:lon:", "힐", "\udcff\udcfe", "", "x" * 5000]


def test_any_bytes_may_be_an_id_and_come_back_unchanged(bench: Bench) -> None:
    raw = [job_id.encode("utf-8", "surrogateescape") for job_id in AWKWARD_IDS]
    bench.send("pattern")
    pattern = bench.redis.hgetall("rq:job:pattern")
    for job_id in raw:
        bench.redis.hset(b"rq:job:" + job_id, mapping=pattern)
        bench.redis.rpush("rq:queue:default", job_id)
    _, *claims = bench.claim()
    assert ids(claims) == AWKWARD_IDS
    assert bench.execute(bench.commands.extend(claims, lease=60)).lost == []
    assert bench.release(*claims) == ["queued"] * len(raw)
    claims = bench.claim()
    for claim in claims:
        bench.redis.zadd("rq:wip:default", {member(claim).encode("utf-8", "surrogateescape"): 0})
    assert bench.reclaim() == (len(raw), 0)
    assert bench.redis.lrange("rq:queue:default", 0, -1) == raw  # in the order of the claim
    claims = bench.claim()
    assert bench.ack(*map(done, claims)) == ([], [])
    assert set(bench.redis.zrange("rq:finished:default", 0, -1)) == set(raw)


def test_each_queue_gives_its_share_and_what_is_left_is_taken_in_order(bench: Bench) -> None:
    for queue in ("a", "b", "c"):
        bench.send(*(f"{queue}{n}" for n in range(4)), queue=queue)
    order = ("a", "b", "empty", "c")
    assert ids(bench.claim(*order, count=4, shares=[1, 2, 0, 1])) == ["a0", "b0", "b1", "c0"]
    assert ids(bench.claim(*order, count=4, shares=[0, 0, 3, 1])) == ["c1", "a1", "a2", "a3"]
    assert ids(bench.claim(*order, count=4, shares=[4, 0, 0, 0])) == ["b2", "b3", "c2", "c3"]
    assert bench.look(*order, count=4, shares=[1, 1, 1, 1]).empty


def test_nothing_is_claimed_while_rq_has_suspended_its_workers(bench: Bench) -> None:
    bench.send("a")
    suspend(bench.redis)
    before = bench.everything()
    assert bench.look() == Claimed([], suspended=True)
    assert bench.everything() == before
    resume(bench.redis)
    assert ids(bench.claim()) == ["a"]


@pytest.mark.parametrize("key", ["rq:queue:broken", "rq:wip:broken"])
def test_a_queue_with_a_broken_key_is_passed_over_and_loses_no_job(bench: Bench, key: str) -> None:
    bench.send("x", queue="broken")
    bench.send("a", queue="before")
    bench.send("b", queue="after")
    mend = bench.spoil(key)
    claimed = bench.look("before", "broken", "after", shares=[0, 100, 0])
    assert ids(claimed.claims) == ["a", "b"]
    assert claimed.broken == {key}
    again = bench.look("before", "broken", "after")
    assert again == Claimed([], broken=frozenset({key}))
    mend()
    assert ids(bench.claim("before", "broken", "after")) == ["x"]


@pytest.mark.parametrize("kind", ["queue", "wip", "failed"])
@pytest.mark.parametrize("way", ["release", "reclaim", "undo"])
def test_a_broken_key_of_one_queue_keeps_no_job_of_another_from_being_given_back(
    bench: Bench, way: str, kind: str
) -> None:
    bench.send("x", queue="broken")
    bench.send("a", queue="sound")
    x, a = bench.claim("broken", "sound")
    if way == "reclaim":
        bench.end_lease(x)
        bench.end_lease(a)
    mend = bench.spoil(f"rq:{kind}:broken")
    if way == "release":
        # The lease table is not needed for it, and what cannot be given back stays under it.
        assert bench.release(x, a) == ["queued" if kind == "wip" else "kept", "queued"]
    elif way == "reclaim":
        bench.redis.delete("rq:heori:reaper")
        reclaimed = bench.execute(bench.reclaim_command("broken", "sound"))
        assert reclaimed == Reclaimed(queued=1, dead=0, broken=frozenset({f"rq:{kind}:broken"}))
    else:
        undone = bench.undo("broken", "sound", token=f"{bench.calls:016x}")
        assert undone == (1 if kind == "wip" else 2)
    assert bench.queue("sound") == ["a"]
    mend()
    if bench.queue("broken") != ["x"]:
        bench.end_lease(x)
        assert bench.reclaim("broken") == (1, 0)
    assert bench.queue("broken") == ["x"]
    [again] = bench.claim("broken")
    assert bench.ack(done(again)) == ([], [])


def test_a_broken_key_of_one_queue_keeps_no_lease_of_another_from_being_extended(
    bench: Bench,
) -> None:
    bench.send("x", queue="broken")
    bench.send("a", queue="sound")
    claims = bench.claim("broken", "sound")
    bench.spoil("rq:wip:broken")
    bench.end_lease(claims[1], ago=-1)
    assert bench.execute(bench.commands.extend(claims, lease=60)).lost == [0]
    assert bench.wip("sound")[member(claims[1])] > bench.now() + LEASE_MARGIN + 50


def test_a_job_whose_key_was_overwritten_while_it_ran_fails_where_rq_looks(bench: Bench) -> None:
    bench.send("wrong", "good")
    bench.claim()
    bench.redis.delete("rq:job:wrong")
    bench.redis.rpush("rq:job:wrong", "not ours")
    undone = bench.undo("default", token=f"{bench.calls:016x}")
    assert undone == 2, "even when nobody has heard of the claim"
    assert bench.queue() == ["good"]
    assert FailedJobRegistry("default", connection=bench.redis).get_job_ids() == ["wrong"]
    [result] = bench.redis.xrange("rq:results:wrong")
    told = RqResult.restore("wrong", result[0].decode(), result[1], connection=bench.redis)
    assert told.exc_string == decode_failure(UNREADABLE)
    assert bench.redis.lrange("rq:job:wrong", 0, -1) == [b"not ours"]


def test_cancelled_and_deleted_jobs_are_told_from_those_that_may_run(bench: Bench) -> None:
    bench.send("kept", "cancelled", "deleted", "wrong")
    claims = bench.claim()
    bench.rq_job("cancelled").cancel()
    bench.rq_job("deleted").delete()
    bench.redis.delete("rq:job:wrong")
    bench.redis.set("rq:job:wrong", "text")
    assert bench.execute(bench.commands.canceled(ids(claims))) == [1, 2]


def test_what_waits_or_is_scheduled_can_be_cancelled_and_nothing_else(bench: Bench) -> None:
    bench.send("claimed", "popped", "waits", "wrong", "stays")
    bench.claim(count=1)
    bench.redis.lpop("rq:queue:default")  # by a stock worker, which has not said so yet
    bench.spoil("rq:job:wrong")
    scheduled = [NewJob.create("later", Call(ADD, [1], {}), 180)]
    bench.execute(bench.commands.enqueue("default", scheduled, delay=60))
    names = ["claimed", "popped", "waits", "wrong", "later", "nobody"]
    assert bench.execute(bench.commands.cancel("default", names)) == [2, 4]
    assert bench.execute(bench.commands.cancel("default", names)) == []
    assert bench.queue() == ["wrong", "stays"]
    assert bench.redis.zcard("rq:scheduled:default") == 0
    assert bench.rq_job("waits").is_canceled
    assert bench.redis.zscore("rq:canceled:default", "later") == pytest.approx(bench.now(), abs=2)
    assert bench.field("claimed", "status") == "started"


def test_a_thousand_jobs_are_claimed_extended_and_acknowledged_at_once(bench: Bench) -> None:
    names = [f"job{number}" for number in range(1000)]
    assert bench.send(*names) == 1000
    claims = bench.claim(count=1000)
    assert ids(claims) == names
    assert len({claim.execution for claim in claims}) == 1000
    assert bench.execute(bench.commands.extend(claims, lease=9)).lost == []
    assert bench.ack(*map(done, claims)) == ([], [])
    assert bench.redis.zcard("rq:finished:default") == 1000


# ack


@pytest.mark.parametrize("serializer", [JSONSerializer, DefaultSerializer])
@pytest.mark.parametrize("value", [3, None, {"a": ["힐"]}])
def test_rq_reads_the_results_of_our_jobs(bench: Bench, serializer: Any, value: Any) -> None:
    queue = Queue("mail", connection=bench.redis, serializer=serializer)
    job_id = queue.enqueue(ADD, 1).id
    [claim] = bench.claim("mail")
    name: Any = "json" if serializer is JSONSerializer else "pickle"
    body = None if value is None else encode_result(json.dumps(value).encode(), name)
    assert bench.ack(Ended(claim, "finished", body, 1.5)) == ([], [])

    job = bench.rq_job(job_id, serializer)
    assert job.get_status() is JobStatus.FINISHED
    assert job.return_value() == value
    result = job.latest_result()
    assert result is not None
    assert result.type == RqResult.Type.SUCCESSFUL
    assert (result.worker_name, result.execution_id) == (ME, claim.execution)
    assert result.execution_started_at is not None
    assert result.execution_started_at.timestamp() == pytest.approx(claim.claimed_at, abs=1e-5)
    assert result.execution_ended_at is not None
    assert result.execution_ended_at >= result.execution_started_at
    assert job.ended_at is not None
    assert abs((job.ended_at - result.execution_ended_at).total_seconds()) < 1e-4
    assert FinishedJobRegistry("mail", connection=bench.redis).get_job_ids() == [job_id]
    assert FailedJobRegistry("mail", connection=bench.redis).get_job_ids() == []
    assert StartedJobRegistry("mail", connection=bench.redis).count == 0


def test_rq_reads_the_tracebacks_of_our_jobs_and_requeues_them(bench: Bench) -> None:
    bench.send("a")
    [claim] = bench.claim()
    assert bench.ack(failed(claim, "Traceback …\nValueError: 힐\n")) == ([], [])
    job = bench.rq_job("a")
    assert job.get_status() is JobStatus.FAILED
    result = job.latest_result()
    assert result is not None
    assert result.type == RqResult.Type.FAILED
    assert result.exc_string == "Traceback …\nValueError: 힐\n"
    registry = FailedJobRegistry("default", connection=bench.redis)
    assert registry.get_job_ids() == ["a"]
    registry.requeue("a")
    [again] = bench.claim()
    assert bench.ack(done(again)) == ([], [])
    assert bench.rq_job("a").return_value() == 3


@pytest.mark.parametrize(
    ("written", "succeeded", "ttl"),
    [
        (None, True, RESULT_TTL),
        (None, False, FAILURE_TTL),
        (b"60", True, 60),
        (b"60", False, 60),
        (b"-1", True, None),
        (b"-1", False, None),
        (b"0", True, 0),
        (b"0", False, 0),
        *((garbage, True, RESULT_TTL) for garbage in (b"", b"abc", b"1.5", b"nan", b"9" * 30)),
    ],
)
def test_a_result_lives_as_long_as_its_job_asks(
    bench: Bench, written: bytes | None, succeeded: bool, ttl: int | None
) -> None:
    bench.send("a", "b")
    if written is not None:
        name = "result_ttl" if succeeded else "failure_ttl"
        bench.redis.hset("rq:job:a", name, written)
    bench.redis.xadd("rq:results:a", {"type": "4", "worker_name": "stock"})
    bench.redis.expire("rq:results:a", 5)
    a, b = bench.claim()
    assert bench.ack(done(a) if succeeded else failed(a), done(b)) == ([], [])

    registry = "rq:finished:default" if succeeded else "rq:failed:default"
    score = bench.redis.zscore(registry, "a")
    times = (bench.redis.ttl("rq:job:a"), bench.redis.ttl("rq:results:a"))
    if ttl == 0:
        assert (times, score) == ((-2, -2), None)
    elif ttl is None:
        assert (times, score) == ((-1, -1), float("inf"))
    else:
        assert all(ttl - 5 <= left <= ttl for left in times), times
        assert score == pytest.approx(bench.now() + ttl, abs=5)
        assert score == int(score)
    assert bench.field("b", "status") == "finished"
    assert bench.redis.ttl("rq:results:b") == pytest.approx(RESULT_TTL, abs=5)


@pytest.mark.parametrize("end", [done, failed])
def test_an_acknowledgement_without_the_lease_is_refused_and_changes_nothing(
    bench: Bench, end: Callable[[Claim], Ended]
) -> None:
    bench.send("a", "b")
    a, b = bench.claim()
    bench.redis.zrem("rq:wip:default", member(a))
    before = bench.everything()
    other = b._replace(execution=a.execution)
    assert bench.ack(end(a), end(other), end(b._replace(job_id="nobody"))) == ([0, 1, 2], [])
    assert bench.everything() == before
    assert bench.ack(end(b)) == ([], [])
    before = bench.everything()
    assert bench.ack(end(b)) == ([0], []), "once only"
    assert bench.everything() == before


def test_no_entry_of_a_batch_harms_another(bench: Bench) -> None:
    bench.send("one", "lost", "deleted", "wrong_job", "wrong_result", "garbage_ttl", queue="x")
    bench.send("two", "three", queue="y")
    bench.redis.hset("rq:job:garbage_ttl", "result_ttl", "1.5")
    claims = {claim.job_id: claim for claim in bench.claim("x", "y")}
    bench.redis.zrem("rq:wip:x", member(claims["lost"]))
    bench.redis.delete("rq:job:deleted", "rq:job:wrong_job")
    bench.redis.set("rq:job:wrong_job", "text")
    bench.redis.set("rq:results:wrong_result", "text")
    order = ["one", "lost", "two", "deleted", "wrong_job", "wrong_result", "garbage_ttl", "three"]
    ended = [failed(claims[n]) if n == "two" else done(claims[n]) for n in order]

    refused, _, broken = bench.execute(bench.commands.ack(ended, consumer=ME))
    assert (refused, broken) == ([1], [b"rq:results:wrong_result"])
    for queue in ("x", "y"):
        assert bench.wip(queue) == {}
    for name in ("one", "wrong_result", "garbage_ttl", "three"):
        assert bench.field(name, "status") == "finished"
    assert bench.rq_job("three").return_value() == 3
    assert bench.field("two", "status") == "failed"
    assert bench.field("lost", "status") == "started"
    assert not bench.redis.exists("rq:job:deleted", "rq:results:deleted")
    assert set(bench.redis.zrange("rq:finished:x", 0, -1)) == {
        b"one", b"wrong_job", b"wrong_result", b"garbage_ttl",
    }  # fmt: skip
    assert bench.redis.zrange("rq:failed:y", 0, -1) == [b"two"]


def test_the_consumers_counters_rise_by_what_was_acknowledged(bench: Bench) -> None:
    bench.send("a", "b", "c", "d")
    a, b, c, d = bench.claim()
    bench.redis.zrem("rq:wip:default", member(d))
    bench.ack(done(a), failed(b), done(d))
    bench.ack(done(c)._replace(run_time=1.5))
    counters = bench.redis.hgetall(f"rq:worker:{ME}")
    assert counters == {
        b"successful_job_count": b"2", b"failed_job_count": b"1", b"total_working_time": b"2",
    }  # fmt: skip


def test_jobs_that_others_depend_on_are_named(bench: Bench) -> None:
    queue = Queue("default", connection=bench.redis, serializer=JSONSerializer)
    bench.send("alone", "parent", "failing")
    for parent in ("parent", "failing"):
        queue.enqueue(ADD, 1, job_id=f"child-of-{parent}", depends_on=bench.rq_job(parent))
    alone, parent_, failing = bench.claim()
    assert bench.ack(done(alone), done(parent_), failed(failing)) == ([], [1, 2])


# extend


def test_extending_names_the_lost_leases_and_extends_the_others(bench: Bench) -> None:
    bench.send("a", "b", "c", queue="x")
    bench.send("d", queue="y")
    a, b, c, d = claims = bench.claim("x", "y", lease=10)
    bench.end_lease(a, ago=3)
    bench.redis.zrem("rq:wip:x", member(b))
    assert bench.execute(bench.commands.extend(claims, lease=100)).lost == [1]
    assert member(b) not in bench.wip("x")
    for claim in (a, c, d):
        score = bench.wip(claim.queue)[member(claim)]
        assert score == pytest.approx(bench.now() + 100 + LEASE_MARGIN, abs=3)
    assert bench.execute(bench.commands.extend([d._replace(execution="heoriX")], lease=9)).lost == [
        0
    ]
    assert list(bench.wip("y")) == [member(d)]


# release


def test_jobs_given_back_stand_in_front_in_the_order_they_had(bench: Bench) -> None:
    bench.send("a", "b", "c", "d", "e")
    a, b, c, d = bench.claim(count=4)
    bench.send("x1", "x2", queue="x")
    x1, x2 = bench.claim("x")
    assert bench.release(a, x1, c, x2, d) == ["queued"] * 5
    assert bench.queue() == ["a", "c", "d", "e"]
    assert bench.queue("x") == ["x1", "x2"]
    assert list(bench.wip()) == [member(b)]
    job = bench.rq_job("a")
    assert job.get_status() is JobStatus.QUEUED
    assert (job.worker_name, job.started_at) == (None, None)


def test_a_delivery_that_had_not_begun_is_not_counted(bench: Bench) -> None:
    bench.send("a", "b")
    for _ in range(3):
        a, b = bench.claim()
        assert bench.release(a, counted=False, max_deliveries=1) == ["queued"]
        assert bench.release(b, max_deliveries=9) == ["queued"]
        bench.redis.lpush("rq:queue:default", bench.redis.rpop("rq:queue:default"))
    assert bench.field("a", "heori_deliveries") == "0"
    assert bench.field("b", "heori_deliveries") == "3"


@pytest.mark.parametrize("way", ["release", "reclaim"])
@pytest.mark.parametrize(("ttl", "left"), [(None, FAILURE_TTL), (b"60", 60)])
def test_the_last_delivery_becomes_a_dead_letter_with_readable_evidence(
    bench: Bench, way: str, ttl: bytes | None, left: int
) -> None:
    bench.send("a", "neighbour")
    if ttl is not None:
        bench.redis.hset("rq:job:a", "failure_ttl", ttl)
    for delivery in (1, 2, 3):
        assert bench.queue() == ["a", "neighbour"]
        [claim] = bench.claim(count=1)
        if way == "release":
            assert bench.release(claim) == ["queued" if delivery < 3 else "dead"]
        else:
            bench.end_lease(claim)
            assert bench.reclaim() == ((1, 0) if delivery < 3 else (0, 1))
    assert bench.queue() == ["neighbour"]
    assert bench.wip() == {}
    assert FailedJobRegistry("default", connection=bench.redis).get_job_ids() == ["a"]
    job = bench.rq_job("a")
    assert job.get_status() is JobStatus.FAILED
    result = job.latest_result()
    assert result is not None
    assert result.exc_string == "its consumer was lost 3 times while it ran\n"
    for key in ("rq:job:a", "rq:results:a"):
        assert bench.redis.ttl(key) == pytest.approx(left, abs=5)


@pytest.mark.parametrize("way", ["release", "reclaim"])
def test_a_dead_letter_that_cannot_be_written_as_it_should_harms_no_other(
    bench: Bench, way: str
) -> None:
    bench.send("garbage_ttl", "wrong_result", "kept_nothing", "good")
    bench.redis.hset("rq:job:garbage_ttl", "failure_ttl", "1.5")
    bench.redis.hset("rq:job:kept_nothing", "failure_ttl", "0")
    bench.redis.set("rq:results:wrong_result", "text")
    claims = bench.claim()
    if way == "release":
        assert bench.release(*claims, max_deliveries=1) == ["dead"] * 4
    else:
        for claim in claims:
            bench.end_lease(claim)
        assert bench.reclaim(max_deliveries=1) == (0, 4)
    assert bench.wip() == {}
    for name in ("garbage_ttl", "wrong_result", "good"):
        assert bench.field(name, "status") == "failed"
        assert bench.redis.zscore("rq:failed:default", name) is not None
    assert bench.redis.ttl("rq:results:garbage_ttl") == pytest.approx(FAILURE_TTL, abs=5)
    assert not bench.redis.exists("rq:job:kept_nothing", "rq:results:kept_nothing")
    result = bench.rq_job("good").latest_result()
    assert result is not None
    assert result.exc_string


@pytest.mark.parametrize("way", ["release", "reclaim"])
def test_what_was_deleted_cancelled_or_lost_meanwhile_is_not_queued_again(
    bench: Bench, way: str
) -> None:
    bench.send("deleted", "cancelled", "wrong", "kept")
    claims = bench.claim()
    bench.rq_job("cancelled").cancel()
    bench.redis.delete("rq:job:deleted", "rq:job:wrong")
    bench.redis.set("rq:job:wrong", "text")
    if way == "release":
        assert bench.release(*claims) == ["gone", "gone", "dead", "queued"]
        assert bench.release(*claims) == ["lost"] * 4
    else:
        for claim in claims:
            bench.end_lease(claim)
        assert bench.reclaim() == (1, 1)
        assert bench.reclaim() == (0, 0)
    assert bench.queue() == ["kept"]
    assert bench.wip() == {}
    assert FailedJobRegistry("default", connection=bench.redis).get_job_ids() == ["wrong"]
    result = bench.execute(bench.commands.result("wrong"))
    assert result is not None
    assert result.exc_string == UNREADABLE
    assert bench.redis.get("rq:job:wrong") == b"text"
    assert not bench.redis.exists("rq:job:deleted")
    assert bench.field("cancelled", "status") == "canceled"


# reclaim


def test_only_expired_leases_are_reclaimed_from_all_queues_in_the_old_order(bench: Bench) -> None:
    bench.send("a", "b", "c", "d")
    bench.send("x", queue="x")
    a, b, c, d = bench.claim()
    [x] = bench.claim("x")
    for claim, ago in ((a, 9), (b, 5), (d, 1), (x, 1), (c, -5)):
        bench.end_lease(claim, ago)
    bench.send("e")
    assert bench.reclaim("default", "x") == (4, 0)
    assert bench.queue() == ["a", "b", "d", "e"]
    assert bench.queue("x") == ["x"]
    assert list(bench.wip()) == [member(c)]
    assert bench.field("a", "status") == "queued"
    assert bench.ack(done(a), done(c)) == ([0], [])


def test_executions_of_stock_workers_are_left_to_rq(bench: Bench) -> None:
    bench.send("a")
    theirs = {"a:0a1b2c": bench.now() - 10, "stock:heor": 1.0, "without-execution": 1.0}
    bench.redis.zadd("rq:wip:default", theirs)
    before = bench.wip()
    assert bench.reclaim() == (0, 0)
    assert bench.wip() == before
    assert bench.queue() == ["a"]


def test_however_many_look_for_expired_leases_one_does_it_once_an_interval(bench: Bench) -> None:
    bench.send("a")
    [claim] = bench.claim()
    assert bench.reclaim(interval=60) == (0, 0)
    bench.end_lease(claim)
    assert bench.reclaim(interval=60) == (0, 0)
    assert bench.queue() == []
    assert bench.redis.pttl("rq:heori:reaper") == pytest.approx(60_000, abs=5000)
    bench.redis.delete("rq:heori:reaper")
    assert bench.reclaim(interval=60) == (1, 0)


@pytest.mark.parametrize("registry", ["finished", "failed"])
def test_jobs_whose_results_have_expired_are_struck_from_the_registries(
    bench: Bench, registry: str
) -> None:
    now = bench.now()
    kept = {"later": now + 60, "for-ever": float("inf")}
    bench.redis.zadd(f"rq:{registry}:x", {"a": 1.0, "b": now - 1, **kept})
    assert bench.reclaim("default", "x") == (0, 0)
    assert bench.redis.zrange(f"rq:{registry}:x", 0, -1) == [b"later", b"for-ever"]
    bench.redis.zadd(f"rq:{registry}:x", {f"old{n}": n for n in range(STRIKE + 1)})
    bench.reclaim("default", "x")
    assert bench.redis.zcount(f"rq:{registry}:x", "-inf", now) == 1, "not too many in one call"
    bench.redis.set(f"rq:{registry}:default", "no zset")
    bench.reclaim("default", "x")
    assert bench.redis.zcount(f"rq:{registry}:x", "-inf", now) == 0


@pytest.mark.parametrize("ago", [-20.0, 1.0, 3600.0])
def test_rq_fails_no_job_under_one_of_our_leases_not_even_when_it_has_just_expired(
    bench: Bench, ago: float
) -> None:
    bench.send("a")
    [claim] = bench.claim()
    bench.end_lease(claim, ago)
    registry = StartedJobRegistry("default", connection=bench.redis, serializer=JSONSerializer)
    registry.cleanup()
    assert registry.count == 1
    assert registry.get_job_and_execution_ids() == [("a", claim.execution)]
    assert bench.field("a", "status") == "started"
    assert FailedJobRegistry("default", connection=bench.redis).count == 0
    assert bench.reclaim() == ((1, 0) if ago > 0 else (0, 0))

    bench.end_lease(bench.claim()[0] if ago > 0 else claim, ago=LEASE_MARGIN + 5)
    registry.cleanup()
    assert bench.field("a", "status") == "failed", "after a day without any of us, it is rq's turn"


# undo


def test_what_a_claim_took_whose_reply_was_lost_is_given_back(bench: Bench) -> None:
    bench.send("a", "b", "cancelled", "deleted", "c", "d")
    bench.send("x", queue="x")
    [kept] = bench.claim(count=1)
    lost = bench.claim("default", "x", count=4)
    assert ids(lost) == ["b", "cancelled", "deleted", "c"]
    bench.rq_job("cancelled").cancel()
    bench.redis.delete("rq:job:deleted")
    bench.redis.zadd("rq:wip:default", {"stock:0a1b2c": 1})

    assert bench.undo("default", "x", token="f" * 16) == 0, "a claim that was never made"
    assert bench.undo("default", "x", token=f"{bench.calls:016x}") == 4
    assert bench.undo("default", "x", token=f"{bench.calls:016x}") == 0
    assert (set(bench.queue()[:2]), bench.queue()[2:]) == ({"b", "c"}, ["d"]), "in front"
    assert set(bench.wip()) == {member(kept), "stock:0a1b2c"}
    assert bench.field("b", "heori_deliveries") == "0", "it was not begun"
    assert bench.field("cancelled", "status") == "canceled"
    assert not bench.redis.exists("rq:job:deleted")
    assert bench.ack(done(lost[0])) == ([0], [])
    assert [claim.deliveries for claim in bench.claim()] == [1, 1, 1]


# Brokers


def test_every_script_works_on_a_server_that_has_lost_them_all(bench: Bench) -> None:
    seen: set[str] = set()
    execute = bench.execute

    class Forgetful:
        def __call__(self, command: Command[T], /) -> T:
            bench.redis.script_flush()
            if command.in_full is not None:
                seen.add(str(command.words[1]))
            return execute(command)

    bench.execute = Forgetful()
    assert bench.send("a", "b") == 2
    a, b = bench.claim()
    assert bench.execute(bench.commands.extend([a, b], lease=9)).lost == []
    assert bench.execute(bench.commands.canceled(ids([a, b]))) == []
    assert bench.release(a) == ["queued"]
    assert bench.execute(bench.commands.progress([(b, 0.5, "half")])) == 1
    assert bench.ack(done(b)) == ([], [])
    assert bench.reclaim() == (0, 0)
    assert bench.undo("default", token="f") == 0
    assert len(bench.execute(bench.commands.look(["b"], most_value=9))) == 1
    assert bench.execute(bench.commands.replay("default", ["b"], forget=(), dry_run=True)) == [
        "absent"
    ]
    assert bench.execute(bench.commands.purge("default", ["b"], dry_run=True)) == ["absent"]
    assert bench.execute(bench.commands.schedule([], consumer=ME, lock_ttl=1, batch=1)).jobs == 0
    assert bench.execute(bench.commands.resign([], consumer=ME)) == 0
    assert bench.execute(bench.commands.cancel("default", ["a"])) == [0]
    assert bench.execute(bench.commands.count([], consumer=ME, lease=1)) == {}
    # Those of the locks are called in tests/locks/test_lock_scripts.py.
    assert seen == {script(name).digest for name in CALLED if not name.startswith("lock_")}


def test_a_known_script_is_sent_by_its_digest_only(bench: Bench) -> None:
    command = bench.commands.extend([], lease=1)
    bench.execute(command)
    bench.redis.config_resetstat()
    bench.execute(command)
    stats = bench.redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in stats


def test_the_blocking_client_replaces_a_broken_connection(
    redis: redis_py.Redis, redis_url: str
) -> None:
    with RedisClient(redis_url) as client:
        for _ in range(2):
            assert client.execute(Commands().status("a")) is None
            redis.client_kill_filter(_type="normal", skipme=True)
            client.execute_many(Commands().counts("default"))
            redis.client_kill_filter(_type="normal", skipme=True)


@pytest.fixture
def lossy(redis_url: str) -> Iterator[Proxy]:
    """Stands before the server and loses its first reply to a script."""
    with proxy(urlsplit(redis_url).port or 0) as made:
        made.lose = b"EVAL"
        yield made


def test_a_producer_whose_reply_was_lost_sends_again_and_the_job_is_there_once(
    lossy: Proxy, redis: redis_py.Redis
) -> None:
    job = NewJob.create("a", Call(ADD, [1], {}), 180)
    command = Commands().enqueue("default", [job])
    redis.script_load(script("enqueue").source)
    with RedisClient(f"redis://127.0.0.1:{lossy.port}") as client:
        assert client.execute(command).new == 0, "the second time, it was there already"
    assert lossy.lost == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [b"a"]


def test_a_claim_whose_reply_was_lost_is_not_made_twice(
    lossy: Proxy, redis: redis_py.Redis, redis_url: str
) -> None:
    async def claim() -> None:
        client = AsyncRedisClient(f"redis://127.0.0.1:{lossy.port}")
        command = Commands().claim(
            ["default"], 1, lease=30, consumer=ME, token="0", max_payload=1000
        )
        with pytest.raises(RedisUnavailable, match="is away"):
            await client.execute(command)
        assert await client.execute(Commands().status("b")) == "queued"
        await client.close()

    jobs = [NewJob.create(id_, Call(ADD, [1], {}), 180) for id_ in ("a", "b")]
    with RedisClient(redis_url) as producer:
        producer.execute(Commands().enqueue("default", jobs))
    redis.script_load(script("claim").source)
    asyncio.run(claim())
    assert lossy.lost == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [b"b"]
    assert redis.zcard("rq:wip:default") == 1, "it can be undone, or the reaper will give it back"


def test_a_server_that_is_away_is_named_by_its_address_without_the_password(
    connect: Callable[[str], Execute],
) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        execute = connect(f"redis://user:secret@127.0.0.1:{port}/0")
        with pytest.raises(RedisUnavailable, match=f"Redis at 127.0.0.1:{port} is away") as caught:
            execute(Commands().status("a"))
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@example.org/3", "example.org:6379"),
        ("rediss://u:p@10.0.0.1:6380", "10.0.0.1:6380"),
        ("redis://", "127.0.0.1:6379"),
        ("unix:///run/valkey.sock?db=1", "/run/valkey.sock"),
    ],
)
def test_an_address_tells_where_and_no_password(url: str, expected: str) -> None:
    assert address(url) == expected


def test_whoever_looks_sees_queues_counts_and_consumers(bench: Bench, redis_url: str) -> None:
    bench.send("a", "b", "c", "d")
    bench.send("x", queue="with.dot")
    a, b, _ = bench.claim(count=3)
    bench.ack(done(a), failed(b))
    assert bench.execute(bench.commands.queues()) == ["default", "with.dot"]
    with RedisClient(redis_url) as client:
        counts = QueueCounts(*client.execute_many(bench.commands.counts("default")))
        assert counts == QueueCounts(
            waiting=1, scheduled=0, running=1, finished=1, failed=1, limit=None, blocked=0
        )
        client.execute_many(bench.commands.announce(ME, ["default"], {"state": "busy"}))
        client.execute_many(bench.commands.heartbeat(ME, "2026-01-02T00:00:00.0Z", "idle", 480))
    assert bench.execute(bench.commands.consumers()) == [ME]
    assert bench.execute(bench.commands.consumer(ME))["state"] == "idle"
    assert bench.redis.ttl(f"rq:worker:{ME}") == pytest.approx(480, abs=5)
    assert bench.redis.smembers("rq:workers:default") == {f"rq:worker:{ME}".encode()}
    with RedisClient(redis_url) as client:
        client.execute_many(bench.commands.retire(ME, ["default"], "2026-01-02T00:00:01.0Z"))
    assert bench.execute(bench.commands.consumers()) == []
    assert not bench.redis.exists("rq:workers:default")
    assert bench.redis.ttl(f"rq:worker:{ME}") == pytest.approx(60, abs=5)


def test_a_result_is_read_and_the_wait_for_the_next_begins_after_it(bench: Bench) -> None:
    commands = bench.commands
    assert bench.execute(commands.result("a")) is None
    assert bench.execute(commands.wait_for_result("a", 0.01)) is False
    body = b64encode(b"1")
    bench.redis.xadd("rq:results:a", {"type": "4", "worker_name": "", "return_value": body})
    assert bench.execute(commands.wait_for_result("a", 0.01)) is True
    result = bench.execute(commands.result("a"))
    assert result is not None
    assert (result.type, result.return_value, result.exc_string) == (4, body, None)
    assert bench.execute(commands.wait_for_result("a", 0.01, result.id)) is False
    bench.redis.xadd("rq:results:a", {"type": "2", "worker_name": "", "exc_string": "x"})
    assert bench.execute(commands.wait_for_result("a", 0.01, result.id)) is True
    latest = bench.execute(commands.result("a"))
    assert latest is not None
    assert (latest.type, latest.return_value, latest.exc_string) == (2, None, b"x")


def test_rqs_tools_see_a_claimed_job_and_may_delete_it(bench: Bench) -> None:
    bench.send("a", "b")
    a, b = bench.claim()
    job = bench.rq_job("a")
    assert job.is_started
    assert job.get_executions() == []
    assert isinstance(job.created_at, datetime)
    job.delete()
    assert bench.ack(done(a), done(b))[0] in ([], [0])
    assert not bench.redis.exists("rq:job:a", "rq:results:a")
    assert FinishedJobRegistry("default", connection=bench.redis).get_job_ids() == ["b"]

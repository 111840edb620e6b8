"""The script that claims jobs: which, in which order, and what is told of them."""

from collections.abc import Callable
from datetime import datetime

import msgpack
import pytest
from rq import Queue, SimpleWorker
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from heori_common.protocol.commands import (
    EXECUTION_MARK,
    LEASE_MARGIN_S,
    Claimed,
)
from heori_common.protocol.job import LockName, MalformedJob, NewJob, encode_locks, parse_options
from heori_common.protocol.payload import Call, encode_call
from heori_common.protocol.records import TOLD_IF_PLAIN, JobFields
from tests.rigs.script_bench import ADD, ME, Bench, done, failed, ids, member
from tests.rigs.stock_rq import running


def test_jobs_are_claimed_oldest_first_and_in_the_order_of_the_queues(bench: Bench) -> None:
    bench.send("low1", "low2", queue="low")
    bench.send("high1", "high2", queue="high")
    claims = bench.claim("high", "low", count=3)
    assert [(c.queue, c.job_id) for c in claims] == [
        ("high", "high1"), ("high", "high2"), ("low", "low1"),
    ]  # fmt: skip
    assert bench.queue("low") == ["low2"]
    assert ids(bench.claim("high", "low", count=3)) == ["low2"]
    assert bench.look("high", "low") == Claimed([], through=2)


def test_a_claim_leases_the_job_and_tells_where_rq_looks(bench: Bench) -> None:
    bench.send("a", "b")
    bench.redis.hset("rq:job:a", "started_at", "")  # as RQ saves a job that waits
    bench.redis.expire("rq:job:a", 1000)
    enqueued_at = bench.field("a", "enqueued_at")
    started = bench.now()
    a, b = bench.claim(lease=30.0)

    assert started <= a.claimed_at == b.claimed_at <= bench.now()
    assert a.execution != b.execution
    for claim in (a, b):
        assert claim.execution.startswith(EXECUTION_MARK)
        assert (claim.deliveries, claim.problem, claim.timeout) == (1, None, 180)
        score = bench.wip()[member(claim)]
        assert score == pytest.approx(a.claimed_at + 30 + LEASE_MARGIN_S, abs=1.001)
        assert score >= a.claimed_at + 30 + LEASE_MARGIN_S
        assert score == int(score), "rq parses scores as whole seconds"
    unpacked = msgpack.unpackb(a.fields, raw=True)
    values = JobFields(*unpacked)._asdict()
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
    assert running(registry) == [("a", a.execution), ("b", b.execution)]


def test_what_few_jobs_ask_for_is_told_of_those_only(bench: Bench) -> None:
    asks = {
        "plain": {"success_callback_name": "", "webhooks": "", "repeats_left": ""},
        "waited": {"dependency_ids": "other"},
        "repeated": {"repeats_left": "2"},
        "limited": {"rate_limit_key": "k"},
        "calls back": {"failure_callback_name": "shop.tell", "failure_callback_timeout": "9"},
        "tells": {"webhooks": "[]"},
    }
    bench.send(*asks)
    for job_id, fields in asks.items():
        bench.redis.hset(f"rq:job:{job_id}", mapping=fields)
    claims = {claim.job_id: claim for claim in bench.claim()}
    assert {name for name, claim in claims.items() if claim.special} == {
        "waited", "repeated", "limited",
    }  # fmt: skip
    assert {name for name, claim in claims.items() if claim.rest} == {"calls back", "tells"}
    words = iter(msgpack.unpackb(claims["calls back"].rest, raw=True))
    rest = dict(zip(words, words, strict=True))
    assert rest[b"failure_callback_timeout"] == b"9"
    assert rest[b"status"] == b"started"
    assert b"data" not in rest


def test_of_a_plain_job_its_worker_is_told_no_more_than_it_has(bench: Bench) -> None:
    bench.send("a")
    Queue("default", connection=bench.redis, serializer=JSONSerializer).enqueue(ADD, 1)
    for claim in bench.claim():
        assert len(msgpack.unpackb(claim.fields, raw=True)) == len(TOLD_IF_PLAIN)


@pytest.mark.parametrize("field", [*JobFields._fields, "alien"])
@pytest.mark.parametrize("lacks", ["", "group_id", "worker_name"])
def test_no_field_is_passed_over_whatever_else_is_there(
    bench: Bench, field: str, lacks: str
) -> None:
    bench.send("a")
    fields = {
        "data": encode_call(Call(ADD, [1], {})),
        "status": b"queued",
        "heori_options": b"\x80",
        "heori_locks": encode_locks([LockName("mutex", "one")]),
    }
    bench.redis.hset("rq:job:a", field, fields.get(field, b"3"))
    if lacks:  # then there may be just as many fields as of a plain one
        bench.redis.hdel("rq:job:a", lacks)
    there = bench.redis.hgetall("rq:job:a")
    [claim] = bench.claim()
    assert claim.problem is None
    told = JobFields(*msgpack.unpackb(claim.fields, raw=True))._asdict()
    assert {name: value for name, value in told.items() if value} == {
        name: there[name.encode()] for name in JobFields._fields if there.get(name.encode())
    }


OPTIONS = {"one": 17.5, "two": [b"\xff", 2, None], "three": {"a": "ä"}}


def test_what_few_jobs_ask_for_comes_with_a_claim(bench: Bench) -> None:
    call = Call(ADD, [1], {"b": 2})
    asks, plain = (NewJob.create(n, call, 180, options=o) for n, o in (("a", OPTIONS), ("b", {})))
    bench.execute(bench.commands.enqueue("default", [asks, plain]))
    assert not bench.redis.hexists("rq:job:b", "heori_options")
    fields = [
        JobFields(*msgpack.unpackb(claim.fields, raw=True)).heori_options for claim in bench.claim()
    ]
    assert parse_options(fields[1]) == {}
    assert parse_options(fields[0]) == OPTIONS | {"two": ["\udcff", 2, None]}


@pytest.mark.parametrize(
    "field", [b"\xc1", b"\x81", b"\x93\x01\x02\x03", b"x", b"\x80" * 70_000, b"\x91" * 60_000]
)
@pytest.mark.usefixtures("full_stack")
def test_options_without_a_meaning_stop_their_job_alone(bench: Bench, field: bytes) -> None:
    bench.send("a", "b")
    bench.redis.hset("rq:job:a", "heori_options", field)
    a, b = bench.claim()
    assert (a.problem, b.problem) == ("its heori_options have no meaning", None)
    with pytest.raises(MalformedJob, match="its heori_options have no meaning"):
        parse_options(field)


def test_what_is_too_large_for_a_claim_is_left_to_the_worker(bench: Bench) -> None:
    bench.send("a", "b")
    for job_id in "ab":
        large = {"success_callback_name": "x", "meta": "m" * 600_000}
        bench.redis.hset(f"rq:job:{job_id}", mapping=large)
    bench.redis.hset("rq:job:b", "result", "r" * 600_000)
    whole, cut = (
        dict(zip(words[::2], words[1::2], strict=True))
        for words in (msgpack.unpackb(claim.rest, raw=True) for claim in bench.claim())
    )
    assert len(whole[b"meta"]) == 600_000
    assert b"" not in whole
    assert cut[b"success_callback_name"] == b"x"
    assert cut[b""] == b""
    assert len(cut.keys() & {b"meta", b"result"}) == 1


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


def by_stock_rq(bench: Bench, queue: Queue) -> None:
    SimpleWorker([queue], connection=bench.redis, serializer=JSONSerializer).work(burst=True)


def by_heori(bench: Bench, _: Queue) -> None:
    [claim] = bench.claim()
    bench.ack(failed(claim))


def by_nobody(bench: Bench, queue: Queue) -> None:
    canceled = RqJob.fetch("a", connection=bench.redis, serializer=JSONSerializer)
    canceled.cancel()
    bench.redis.expire("rq:job:a", 100)


@pytest.mark.parametrize(
    ("run", "again"),
    [
        (by_stock_rq, "same id"),
        (by_stock_rq, "fetched"),
        (by_heori, "same id"),
        (by_heori, "requeued"),
        (by_heori, "fetched"),
        (by_nobody, "same id"),
        (by_nobody, "fetched"),
    ],
)
def test_what_heori_has_sent_does_not_expire_with_what_came_of_it(
    bench: Bench, run: Callable[[Bench, Queue], None], again: str
) -> None:
    queue = Queue("default", connection=bench.redis, serializer=JSONSerializer)
    bench.send("a")
    run(bench, queue)
    assert bench.redis.ttl("rq:job:a") > 0
    if again == "same id":
        queue.enqueue(ADD, 1, job_id="a")
    else:
        job = RqJob.fetch("a", connection=bench.redis, serializer=JSONSerializer)
        job.requeue() if again == "requeued" else queue.enqueue_job(job)
    [claim] = bench.claim()
    assert claim.job_id == "a"
    assert bench.redis.ttl("rq:job:a") == -1


def test_a_job_of_heori_that_rq_lets_wait_for_so_long_does_not_expire_while_it_runs(
    bench: Bench,
) -> None:
    bench.send("a", queue="elsewhere")
    job = RqJob.fetch("a", connection=bench.redis, serializer=JSONSerializer)
    job.ttl = 60
    Queue("default", connection=bench.redis, serializer=JSONSerializer).enqueue_job(job)
    bench.redis.expire("rq:job:a", 60)
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
    assert bench.look() == Claimed([], empty=False, gone=(("default", "nobody"),), through=1)
    assert bench.look() == Claimed([], empty=True, through=1)


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
    assert bench.ack(done(first)) == []
    bench.redis.rpush("rq:queue:default", "a")
    assert bench.claim() == [], "it has finished"


def test_an_id_whose_other_delivery_has_lost_its_lease_is_claimed(bench: Bench) -> None:
    bench.send("a")
    [lost] = bench.claim()
    bench.redis.zrem("rq:wip:default", member(lost))
    bench.redis.rpush("rq:queue:default", "a")
    [claim] = bench.claim()
    assert claim.deliveries == 2
    assert bench.ack(done(lost)) == [0]
    assert bench.ack(done(claim)) == []


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
    assert [bool(claim.fields) for claim in claims] == [c.problem is None for c in claims]
    assert bench.ack(*(done(c) if c.problem is None else failed(c) for c in claims)) == []
    assert bench.wip() == {}
    failures = FailedJobRegistry("default", connection=bench.redis).get_job_ids()
    assert sorted(failures) == ["binary", "large", "nodata", "status", "wrong"]
    assert bench.redis.lrange("rq:job:wrong", 0, -1) == [b"a list"], "it is not ours to repair"
    assert bench.redis.xlen("rq:results:wrong") == 1
    for job_id in ("nodata", "large", "status", "binary"):
        assert bench.field(job_id, "status") == "failed"


def test_a_claim_of_large_jobs_ends_at_a_megabyte_and_leaves_the_rest_in_order(
    bench: Bench,
) -> None:
    sent = [f"a{n}" for n in range(6)]
    bench.send(*sent)
    bench.send("b", queue="other")
    for job_id in sent[:5]:
        bench.redis.hset(f"rq:job:{job_id}", "data", b"x" * 400_000)
    bench.redis.hset("rq:job:a3", "data", b"x" * 3_000_000)
    order = ("default", "other")
    assert ids(bench.claim(*order, max_payload=5_000_000)) == ["a0", "a1", "a2"]
    assert bench.queue() == ["a3", "a4", "a5"]
    assert ids(bench.claim(*order, max_payload=5_000_000)) == ["a3"], "one it is at least"
    [refused, *others] = bench.claim(*order, max_payload=399_999)
    assert refused.problem == "its payload of 400000 bytes is over the limit of 399999"
    assert ids(others) == ["a5", "b"]
    assert bench.look(*order).empty


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
    assert bench.look() == Claimed([], suspended=True, through=1)
    assert bench.everything() == before
    resume(bench.redis)
    assert ids(bench.claim()) == ["a"]


def test_rqs_tools_see_a_claimed_job_and_may_delete_it(bench: Bench) -> None:
    bench.send("a", "b")
    a, b = bench.claim()
    job = bench.rq_job("a")
    assert job.is_started
    assert job.get_executions() == []
    assert isinstance(job.created_at, datetime)
    job.delete()
    assert bench.ack(done(a), done(b)) in ([], [0])
    assert not bench.redis.exists("rq:job:a", "rq:results:a")
    assert FinishedJobRegistry("default", connection=bench.redis).get_job_ids() == ["b"]


def test_a_claim_notes_in_one_command_which_queues_have_leases(bench: Bench) -> None:
    queues = [f"queue-{n}" for n in range(20)]
    for queue in queues[:15]:
        bench.send(f"of-{queue}", queue=queue)
    bench.redis.config_resetstat()
    assert len(bench.claim(*queues)) == 15
    assert bench.redis.info("commandstats")["cmdstat_sadd"]["calls"] == 1
    leased = bench.redis.smembers(bench.commands.keys.leased())
    assert leased == {queue.encode() for queue in queues[:15]}

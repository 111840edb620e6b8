"""The script that acknowledges jobs: what RQ reads of it, and that a lost lease refuses it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from rq import Queue
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.results import Result as RqResult
from rq.serializers import DefaultSerializer, JSONSerializer

from heori_common.protocol.commands import (
    FAILURE_TTL_S,
    RESULT_TTL_S,
)
from heori_common.protocol.job import FAILED, FINISHED, RETRY, Claim, Outcome, RetryLater, Settled
from heori_common.protocol.payload import encode_failure, encode_result
from tests.rigs.script_bench import ADD, ME, Bench, done, failed, member
from tests.rigs.stock_rq import READS_ALL, VERSION
from tests.rigs.waiting import about


@pytest.mark.parametrize("serializer", [JSONSerializer, DefaultSerializer])
@pytest.mark.parametrize("value", [3, None, {"a": ["힐"]}])
def test_rq_reads_the_results_of_our_jobs(bench: Bench, serializer: Any, value: Any) -> None:
    queue = Queue("mail", connection=bench.redis, serializer=serializer)
    job_id = queue.enqueue(ADD, 1).id
    [claim] = bench.claim("mail")
    name: Any = "json" if serializer is JSONSerializer else "pickle"
    body = None if value is None else encode_result(json.dumps(value).encode(), name)
    assert bench.ack((claim, Outcome(FINISHED, body, run_time=1.5))) == []

    job = bench.rq_job(job_id, serializer)
    assert job.get_status() is JobStatus.FINISHED
    assert job.return_value() == value
    result = job.latest_result()
    assert result is not None
    assert result.type == RqResult.Type.SUCCESSFUL
    if VERSION >= READS_ALL:
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


def test_what_a_job_took_is_kept_beside_what_rq_reads_unless_it_was_short(bench: Bench) -> None:
    bench.send("long", "waited", "failed", "short")
    long, waited, fails, short = bench.claim()
    body = encode_result(b"3", "json")
    ended = Outcome(FINISHED, body, run_time=0.02, cpu_time=0.0125)
    refused = bench.ack(
        (long, ended),
        (waited, ended._replace(gil_time=1.5)),
        (fails, ended._replace(status=FAILED, body=encode_failure("no\n"))),
        (short, ended._replace(run_time=0.009)),
    )
    assert refused == []
    kept = {}
    for name in ("long", "waited", "failed", "short"):
        [(_, fields)] = bench.redis.xrange(f"rq:results:{name}")
        kept[name] = fields.get(b"heori_cpu"), fields.get(b"heori_gil")
    assert kept == {
        "long": (b"0.012500", None),
        "waited": (b"0.012500", b"1.500"),
        "failed": (b"0.012500", None),
        "short": (None, None),
    }
    assert [bench.rq_job(name).return_value() for name in ("long", "waited", "short")] == [3, 3, 3]


def test_an_entry_that_is_in_a_batch_twice_ends_its_job_once(bench: Bench) -> None:
    bench.send("a", "b")
    a, b = bench.claim()
    assert bench.ack(done(a), done(a), done(b)) == []
    assert [bench.redis.xlen(f"rq:results:{name}") for name in ("a", "b")] == [1, 1]
    assert bench.redis.hget(f"rq:worker:{ME}", "successful_job_count") == b"2"
    assert bench.redis.zcard("rq:wip:default") == 0


def test_rq_reads_the_tracebacks_of_our_jobs_and_requeues_them(bench: Bench) -> None:
    bench.send("a")
    [claim] = bench.claim()
    assert bench.ack(failed(claim, "Traceback …\nValueError: 힐\n")) == []
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
    assert bench.ack(done(again)) == []
    assert bench.rq_job("a").return_value() == 3


@pytest.mark.parametrize(
    ("written", "succeeded", "ttl"),
    [
        (None, True, RESULT_TTL_S),
        (None, False, FAILURE_TTL_S),
        (b"60", True, 60),
        (b"60", False, 60),
        (b"-1", True, None),
        (b"-1", False, None),
        (b"0", True, 0),
        (b"0", False, 0),
        *((garbage, True, RESULT_TTL_S) for garbage in (b"", b"abc", b"1.5", b"nan", b"9" * 30)),
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
    assert bench.ack(done(a) if succeeded else failed(a), done(b)) == []

    registry = "rq:finished:default" if succeeded else "rq:failed:default"
    score = bench.redis.zscore(registry, "a")
    times = (bench.redis.ttl("rq:job:a"), bench.redis.ttl("rq:results:a"))
    if ttl == 0:
        assert (times, score) == ((-2, -2), None)
    elif ttl is None:
        assert (times, score) == ((-1, -1), float("inf") if succeeded else -1), "as rq writes it"
    else:
        assert times == (about(ttl), about(ttl))
        assert score - bench.now() == about(ttl)
    assert bench.field("b", "status") == "finished"
    assert bench.redis.ttl("rq:results:b") == about(RESULT_TTL_S)


@pytest.mark.parametrize("end", [done, failed])
def test_an_acknowledgement_without_the_lease_is_refused_and_changes_nothing(
    bench: Bench, end: Callable[[Claim], Settled]
) -> None:
    bench.send("a", "b")
    a, b = bench.claim()
    bench.redis.zrem("rq:wip:default", member(a))
    before = bench.everything()
    other = b._replace(execution=a.execution)
    assert bench.ack(end(a), end(other), end(b._replace(job_id="nobody"))) == [0, 1, 2]
    assert bench.everything() == before
    assert bench.ack(end(b)) == []
    before = bench.everything()
    assert bench.ack(end(b)) == [], "its reply was lost, and it is sent again"
    assert bench.everything() == before


def test_what_was_accepted_is_no_refusal_when_it_is_sent_again(bench: Bench) -> None:
    """Its reply was lost; and so was who waits for it."""
    retry_now = Outcome(RETRY, retry=RetryLater(0.0, 2))
    bench.send("finished", "failed", "retried", "later", "unkept", "in-time", "too-late", "dead")
    bench.redis.hset("rq:job:unkept", "result_ttl", "0")
    claims = {claim.job_id: claim for claim in bench.claim()}
    bench.redis.sadd("rq:job:finished:dependents", "next")
    batch = [
        done(claims["finished"]),
        failed(claims["failed"]),
        (claims["retried"], retry_now),
        (claims["later"], Outcome(RETRY, retry=RetryLater(60.0, 2))),
        done(claims["unkept"]),
    ]
    assert bench.ack(*batch) == []
    [again] = bench.claim()
    assert again.job_id == "retried"
    bench.end_lease(claims["too-late"])
    assert bench.reclaim() == (1, 0)
    bench.forget_looks()
    assert bench.ack(done(claims["too-late"])) == [0], "its delivery counts no more now"
    assert bench.release(claims["dead"], max_deliveries=1) == ["dead"]
    before = bench.everything()
    assert bench.ack(
        *batch,
        done(claims["too-late"]),
        failed(claims["dead"]),
        (claims["too-late"], retry_now),
        done(again._replace(execution="another")),
    ) == [5, 6, 7, 8]
    assert bench.everything() == before
    assert bench.ack(done(claims["in-time"]), done(again)) == []


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

    refused, _, broken, *_ = bench.execute(bench.commands.ack(ended, consumer=ME))
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
    bench.ack((c, Outcome(FINISHED, run_time=1.5)))
    counters = bench.redis.hgetall(f"rq:worker:{ME}")
    assert counters == {
        b"successful_job_count": b"2", b"failed_job_count": b"1", b"total_working_time": b"2",
    }  # fmt: skip


def test_a_job_of_a_batch_costs_six_commands(bench: Bench) -> None:
    jobs = 64
    bench.send(*(f"{n}" for n in range(jobs)))
    bench.redis.config_resetstat()
    assert bench.ack(*(done(claim) for claim in bench.claim())) == []
    used: dict[str, Any] = bench.redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): told["calls"] for name, told in used.items()}
    each = {name: number // jobs for name, number in calls.items() if number >= jobs}
    assert each == {"hmget": 1, "hset": 2, "expire": 2, "xadd": 1}
    assert sum(calls.values()) <= 6 * jobs + 20, "and a few for all together"

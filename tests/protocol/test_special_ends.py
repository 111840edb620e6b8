"""Ends of jobs that carry more than others: returned retries, repeats, rate limits, a ttl."""

import json
from typing import Any

import pytest
from rq import Queue
from rq.job import JobStatus
from rq.registry import FailedJobRegistry
from rq.results import Result as RqResult
from rq.serializers import JSONSerializer

from heori_common.protocol.commands import FAILURE_TTL_S, RESULT_TTL_S
from heori_common.protocol.job import (
    FINISHED,
    RETRIED,
    RETRY,
    SETTLED,
    STOPPED,
    UNKNOWN_HERE,
    Claim,
    Outcome,
    RetryLater,
    ReturnedRetry,
    Settled,
)
from heori_common.protocol.payload import encode_failure, encode_result
from tests.rigs.script_bench import ADD, ME, Bench, done, failed, ids
from tests.rigs.stock_rq import READS_ALL, VERSION
from tests.rigs.waiting import about

AGAIN = ReturnedRetry(2, [0.0, 60.0], False)
RETRY_NOW = Outcome(RETRY, retry=RetryLater(0.0, 1))
RETRY_LATER = Outcome(RETRY, retry=RetryLater(60.0, 1))


def send(bench: Bench, job_id: str, **fields: Any) -> None:
    bench.send(job_id)
    if fields:
        bench.redis.hset(f"rq:job:{job_id}", mapping=fields)


def returned(claim: Claim, again: ReturnedRetry = AGAIN) -> Settled:
    return claim, Outcome(RETRIED, encode_result(b'"Retry"', "json"), run_time=0.25, again=again)


def ack_twice(bench: Bench, *ended: Settled) -> None:
    """As when the reply to the first is lost: the second changes nothing."""
    assert bench.ack(*ended) == []
    before = bench.everything()
    assert bench.ack(*ended) == []
    assert bench.everything() == before


def results(bench: Bench, job_id: str) -> list[bytes]:
    return [fields[b"type"] for _, fields in bench.redis.xrange(f"rq:results:{job_id}")]


# Retries that a job returns


def test_a_returned_retry_runs_again_and_is_written_as_rq_does(bench: Bench) -> None:
    send(bench, "a")
    [claim] = bench.claim()
    ack_twice(bench, returned(claim))
    assert bench.queue() == ["a"]
    assert bench.field("a", "number_of_retries") == "1"
    assert bench.field("a", "ended_at")
    assert results(bench, "a") == [b"4"]
    if VERSION >= READS_ALL:
        job = bench.rq_job("a")
        assert job.get_status() is JobStatus.QUEUED
        result = job.latest_result()
        assert result is not None
        assert (result.type, result.return_value) == (RqResult.Type.RETRIED, "Retry")
    assert bench.redis.ttl("rq:results:a") == about(FAILURE_TTL_S)
    [claim] = bench.claim()
    assert claim.deliveries == 1, "another try"
    ack_twice(bench, returned(claim))
    assert bench.queue() == []
    assert bench.redis.zscore("rq:scheduled:default", "a") - bench.now() == about(60)
    assert bench.field("a", "status") == "scheduled"
    counters = bench.redis.hgetall(f"rq:worker:{ME}")
    assert counters[b"failed_job_count"] == b"2"


def test_after_as_many_returned_retries_as_it_may_have_a_job_fails(bench: Bench) -> None:
    send(bench, "a", number_of_retries=2)
    [claim] = bench.claim()
    ack_twice(bench, returned(claim))
    assert results(bench, "a") == [b"5"]
    assert bench.field("a", "status") == "failed"
    assert FailedJobRegistry("default", connection=bench.redis).get_job_ids() == ["a"]
    assert bench.field("a", "number_of_retries") == "2"
    if VERSION >= READS_ALL:
        result = bench.rq_job("a").latest_result()
        assert result is not None
        assert result.type.name == "MAX_RETRIES_EXCEEDED"
        assert (result.return_value, result.exc_string) == ("Retry", None)


def test_a_returned_retry_may_ask_for_the_front(bench: Bench) -> None:
    for job_id in ("a", "b"):
        send(bench, job_id)
    [claim] = bench.claim(count=1)
    bench.ack(returned(claim, AGAIN._replace(at_front=True)))
    assert bench.queue() == ["a", "b"]
    assert bench.field("a", "enqueue_at_front_on_retry") == "1"


@pytest.mark.parametrize("job_id", ["a", "b"])
def test_a_job_that_was_deleted_meanwhile_is_not_retried(bench: Bench, job_id: str) -> None:
    send(bench, "a")
    send(bench, "b", repeats_left=1)
    claims = {claim.job_id: claim for claim in bench.claim()}
    bench.redis.delete("rq:job:a", "rq:job:b")
    bench.ack(returned(claims["a"]) if job_id == "a" else done(claims["b"]))
    assert not bench.redis.exists(f"rq:job:{job_id}", f"rq:results:{job_id}", "rq:queue:default")


# Repeats


@pytest.mark.parametrize("result_ttl", [None, 0, -1, 700])
def test_a_job_repeats_as_often_as_it_says(bench: Bench, result_ttl: int | None) -> None:
    fields: dict[str, Any] = {"repeats_left": 3, "repeat_intervals": "[0, 60]"}
    send(bench, "a", **fields if result_ttl is None else {**fields, "result_ttl": result_ttl})
    [claim] = bench.claim()
    ack_twice(bench, done(claim))
    kept = result_ttl != 0
    assert bench.queue() == ["a"]
    assert results(bench, "a") == [b"1"] * kept
    assert bool(bench.redis.zscore("rq:finished:default", "a")) == kept
    assert bench.field("a", "repeats_left") == "2"
    assert json.loads(bench.field("a", "repeat_intervals") or "") == [60]
    assert bench.redis.ttl("rq:job:a") == -1, "it is to run again"
    [claim] = bench.claim()
    assert claim.deliveries == 1
    ack_twice(bench, done(claim))
    assert bench.field("a", "status") == "scheduled"
    assert bench.redis.zscore("rq:scheduled:default", "a") - bench.now() == about(60)
    assert json.loads(bench.field("a", "repeat_intervals") or "") == [60], "the last one stays"
    for left in ("0", None if result_ttl == 0 else "0"):
        bench.redis.zrem("rq:scheduled:default", "a")
        bench.redis.hset("rq:job:a", "status", "queued")
        bench.redis.rpush("rq:queue:default", "a")
        [claim] = bench.claim()
        ack_twice(bench, done(claim))
        assert bench.field("a", "repeats_left") == left
    assert bench.field("a", "status") == ("finished" if kept else None)
    ttl = {None: RESULT_TTL_S, 0: -2, -1: -1, 700: 700}[result_ttl]
    assert bench.redis.ttl("rq:job:a") == about(ttl)


@pytest.mark.parametrize("text", ["abc", "{}", '["a", null]', "[-1, {}]", "[" * 1000, b"\xff"])
@pytest.mark.usefixtures("full_stack")
def test_intervals_of_no_meaning_are_none(bench: Bench, text: str | bytes) -> None:
    send(bench, "a", repeats_left=2, repeat_intervals=text)
    bench.ack(*map(done, bench.claim()))
    assert bench.queue() == ["a"]
    send(bench, "b", retries_left=1, retry_intervals=text)
    claims = {claim.job_id: claim for claim in bench.claim()}
    bench.ack(done(claims["a"]))
    assert bench.release(claims["b"]) == ["queued"]
    assert bench.queue() == ["a", "b"]
    again = ReturnedRetry(1, ["a", None], False)  # type: ignore[list-item]
    [claim, _] = bench.claim()
    bench.ack(returned(claim, again))
    assert bench.queue() == ["a"]


@pytest.mark.parametrize("ends", ["repeat", "retry", "returned"])
def test_only_a_retry_goes_to_the_front(bench: Bench, ends: str) -> None:
    send(bench, "a", repeats_left=1, enqueue_at_front_on_retry=1)
    send(bench, "b")
    [claim] = bench.claim(count=1)
    outcomes = {"repeat": done(claim), "retry": (claim, RETRY_NOW), "returned": returned(claim)}
    bench.ack(outcomes[ends])
    assert bench.queue() == (["b", "a"] if ends == "repeat" else ["a", "b"])


def test_what_fails_does_not_repeat(bench: Bench) -> None:
    send(bench, "a", repeats_left=3)
    [claim] = bench.claim()
    ack_twice(bench, failed(claim))
    assert bench.field("a", "status") == "failed"
    assert bench.queue() == []


# A ttl


@pytest.mark.parametrize("ends", ["retry", "later", "returned", "repeat", "given back", "unknown"])
def test_each_time_that_a_job_waits_its_ttl_begins_anew(bench: Bench, ends: str) -> None:
    send(bench, "a", ttl=100, repeats_left=1)
    [claim] = bench.claim()
    assert bench.redis.ttl("rq:job:a") == -1
    if ends == "given back":
        assert bench.release(claim, counted=False) == ["queued"]
    else:
        outcomes = {
            "retry": (claim, RETRY_NOW),
            "later": (claim, RETRY_LATER),
            "returned": returned(claim),
            "repeat": done(claim),
            "unknown": (claim, Outcome(UNKNOWN_HERE, encode_failure("no\n"))),
        }
        bench.ack(outcomes[ends])
    assert bench.redis.ttl("rq:job:a") == about(100)


# Rate limits


def limited(bench: Bench, *job_ids: str, most: int = 1) -> None:
    """As rq's Queue.enqueue leaves them with a RateLimit."""
    for job_id in job_ids:
        send(bench, job_id, rate_limit_key="k", rate_limit_concurrency=most, status="rate_limited")
    bench.redis.delete("rq:queue:default")
    bench.redis.sadd("rq:rl-keys", "k")
    bench.redis.hset("rq:rl:k", "concurrency", most)
    for job_id in job_ids[:most]:
        bench.redis.zadd("rq:rl:k:allowed", {job_id: bench.now()})
        bench.redis.hset(f"rq:job:{job_id}", "status", "queued")
        bench.redis.rpush("rq:queue:default", job_id)
    for number, job_id in enumerate(job_ids[most:]):
        bench.redis.zadd("rq:rl:k:rate_limited", {job_id: number})


def allowed(bench: Bench) -> list[str]:
    return [member.decode() for member in bench.redis.zrange("rq:rl:k:allowed", 0, -1)]


def keys_of_limits(bench: Bench) -> list[bytes]:
    return [*bench.redis.scan_iter("rq:rl*")]


def test_one_job_after_the_other_gets_the_slot_of_a_limit(bench: Bench) -> None:
    limited(bench, "a", "b", "c", "d")
    bench.redis.hset("rq:job:c", "result_ttl", 0)
    for job_id in "abcd":
        assert (bench.queue(), allowed(bench)) == ([job_id], [job_id])
        [claim] = bench.claim()
        stopped = (claim, Outcome(STOPPED, encode_failure("stopped\n")))
        ack_twice(bench, {"a": failed(claim), "b": stopped}.get(job_id) or done(claim))
    assert keys_of_limits(bench) == []


@pytest.mark.parametrize(
    ("outcome", "keeps"),
    [
        (RETRY_NOW, True),
        (RETRY_LATER, False),
        (Outcome(RETRIED, again=ReturnedRetry(3, [0], False)), True),
        (Outcome(RETRIED, again=ReturnedRetry(3, [9], False)), False),
        (Outcome(UNKNOWN_HERE, encode_failure("no\n")), False),
        (Outcome(FINISHED), True),
    ],
    ids=["retry", "later", "returned", "returned, later", "unknown", "repeat"],
)
def test_a_job_that_is_queued_again_at_once_keeps_its_slot(
    bench: Bench, outcome: Outcome, keeps: bool
) -> None:
    limited(bench, "a", "b")
    bench.redis.hset("rq:job:a", "repeats_left", 1)
    [claim] = bench.claim()
    ack_twice(bench, (claim, outcome))
    assert allowed(bench) == (["a"] if keeps else ["b"])
    assert bench.queue() == allowed(bench)


def test_a_scheduled_job_waits_for_a_slot_when_it_is_due(bench: Bench) -> None:
    limited(bench, "a", "b")
    bench.redis.hset("rq:job:b", "ttl", 100)
    bench.redis.zrem("rq:rl:k:rate_limited", "b")
    bench.redis.hset("rq:job:b", "status", "scheduled")
    bench.redis.zadd("rq:scheduled:default", {"b": bench.now() - 1})
    command = bench.commands.enqueue_due(["default"], consumer=ME, lock_ttl=60.0, batch=10)
    assert bench.execute(command).jobs == 1
    assert bench.queue() == ["a"]
    assert bench.field("b", "status") == "rate_limited"
    assert bench.redis.ttl("rq:job:b") == about(100)
    [claim] = bench.claim()
    bench.ack(done(claim))
    assert bench.queue() == ["b"]


def test_a_slot_is_freed_by_whatever_ends_a_job(bench: Bench) -> None:
    limited(bench, "crashed", "canceled", "waiting", "back", "last")
    [claim] = bench.claim()
    assert bench.release(claim, max_deliveries=1) == ["dead"]
    assert bench.queue() == ["canceled"]
    assert bench.execute(bench.commands.cancel("default", ["canceled", "back"])) == [0, 1]
    assert allowed(bench) == ["waiting"]
    [claim] = bench.claim()
    assert bench.release(claim) == ["queued"], "it keeps its slot"
    assert allowed(bench) == ["waiting"]
    [claim] = bench.claim()
    bench.redis.delete("rq:job:waiting")
    bench.ack(done(claim))
    assert allowed(bench) == ["last"]
    [claim] = bench.claim()
    bench.redis.hset("rq:job:last", "status", "canceled")
    assert bench.release(claim) == ["gone"]
    assert keys_of_limits(bench) == []


def test_spoilt_keys_of_a_limit_keep_no_job_from_its_end(bench: Bench) -> None:
    limited(bench, "a")
    [claim] = bench.claim()
    bench.redis.delete("rq:rl:k:allowed")
    bench.redis.set("rq:rl:k:allowed", "text")
    ack_twice(bench, done(claim))
    assert bench.field("a", "status") == "finished"


# Deaths


@pytest.mark.parametrize("most", [1, 2])
def test_a_job_that_dies_uses_its_retries_and_runs_as_often_as_with_rq(
    bench: Bench, most: int
) -> None:
    send(bench, "a", retries_left=most, retry_intervals="[0]")
    for left in range(most, 0, -1):
        [claim] = bench.claim()
        assert claim.is_suspect == (left < most), "then it runs alone"
        assert bench.release(claim) == ["queued"]
        assert bench.release(claim) == ["lost"]
        assert bench.field("a", "retries_left") == str(left - 1)
        assert bench.ack(done(claim)) == [0], "it has lost its lease"
    [claim] = bench.claim()
    assert bench.release(claim) == ["dead"]
    assert bench.field("a", "status") == "failed"


def test_the_retry_of_a_job_that_died_comes_when_its_interval_says(bench: Bench) -> None:
    send(bench, "a", retries_left=2, retry_intervals="[60, 5]", ttl=100)
    [claim] = bench.claim()
    assert bench.release(claim) == ["queued"]
    assert bench.redis.zscore("rq:scheduled:default", "a") - bench.now() == about(60)
    assert bench.redis.ttl("rq:job:a") == about(100)


def test_a_job_without_retries_is_delivered_as_often_as_any(bench: Bench) -> None:
    send(bench, "a")
    send(bench, "b", retries_left=0)
    for fate in ("queued", "queued", "dead"):
        assert bench.release(*bench.claim(), max_deliveries=3) == [fate] * 2


# What else an end is


def test_an_unknown_job_is_retried_when_it_has_waited_for_long_enough(bench: Bench) -> None:
    send(bench, "a", retries_left=2)
    [claim] = bench.claim()
    outcome = Outcome(UNKNOWN_HERE, encode_failure("no\n"), retry=RetryLater(0.0, 1))
    told = bench.execute(bench.commands.ack([(claim, outcome)], consumer=ME))
    assert (len(told.pauses), told.given_up) == (1, [])
    bench.redis.hset("rq:job:a", mapping={"status": "queued", "heori_unknown_since": 1})
    bench.redis.rpush("rq:queue:default", "a")
    [claim] = bench.claim()
    told = bench.execute(bench.commands.ack([(claim, outcome)], consumer=ME))
    assert (told.pauses, told.given_up) == ([], [0])
    assert bench.queue() == ["a"]
    assert bench.field("a", "retries_left") == "1"
    assert results(bench, "a") == []


@pytest.mark.parametrize("ends", ["failed", "stopped", "dead", "settled"])
def test_a_job_that_is_queued_again_after_its_end_is_no_suspect(bench: Bench, ends: str) -> None:
    send(bench, "a")
    bench.release(*bench.claim())
    [claim] = bench.claim()
    if ends == "dead":
        assert bench.release(claim, max_deliveries=1) == ["dead"]
    elif ends == "settled":
        bench.redis.zrem("rq:wip:default", f"a:{claim.execution}")  # as rq's own code does
        ack_twice(bench, (claim, Outcome(SETTLED)))
        bench.redis.zadd("rq:failed:default", {"a": bench.now() + 60})
    else:
        stopped = (claim, Outcome(STOPPED, encode_failure("stopped\n")))
        ack_twice(bench, failed(claim) if ends == "failed" else stopped)
    FailedJobRegistry("default", connection=bench.redis).requeue(bench.rq_job("a"))
    [claim] = bench.claim()
    assert (claim.deliveries, claim.is_suspect) == (1, False)
    assert bench.field("a", "heori_earlier") == "2"


def test_what_was_settled_where_it_ran_may_be_gone(bench: Bench) -> None:
    send(bench, "a")
    [claim] = bench.claim()
    bench.redis.delete("rq:job:a", "rq:wip:default")
    ack_twice(bench, (claim, Outcome(SETTLED)))
    assert not bench.redis.exists("rq:job:a", f"rq:worker:{ME}")


def test_what_is_kept_for_ever_stays_in_the_failed_registry(bench: Bench) -> None:
    send(bench, "a", failure_ttl=-1)
    send(bench, "b", failure_ttl=1)
    bench.ack(*(failed(claim) for claim in bench.claim()))
    bench.redis.zadd("rq:failed:default", {"b": 1, "stock": -1})
    bench.reclaim()
    assert bench.redis.zrange("rq:failed:default", 0, -1) == [b"a", b"stock"]
    FailedJobRegistry("default", connection=bench.redis).cleanup()
    assert bench.redis.zscore("rq:failed:default", "a") == -1


def test_what_a_job_waited_for_is_known_no_longer_than_the_job(bench: Bench) -> None:
    queue = Queue("default", connection=bench.redis, serializer=JSONSerializer)
    for end, ttl in (("well", RESULT_TTL_S), ("ill", FAILURE_TTL_S), ("unkept", -2), ("dead", 900)):
        bench.send(f"parent-of-{end}")
        parent = bench.rq_job(f"parent-of-{end}")
        failure_ttl = 900 if end == "dead" else None
        queue.enqueue(ADD, 1, job_id=end, depends_on=parent, failure_ttl=failure_ttl)
        if end == "unkept":
            bench.redis.hset("rq:job:unkept", "result_ttl", 0)
        bench.ack(*map(done, bench.claim()))
        [claim] = bench.claim()
        assert (ids([claim]), claim.special) == ([end], True)
        if end == "dead":
            bench.release(claim, max_deliveries=1)
        else:
            ack_twice(bench, failed(claim) if end == "ill" else done(claim))
        known = bench.redis.ttl(f"rq:job::{end}:dependencies")
        assert known == about(ttl), end

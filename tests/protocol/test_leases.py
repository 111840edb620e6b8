"""The scripts that extend leases, and those that give jobs back whose lease has ended."""

import pytest
from rq.job import JobStatus
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from heori_common.protocol.commands import (
    FAILURE_TTL_S,
    LEASE_MARGIN_S,
)
from heori_common.protocol.commands.builder import COME_BACK_S, UNREADABLE
from heori_common.protocol.commands.delivery import MOST_STRUCK
from heori_common.protocol.job import FAILED, Outcome, RetryLater, begun_and_returned
from heori_common.protocol.payload import encode_failure
from tests.rigs.script_bench import Bench, done, ids, member
from tests.rigs.stock_rq import running
from tests.rigs.waiting import about


def test_extending_names_the_lost_leases_and_extends_the_others(bench: Bench) -> None:
    bench.send("a", "b", "c", queue="x")
    bench.send("d", queue="y")
    a, b, c, d = claims = bench.claim("x", "y", lease=10)
    bench.end_lease(a, ago=3)
    bench.redis.zrem("rq:wip:x", member(b))
    assert bench.execute(bench.commands.extend_leases(claims, lease=100)).lost == [1]
    assert member(b) not in bench.wip("x")
    for claim in (a, c, d):
        score = bench.wip(claim.queue)[member(claim)]
        assert score - bench.now() == about(100 + LEASE_MARGIN_S)
    assert bench.execute(
        bench.commands.extend_leases([d._replace(execution="heoriX")], lease=9)
    ).lost == [0]
    assert list(bench.wip("y")) == [member(d)]


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


@pytest.mark.parametrize("way", ["extend", "acknowledge", "give back"])
def test_a_delivery_does_not_count_once_its_consumer_is_heard_of_again(
    bench: Bench, way: str
) -> None:
    bench.send("a")
    lost = []
    for counted in ("1", "2"):
        [claim] = bench.claim()
        bench.end_lease(claim)
        assert bench.reclaim() == (1, 0)
        assert bench.field("a", "heori_deliveries") == counted
        lost.append(claim)
    [last] = bench.claim()
    for claim, left in zip(lost, ("2", "1"), strict=True):
        for _ in range(2):  # the reply to the first may be lost
            if way == "extend":
                extend = bench.commands.extend_leases([claim, last], lease=9)
                assert bench.execute(extend).lost == [0]
            elif way == "acknowledge":
                assert bench.ack(done(claim)) == [0]
            else:
                assert bench.release(claim, counted=False) == ["lost"]
            assert bench.field("a", "heori_deliveries") == left
    bench.end_lease(last)
    assert bench.reclaim() == (1, 0), "it would be the third, were the others counted"
    [last] = bench.claim()
    assert bench.ack(done(last)) == []
    bench.redis.delete("rq:job:a")
    assert bench.ack(done(lost[0])) == [0]
    assert not bench.redis.exists("rq:job:a")


def test_what_vanished_before_a_retry_counts_among_the_earlier_deliveries(bench: Bench) -> None:
    bench.send("a")
    [lost] = bench.claim()
    bench.end_lease(lost)
    assert bench.reclaim() == (1, 0)
    [claim] = bench.claim()
    retry = Outcome(FAILED, encode_failure("no\n"), retry=RetryLater(0.0, 1))
    assert bench.ack((claim, retry)) == []
    assert bench.ack(done(lost)) == [0]
    assert (bench.field("a", "heori_deliveries"), bench.field("a", "heori_earlier")) == ("0", "2")


def test_jobs_that_others_wait_for_go_to_the_front_where_they_still_wait(bench: Bench) -> None:
    bench.send("a", "b", "c", "d", "e")
    bench.send("x", "y", queue="x")
    [a] = bench.claim(count=1)
    wanted = [("default", "d"), ("default", "a"), ("x", "y"), ("default", "c"), ("x", "none")]
    assert bench.execute(bench.commands.advance(wanted)) == [0, 2, 3]
    assert bench.queue() == ["c", "d", "b", "e"]
    assert bench.queue("x") == ["y", "x"]
    assert list(bench.wip()) == [member(a)]


def test_a_delivery_that_had_not_begun_is_not_counted(bench: Bench) -> None:
    bench.send("a", "b")
    for _ in range(3):
        a, b = bench.claim()
        assert bench.release(a, counted=False, max_deliveries=1) == ["queued"]
        assert bench.release(b, max_deliveries=9) == ["queued"]
        bench.redis.lpush("rq:queue:default", bench.redis.rpop("rq:queue:default"))
    assert bench.field("a", "heori_deliveries") == "0"
    assert bench.field("b", "heori_deliveries") == "3"


def test_a_job_that_had_begun_is_no_delivery_but_a_start_and_grows_suspicious(bench: Bench) -> None:
    bench.send("a")
    for suspicion in (0, 1, 1):
        [claim] = bench.claim()
        assert (claim.deliveries, claim.is_suspect) == (1, False)
        assert bench.give_back((claim, begun_and_returned(suspicion))) == ["queued"]
    [claim] = bench.claim()
    assert (claim.deliveries, claim.suspicion, claim.is_suspect) == (1, 2, True)
    job = bench.execute(bench.commands.job("a"))
    assert job is not None
    assert (job.deliveries, job.restarts) == (1, 3)


@pytest.mark.parametrize("garbage", ["many", "1e3", "9" * 30])
def test_garbage_where_starts_are_counted_stops_no_job(bench: Bench, garbage: str) -> None:
    bench.send("a", "b")
    a, b = bench.claim()
    bench.redis.hset("rq:job:a", mapping={"heori_restarts": garbage, "heori_suspicion": garbage})
    assert bench.give_back((a, begun_and_returned(1)), (b, begun_and_returned(1))) == ["queued"] * 2
    assert [claim.suspicion for claim in bench.claim()] == [0, 1]


@pytest.mark.parametrize("way", ["release", "reclaim"])
@pytest.mark.parametrize(("ttl", "left"), [(None, FAILURE_TTL_S), (b"60", 60)])
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
        assert bench.redis.ttl(key) == about(left)


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
    assert bench.redis.ttl("rq:results:garbage_ttl") == about(FAILURE_TTL_S)
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
    assert bench.ack(done(a), done(c)) == [0]


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
    assert 60_000 < bench.redis.pttl("rq:heori:watched:default") <= 180_000
    bench.forget_looks()
    assert bench.reclaim(interval=60) == (1, 0)


def test_who_could_not_look_for_a_while_gives_holders_one_whatever_marks_there_are(
    bench: Bench,
) -> None:
    bench.send("a")
    [claim] = bench.claim()
    seconds = bench.now() - 3600
    for mark in ("rq:heori:watched:default", "rq:heori:watching:service"):
        bench.redis.set(mark, seconds, px=100_000)
    bench.end_lease(claim)
    for anew in (True, False):
        command = bench.reclaim_command(come_back=COME_BACK_S, lease=5, anew=anew)
        reclaimed = bench.execute(command)
        assert reclaimed is not None
        assert (reclaimed.queued, reclaimed.coming_back) == (0, True)
    assert bench.execute(bench.commands.extend_leases([claim], lease=30)).lost == []


def test_when_nobody_could_look_holders_get_a_while_to_come_back(bench: Bench) -> None:
    def reclaim() -> tuple[int, bool]:
        command = bench.reclaim_command("x", "y", interval=60, lease=5, come_back=1000)
        reclaimed = bench.execute(command)
        return (reclaimed.queued, reclaimed.coming_back) if reclaimed else (0, False)

    def watch(queue: str, seconds: float) -> None:
        """As if it had been looked at without a break for so long, but not for the last minute."""
        bench.redis.set(f"rq:heori:watched:{queue}", bench.now() - seconds, px=100_000)

    bench.send("extended", "lost", queue="x")
    bench.send("of-another-queue", queue="y")
    extended, lost = bench.claim("x")
    [another] = bench.claim("y")
    watch("y", 3600)
    for claim in (extended, lost, another):
        bench.end_lease(claim, ago=1800)
    assert reclaim() == (1, True)
    assert bench.queue("y") == ["of-another-queue"]
    assert bench.queue("x") == []
    assert reclaim() == (0, True), "it was not yet time to look again"
    assert bench.execute(bench.commands.extend_leases([extended, lost], lease=30)).lost == []
    bench.end_lease(lost, ago=1800)

    bench.send("since", queue="x")
    [since] = bench.claim("x")
    bench.end_lease(since)
    watch("x", 900)
    assert reclaim() == (1, True)
    assert bench.queue("x") == ["since"], "its lease was got while everybody could extend"
    watch("x", 1001)
    assert reclaim() == (1, False)
    assert bench.queue("x") == ["lost", "since"]
    assert list(bench.wip("x")) == [member(extended)]

    bench.end_lease(extended)
    watch("x", -60)
    assert reclaim() == (0, True), "the clock was set back"
    bench.redis.delete("rq:heori:watched:x")
    bench.redis.rpush("rq:heori:watched:x", "no string")
    assert reclaim() == (0, True)
    watch("x", 1001)
    assert reclaim() == (1, False)


@pytest.mark.parametrize("registry", ["finished", "failed"])
def test_jobs_whose_results_have_expired_are_struck_from_the_registries(
    bench: Bench, registry: str
) -> None:
    now = bench.now()
    kept = {"later": now + 60, "for-ever": float("inf")}
    bench.redis.zadd(f"rq:{registry}:x", {"a": 1.0, "b": now - 1, **kept})
    assert bench.reclaim("default", "x") == (0, 0)
    assert bench.redis.zrange(f"rq:{registry}:x", 0, -1) == [b"later", b"for-ever"]
    bench.redis.zadd(f"rq:{registry}:x", {f"old{n}": n for n in range(MOST_STRUCK + 1)})
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
    assert running(registry) == [("a", claim.execution)]
    assert bench.field("a", "status") == "started"
    assert FailedJobRegistry("default", connection=bench.redis).count == 0
    assert bench.reclaim() == ((1, 0) if ago > 0 else (0, 0))

    bench.end_lease(bench.claim()[0] if ago > 0 else claim, ago=LEASE_MARGIN_S + 5)
    registry.cleanup()
    assert bench.field("a", "status") == "failed", "after a day without any of us, it is rq's turn"


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
    assert bench.ack(done(lost[0])) == [0]
    assert [claim.deliveries for claim in bench.claim()] == [1, 1, 1]


def test_queues_whose_leases_have_ended_are_looked_at_together_and_the_others_one_by_one(
    bench: Bench,
) -> None:
    queues = [f"queue-{n}" for n in range(200)]
    for queue in queues:
        bench.send(f"of-{queue}", queue=queue)
    claims = {claim.queue: claim for claim in bench.claim(*queues, count=200)}
    held, expired = claims.pop("queue-70"), claims.pop("queue-130")
    bench.ack(*map(done, claims.values()))
    bench.end_lease(expired, ago=1)
    bench.forget_looks(*queues)
    bench.redis.config_resetstat()
    reclaimed = bench.execute(bench.reclaim_command(*queues, leased=len(queues), whole=False))
    assert reclaimed is not None
    assert reclaimed.queued == 1
    assert bench.queue("queue-130") == ["of-queue-130"]
    assert list(bench.wip("queue-70")) == [member(held)]
    # That of the lease which has just been given back is struck the next time.
    assert bench.redis.smembers(bench.commands.keys.leased()) == {b"queue-70", b"queue-130"}
    assert bench.redis.info("commandstats")["cmdstat_srem"]["calls"] < 140

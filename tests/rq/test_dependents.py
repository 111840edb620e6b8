"""Jobs that wait for others: sent with stock rq, started by the end of what they wait for."""

from typing import Any

import pytest
from rq import Queue
from rq.job import Dependency, Job
from rq.serializers import DefaultSerializer, JSONSerializer

from heori_common.protocol.commands import BEGINNING, SettledUpTo
from heori_common.protocol.commands.delivery import MOST_SETTLED
from heori_common.protocol.job import STOPPED, Claim, Outcome, Settled
from heori_common.protocol.payload import encode_failure
from tests.rigs.script_bench import ADD, ME, Bench, done, failed
from tests.rigs.waiting import about

SETTLED_AT_ONCE = 256  # that wait for the jobs of one acknowledgement; see ack.lua
ENDED = "rq:heori:ended"


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


def child_of(
    stock: Queue,
    job_id: str,
    *parents: Job,
    fails: bool = False,
    first: bool = False,
    **options: Any,
) -> Job:
    depends_on = Dependency([*parents], allow_failure=fails, enqueue_at_front=first)
    return stock.enqueue(ADD, 1, job_id=job_id, depends_on=depends_on, **options)


def parent(bench: Bench, stock: Queue, job_id: str = "parent", **options: Any) -> tuple[Job, Claim]:
    """One that runs."""
    job = stock.enqueue(ADD, 1, job_id=job_id, **options)
    [claim] = bench.claim()
    return job, claim


def stopped(claim: Claim) -> Settled:
    return claim, Outcome(STOPPED, encode_failure("stopped\n"))


def settle(bench: Bench) -> int:
    """As whoever leads does; returns how many calls it took."""
    place: SettledUpTo | None = BEGINNING
    calls = 0
    while place is not None:
        place = bench.execute(bench.commands.settle_dependents(place))
        calls += 1
    return calls


def ack_twice(bench: Bench, *ended: Settled) -> None:
    assert bench.ack(*ended) == []
    before = bench.everything()
    assert bench.ack(*ended) == []
    assert bench.everything() == before


def test_a_child_is_queued_as_rq_queues_it(bench: Bench, stock: Queue) -> None:
    job, claim = parent(bench, stock)
    child_of(stock, "first", job, first=True)
    child_of(stock, "second", job, ttl=100)
    other = Queue("other", connection=bench.redis, serializer=JSONSerializer)
    child_of(other, "elsewhere", job)
    bench.redis.rpush("rq:queue:default", "waits")
    bench.redis.srem("rq:queues", "rq:queue:other")
    before = bench.redis.hgetall("rq:job:first")
    ack_twice(bench, done(claim))
    assert bench.queue() == ["first", "waits", "second"]
    assert bench.queue("other") == ["elsewhere"]
    assert bench.redis.sismember("rq:queues", "rq:queue:other")
    after = bench.redis.hgetall("rq:job:first")
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {b"status", b"enqueued_at"}
    assert after[b"status"] == b"queued"
    assert bench.redis.ttl("rq:job:second") == about(100)
    assert not bench.redis.exists("rq:deferred:default", "rq:deferred:other", ENDED)
    assert not bench.redis.exists("rq:job:parent:dependents")


@pytest.mark.parametrize(
    ("end", "starts"),
    [(done, {"any", "strict"}), (failed, {"any"}), (stopped, set()), ("dead", {"any"})],
    ids=["finished", "failed", "stopped", "dead"],
)
def test_how_a_parent_has_ended_says_who_starts(
    bench: Bench, stock: Queue, end: Any, starts: set[str]
) -> None:
    job, claim = parent(bench, stock)
    child_of(stock, "strict", job)
    child_of(stock, "any", job, fails=True)
    if end == "dead":
        assert bench.release(claim, max_deliveries=1) == ["dead"]
        assert bench.queue() == [], "whoever leads starts them"
        assert bench.lead().are_left
        settle(bench)
    else:
        ack_twice(bench, end(claim))
    assert set(bench.queue()) == starts
    assert {name.decode() for name in bench.redis.zrange("rq:deferred:default", 0, -1)} == {
        "any", "strict",
    } - starts  # fmt: skip
    assert not bench.lead().are_left
    assert not bench.redis.exists(ENDED)


def test_nothing_starts_for_a_job_that_was_cancelled_while_it_ran(
    bench: Bench, stock: Queue
) -> None:
    job, claim = parent(bench, stock)
    child_of(stock, "child", job)
    job.cancel()
    ack_twice(bench, done(claim))
    assert bench.field("parent", "status") == "finished", "as with rq"
    assert bench.queue() == []
    assert bench.field("child", "status") == "deferred"
    assert bench.redis.ttl("rq:job:parent:dependents") > 0


def test_a_job_that_was_cancelled_while_it_ran_has_its_result(bench: Bench, stock: Queue) -> None:
    job, claim = parent(bench, stock)
    job.cancel()
    # As rq's cancel does where the execution is recorded.
    bench.redis.zrem("rq:wip:default", f"parent:{claim.execution}")
    ack_twice(bench, done(claim))
    assert bench.field("parent", "status") == "finished"
    assert bench.redis.xlen("rq:results:parent") == 1


def test_a_child_of_several_starts_with_the_last_of_them(bench: Bench, stock: Queue) -> None:
    one, first = parent(bench, stock, "one")
    two, second = parent(bench, stock, "two")
    _, third = parent(bench, stock, "three")
    child_of(stock, "both", one, two)
    child_of(stock, "gone", one, two)
    bench.redis.sadd("rq:job::gone:dependencies", "nobody", "three")
    bench.redis.sadd("rq:job:three:dependents", "gone")
    ack_twice(bench, done(first))
    assert bench.queue() == []
    ack_twice(bench, done(second))
    assert bench.queue() == ["both"]
    bench.redis.delete("rq:job:one")
    ack_twice(bench, done(third))
    assert bench.queue() == ["both", "gone"], "of whom nothing is left keeps nobody"


def test_a_child_of_many_starts_with_the_last_of_them(bench: Bench, stock: Queue) -> None:
    jobs = [stock.enqueue(ADD, 1, job_id=f"parent-{n}") for n in range(40)]
    child_of(stock, "child", *jobs)
    for claim in bench.claim():
        assert bench.queue() == []
        assert bench.field("child", "status") == "deferred"
        bench.ack(done(claim))
    assert bench.queue() == ["child"]


def test_two_parents_that_end_in_one_call_start_their_child_once(
    bench: Bench, stock: Queue
) -> None:
    one, first = parent(bench, stock, "one")
    two, second = parent(bench, stock, "two")
    child_of(stock, "both", one, two)
    child_of(stock, "chained", child_of(stock, "next", one))
    ack_twice(bench, done(first), done(second))
    assert sorted(bench.queue()) == ["both", "next"]
    [_, claim] = sorted(bench.claim())
    assert claim.job_id == "next"
    ack_twice(bench, done(claim))
    assert bench.queue() == ["chained"]


@pytest.mark.parametrize("children", [2, SETTLED_AT_ONCE + 300])
def test_what_waits_for_a_job_that_is_not_kept_starts_all_the_same(
    bench: Bench, stock: Queue, children: int
) -> None:
    """Also where they are so many that a mark is left of it."""
    job, claim = parent(bench, stock, result_ttl=0)
    child_of(stock, "child", job)
    record = bench.redis.hgetall("rq:job:child")
    with bench.redis.pipeline() as pipe:
        for number in range(children - 1):
            pipe.hset(f"rq:job:{number}", mapping=record)
            pipe.sadd("rq:job:parent:dependents", number)
            pipe.zadd("rq:deferred:default", {number: 1})
        pipe.execute()
    told = bench.execute(bench.commands.ack([done(claim)], consumer=ME))
    assert not bench.redis.exists("rq:job:parent")
    assert told.are_left == bench.lead().are_left == (children > SETTLED_AT_ONCE)
    if told.are_left:
        assert bench.queue() == []
        assert bench.redis.ttl("rq:job:parent:dependents") == -1, "it is still needed"
        assert settle(bench) >= children // (2 * MOST_SETTLED)
    assert len(bench.queue()) == len(set(bench.queue())) == children
    left = ("rq:job:parent:dependents", "rq:deferred:default", ENDED)
    assert not bench.redis.exists(*left)


def test_several_may_settle_at_once_and_any_may_stop_midway(bench: Bench, stock: Queue) -> None:
    job, claim = parent(bench, stock)
    for number in range(SETTLED_AT_ONCE + 1):
        child_of(stock, f"child-{number}", job)
    assert bench.execute(bench.commands.ack([done(claim)], consumer=ME)).are_left
    one = bench.execute(bench.commands.settle_dependents())
    assert one is not None
    two = bench.execute(bench.commands.settle_dependents())
    settle(bench)
    for place in (one, two or one):
        assert bench.execute(bench.commands.settle_dependents(place)) is None
    assert len(bench.queue()) == len(set(bench.queue())) == SETTLED_AT_ONCE + 1


def test_a_child_with_a_rate_limit_waits_for_its_slot(bench: Bench, stock: Queue) -> None:
    job, claim = parent(bench, stock)
    for name in ("a", "b"):
        limit = {"rate_limit_key": "k", "rate_limit_concurrency": 1}
        bench.redis.hset(child_of(stock, name, job).key, mapping=limit)
    ack_twice(bench, done(claim))
    [first] = bench.queue()
    assert {bench.field(name, "status") for name in "ab"} == {"queued", "rate_limited"}
    [claim] = bench.claim()
    ack_twice(bench, done(claim))
    assert {first, *bench.queue()} == {"a", "b"}
    ack_twice(bench, *map(done, bench.claim()))
    assert not bench.redis.keys("rq:rl*")


def test_a_childs_meta_is_not_touched_whoever_could_read_it(bench: Bench, redis: Any) -> None:
    pickled = Queue("default", connection=redis, serializer=DefaultSerializer)
    job, claim = parent(bench, pickled)
    child = child_of(pickled, "child", job, meta={"kept": {1, 2}})
    before = bench.redis.hget(child.key, "meta")
    bench.ack(done(claim))
    assert bench.queue() == ["child"]
    assert bench.redis.hget(child.key, "meta") == before
    assert Job.fetch("child", redis).meta == {"kept": {1, 2}}


def test_who_has_gone_another_way_is_left_there(bench: Bench, stock: Queue) -> None:
    job, claim = parent(bench, stock)
    for name in ("canceled", "deleted", "finished", "locked", "ready"):
        child_of(stock, name, job)
    for name in ("canceled", "finished"):
        bench.redis.hset(f"rq:job:{name}", "status", name)
    bench.redis.delete("rq:job:deleted")
    bench.redis.zadd("rq:heori:parked:default", {"locked": bench.now() + 60})
    bench.redis.hset("rq:job:ready", "status", "ready_to_enqueue")
    bench.redis.zadd("rq:ready:default", {"ready": 1})
    ack_twice(bench, done(claim))
    assert bench.queue() == ["ready"], "a stock worker has died over it"
    assert not bench.redis.exists("rq:ready:default", ENDED)
    ends = [bench.redis.pexpiretime(f"rq:job:parent{suffix}") for suffix in (":dependents", "")]
    assert 0 < ends[0] <= ends[1]


@pytest.mark.parametrize("key", ["rq:queue:default", "rq:job:child", "rq:job::child:dependencies"])
def test_a_spoilt_key_keeps_one_child_until_it_is_mended(
    bench: Bench, stock: Queue, key: str
) -> None:
    job, claim = parent(bench, stock)
    child_of(stock, "child", job)
    other = Queue("other", connection=bench.redis, serializer=JSONSerializer)
    child_of(other, "elsewhere", job)
    mend = bench.spoil(key)
    told = bench.execute(bench.commands.ack([done(claim)], consumer=ME))
    assert bench.queue("other") == ["elsewhere"]
    if key == "rq:job:child":
        assert not told.are_left, "nobody knows of what it was"
        return
    assert told.are_left
    settle(bench)
    assert bench.lead().are_left
    mend()
    settle(bench)
    assert bench.queue() == ["child"]
    assert not bench.lead().are_left


def test_what_others_have_written_among_the_marks_is_struck(bench: Bench) -> None:
    bench.redis.zadd(ENDED, {"nonsense": 1, "finished x a": 2})
    settle(bench)
    assert not bench.redis.exists(ENDED)
    bench.redis.set(ENDED, "text")
    assert settle(bench) == 1

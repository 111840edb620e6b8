"""The scripts that keep a rate: how many of its jobs may begin in a time."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from heori_common.protocol.commands import Moved
from heori_common.protocol.job import Claim, NewJob
from heori_common.protocol.payload import Call
from heori_common.rate import Rate
from tests.rigs.script_bench import ADD, ME, Bench, done, ids
from tests.rigs.waiting import about

SLOW = Rate("slow", 3600e6, 2)  # two, and then one an hour
FAST = Rate("fast", 5_000.0, 5)  # five, and then 200 a second
PARKED = (b"rq:deferred:default", b"rq:heori:parked:default")


def send(bench: Bench, *names: str, rate: Rate = SLOW, queue: str = "default") -> None:
    options = {"rate": rate}
    jobs = [NewJob.create(name, Call(ADD, [1], {"b": 2}), 180, options=options) for name in names]
    bench.execute(bench.commands.enqueue(queue, jobs))


def begin_more(bench: Bench, *queues: str) -> Moved:
    """As the leader does."""
    due = bench.commands.enqueue_due(queues or ["default"], consumer=ME, lock_ttl=3.0, batch=500)
    return bench.execute(due)


def let_pass(bench: Bench, rate: Rate, intervals: float) -> None:
    """As if so many intervals had passed."""
    key = f"rq:heori:rate:{rate.name}"
    bench.redis.set(key, float(bench.redis.get(key)) - intervals * rate.interval_us, keepttl=True)
    bench.redis.zadd("rq:heori:rates:default", {rate.name: 0}, xx=True)


def waiting(bench: Bench, rate: Rate = SLOW, queue: str = "default") -> list[str]:
    line = f"rq:heori:rate-line:{queue}@@{rate.name}"
    return [name.decode() for name in bench.redis.zrangebyscore(line, 0, "inf")]


def numbered(count: int, letter: str = "j") -> list[str]:
    return [f"{letter}{n}" for n in range(count)]


def left(bench: Bench) -> set[str]:
    return {key.decode() for key in bench.redis.scan_iter("rq:heori:rate*")}


def test_what_may_not_begin_waits_in_order_and_out_of_the_way(bench: Bench) -> None:
    send(bench, *numbered(6))
    bench.send("plain")
    assert ids(bench.claim()) == ["j0", "j1", "plain"]
    assert waiting(bench) == ["j2", "j3", "j4", "j5"]
    assert bench.queue() == []
    assert {bench.field(name, "status") for name in waiting(bench)} == {"deferred"}
    for registry in PARKED:
        assert bench.redis.zcard(registry) == 4
    assert bench.look().empty, "nobody comes by again and again"
    counted = bench.execute(bench.commands.count_queues(["default"], service="me", lease=30))
    assert counted["default"].waiting_for_rate == 4
    assert begin_more(bench).pauses == [about(3600)]


def test_they_go_on_in_order_as_soon_as_they_may(bench: Bench) -> None:
    send(bench, *numbered(6))
    bench.claim()
    send(bench, "late")
    assert bench.look().claims == []
    for expected in (["j2"], ["j3", "j4"], ["j5", "late"]):
        let_pass(bench, SLOW, len(expected))
        plain = f"before {expected[0]}"
        bench.send(plain)
        assert begin_more(bench).jobs == len(expected)
        claims = bench.claim()
        assert ids(claims) == [*expected, plain], "before what has come later"
        bench.ack(*map(done, claims))
    assert begin_more(bench).pauses == [None]
    assert left(bench) == {"rq:heori:rate:slow"}, "which expires"
    assert not bench.redis.exists(*PARKED)
    assert bench.field("late", "heori_parked") is None


def test_whoever_comes_does_not_overtake(bench: Bench) -> None:
    send(bench, *numbered(4))
    bench.claim()
    let_pass(bench, SLOW, 2)
    send(bench, "late")
    assert bench.look().claims == []
    begin_more(bench)
    send(bench, "later")
    assert ids(bench.claim()) == ["j2", "j3"]
    assert waiting(bench) == ["late", "later"]


def windows(claims: Sequence[Claim]) -> Iterator[tuple[int, float]]:
    """How many began, and in which time, from each to each later one."""
    at = sorted(claim.claimed_at for claim in claims)
    for first, since in enumerate(at):
        for last in range(first, len(at)):
            yield last - first + 1, at[last] - since


@pytest.mark.parametrize("rate", [FAST, FAST._replace(burst=1), Rate("odd", 3333.3, 7)])
def test_it_is_exceeded_in_no_window(bench: Bench, rate: Rate) -> None:
    jobs = numbered(60)
    send(bench, *jobs, rate=rate)
    claims: list[Claim] = []
    while len(claims) < len(jobs):
        moved = begin_more(bench)
        claims += bench.look(count=3).claims
        time.sleep(min(0.001, moved.pauses[0] or 0.0))
    assert ids(claims) == jobs
    most = max(n - within / (rate.interval_us / 1e6) for n, within in windows(claims))
    assert most <= rate.burst + 0.001
    assert left(bench) <= {f"rq:heori:rate:{rate.name}"}


def test_a_time_without_claims_is_not_made_up_for(bench: Bench) -> None:
    send(bench, *numbered(9))
    assert len(bench.claim()) == SLOW.burst
    let_pass(bench, SLOW, 1000)
    assert begin_more(bench).jobs == SLOW.burst
    assert ids(bench.claim()) == ["j2", "j3"]
    assert waiting(bench) == numbered(9)[4:]


def test_thousands_of_one_rate_keep_no_other_waiting(bench: Bench) -> None:
    send(bench, *numbered(2000))
    bench.send("plain")
    claims: list[str] = []
    rounds = 0
    while "plain" not in claims:
        claims += ids(bench.look(count=10).claims)
        rounds += 1
    assert rounds <= 11, "two hundred are put aside in one claim"
    assert waiting(bench) == numbered(2000)[2:]


def test_rates_are_counted_by_name_over_queues_and_tenants(bench: Bench) -> None:
    other = SLOW._replace(name="other")
    send(bench, *numbered(3, "a"))
    send(bench, *numbered(3, "b"), rate=other)
    send(bench, *numbered(3, "c"), queue="second")
    send(bench, *numbered(3, "t"), queue="third@@acme")
    queues = ("default", "second", "third")
    assert ids(bench.claim(*queues)) == ["a0", "a1", "b0", "b1"]
    bench.redis.delete("rq:heori:rate:slow")
    begin_more(bench, *queues)
    let_pass(bench, other, 1)
    bench.redis.zadd("rq:heori:rates:second", {"slow": 0})
    bench.redis.zadd("rq:heori:rates:third", {"slow": 0})
    begin_more(bench, *queues)
    claimed = ids(bench.look(*queues).claims)
    assert "b2" in claimed
    assert len(claimed) == 3, "two of that rate, whatever their queues"
    while bench.redis.exists("rq:heori:rates:third"):
        bench.redis.delete("rq:heori:rate:slow")
        bench.redis.zadd("rq:heori:rates:third", {"slow": 0}, xx=True)
        begin_more(bench, *queues)
        claimed += ids(bench.look(*queues).claims)
    assert [name for name in claimed if name.startswith("t")] == numbered(3, "t")
    assert not bench.redis.exists("rq:heori:parked:third@@acme", "rq:deferred:third@@acme")


def test_cancelled_and_deleted_ones_leave_the_line_and_use_nothing(bench: Bench) -> None:
    send(bench, *numbered(6))
    bench.claim()
    assert bench.execute(bench.commands.cancel("default", ["j3"])) == [0]
    assert waiting(bench) == ["j2", "j4", "j5"]
    bench.redis.delete("rq:job:j2")
    bench.rq_job("j4").cancel()
    let_pass(bench, SLOW, 1)
    assert begin_more(bench).jobs == 1
    assert ids(bench.claim()) == ["j5"]
    assert waiting(bench) == []


def test_each_try_counts_and_none_is_lost(bench: Bench) -> None:
    send(bench, *numbered(3))
    first, second = bench.claim()
    bench.end_lease(first)
    assert bench.reclaim() == (1, 0)
    assert bench.release(second, counted=False) == ["queued"]
    assert bench.look().claims == []
    assert sorted(waiting(bench)) == numbered(3)
    let_pass(bench, SLOW, 2)
    begin_more(bench)
    assert len(bench.claim()) == 2


@pytest.mark.parametrize("lost", ["rates:default", "rate-line:default@@slow"])
def test_what_somebody_has_deleted_is_made_up_for(bench: Bench, lost: str) -> None:
    send(bench, *numbered(4))
    bench.claim()
    bench.redis.delete(f"rq:heori:{lost}")
    bench.redis.delete("rq:heori:rate:slow")
    for name, _ in bench.redis.zscan_iter("rq:heori:parked:default"):
        bench.redis.zadd("rq:heori:parked:default", {name: 0})
    bench.reclaim()
    begin_more(bench)
    assert sorted(ids(bench.claim())) == ["j2", "j3"]


@pytest.mark.parametrize("key", ["rates:default", "rate-line:default@@slow", "rate:slow"])
def test_a_key_of_another_type_stops_no_other_job(bench: Bench, key: str) -> None:
    bench.redis.lpush(f"rq:heori:{key}", "other")
    send(bench, *numbered(4))
    bench.send("plain")
    claims = bench.claim()
    assert ids(claims)[-1] == "plain"
    begin_more(bench)
    bench.reclaim()


@pytest.mark.parametrize(
    "rate", [1, [], ["a"], ["a", 0, 1], ["a", 1, float("nan")], [b"\xff", "x", 1], {"a": 1}]
)
def test_a_rate_without_a_meaning_stops_its_job_alone(bench: Bench, rate: Any) -> None:
    job = NewJob.create("a", Call(ADD, [1], {"b": 2}), 180, options={"rate": rate})
    bench.execute(bench.commands.enqueue("default", [job]))
    bench.send("b")
    a, b = bench.claim()
    assert (a.problem, b.problem) == ("its heori_options have no meaning", None)

"""Tenants of a queue take turns: the scripts that claim, whoever sends much."""

import random
from collections import Counter
from typing import Any

import pytest

from heori_common.protocol.job import Claim
from tests.rigs.script_bench import Bench, done, ids
from tests.rigs.tenants import TURN, flood


def one_by_one(bench: Bench, number: int) -> list[str]:
    """Whose jobs so many claims of one job bring."""
    return [tenant_of(bench.claim(count=1)[0]) for _ in range(number)]


def tenant_of(claim: Claim) -> str:
    return claim.queue.partition("@@")[2]


def turns(redis: Any) -> dict[str, float]:
    return {
        name.decode(): score
        for name, score in redis.zrange("rq:queue:default@@", 0, -1, withscores=True)
    }


def weigh(bench: Bench, **weights: float) -> None:
    for command in bench.commands.set_weights("default", weights):
        bench.execute(command)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_ten_jobs_go_before_a_flood_of_another_tenant(bench: Bench, size: int) -> None:
    flood(bench, "a", 1000)
    for _ in range(TURN // size + 2):
        bench.claim(count=size)
    few = flood(bench, "b", 10)
    order: list[str] = []
    while len(order) < 10:
        order += ids(bench.claim(count=size))
    assert order[:10] == few
    assert len(bench.claim(count=size)) == size, "and the flood goes on"


@pytest.mark.parametrize("size", [1, 5, 64])
def test_tenants_that_send_much_have_equal_shares(bench: Bench, size: int) -> None:
    for tenant in "abc":
        flood(bench, tenant, 200)
    had: Counter[str] = Counter()
    while had.total() < 500:
        had.update(map(tenant_of, bench.claim(count=size)))
        assert max(had.values()) - min(had[tenant] for tenant in "abc") <= 2 * TURN
    rest = [tenant_of(claim) for claim in bench.claim(count=600 - had.total())]
    assert had + Counter(rest) == {"a": 200, "b": 200, "c": 200}
    assert turns(bench.redis).keys() <= {"a", "b", "c"}
    assert bench.look().empty
    assert turns(bench.redis) == {}


@pytest.mark.parametrize("score", ["-inf", "-1e300", "-1e6", "inf", "1e300"])
def test_turns_that_somebody_has_written_end(bench: Bench, score: str) -> None:
    """The server does nothing else while a script goes round in them."""
    [job] = flood(bench, "a", 1)
    bench.redis.zadd("rq:queue:default@@", {"a": score, "nobody": score, b"\xff": score})
    assert ids(bench.claim()) == [job]
    assert bench.look().empty
    assert turns(bench.redis) == {}


def test_a_newcomer_with_large_jobs_has_its_turn_over_several_claims(bench: Bench) -> None:
    flood(bench, "a", 50)
    bench.claim(count=2 * TURN)
    few = flood(bench, "b", 10)
    for job_id in few:
        bench.redis.hset(f"rq:job:{job_id}", "data", b"x" * 400_000)
    assert [ids(bench.claim()) for _ in range(3)] == [few[:3], few[3:6], few[6:9]]
    assert ids(bench.claim(count=2)) == [few[9], f"a{2 * TURN}"]


def test_jobs_of_no_tenant_are_one_more(bench: Bench) -> None:
    flood(bench, "", 100)  # as any producer of rq's would
    flood(bench, "a", 100)
    assert one_by_one(bench, TURN) == ["a"] * TURN
    had = Counter(one_by_one(bench, 100))
    assert abs(had["a"] - had[""]) <= TURN
    later = flood(bench, "", 10, first=100)
    left = ids(bench.claim(count=200))
    assert [job for job in left if job.startswith("none")][-10:] == later
    assert bench.look().empty


def test_a_new_tenant_goes_before_what_waits_for_no_tenant(bench: Bench) -> None:
    flood(bench, "", 1000)
    bench.claim(count=64)
    few = flood(bench, "b", 10)
    assert ids(bench.claim(count=10)) == few


def test_coming_and_going_gains_nothing(bench: Bench) -> None:
    flood(bench, "a", 1000)
    bench.claim(count=64)
    had: Counter[str] = Counter()
    sent = 0
    for _ in range(60):  # b never has more than a few jobs, and always some
        flood(bench, "b", 4, first=sent)
        sent += 4
        had.update(one_by_one(bench, 5))
    assert abs(had["a"] - had["b"]) <= 2 * TURN


def test_one_newcomer_does_not_wait_for_the_first_turn_of_another(bench: Bench) -> None:
    for tenant in "abcdefgh":
        flood(bench, tenant, 100)
    assert Counter(one_by_one(bench, 8)) == dict.fromkeys("abcdefgh", 1)


def test_queues_before_and_after_keep_their_places(bench: Bench) -> None:
    flood(bench, "a", 30)
    flood(bench, "b", 30)
    bench.send(*(f"high{n}" for n in range(3)), queue="high")
    bench.send(*(f"low{n}" for n in range(3)), queue="low")
    strict = bench.claim("high", "default", "low", count=65)
    assert [claim.queue for claim in strict[:3]] == ["high"] * 3
    assert [claim.queue for claim in strict[-2:]] == ["low"] * 2
    flood(bench, "a", 100, first=100)
    bench.send(*(f"more{n}" for n in range(100)), queue="low")
    shared = bench.claim("default", "low", count=20, shares=[15, 5])
    assert Counter(claim.queue for claim in shared) == {"default@@a": 15, "low": 5}


def test_a_thousand_tenants_cost_a_claim_no_more_than_ten(bench: Bench) -> None:
    def commands_per_claim(tenants: int) -> float:
        bench.redis.flushdb()
        for number in range(tenants):
            flood(bench, f"{number:04}x", 3)
        bench.claim(count=1)
        bench.redis.config_resetstat()
        for _ in range(20):
            assert len(bench.claim(count=1)) == 1
        stats = bench.redis.info("commandstats")
        return float(sum(each["calls"] for each in stats.values()) / 20)

    assert commands_per_claim(1000) <= commands_per_claim(10) + 1


def test_nothing_is_lost_whoever_comes_and_goes(bench: Bench) -> None:
    dice = random.Random(7)
    sent: set[str] = set()
    ended: list[str] = []
    held: list[Claim] = []
    for _ in range(600):
        tenant = dice.choice(["", "a", "b", "c", "d", "a@b.org"])
        deed = dice.random()
        if deed < 0.4:
            sent |= set(flood(bench, tenant, dice.randint(1, 9), first=len(sent)))
        elif deed < 0.7:
            held += bench.look(count=dice.randint(1, 20)).claims
        elif held:
            dice.shuffle(held)
            many = dice.randint(1, 9)
            part, held = held[:many], held[many:]
            if deed < 0.8:
                bench.release(*part, counted=False)
            elif deed < 0.9:
                bench.ack(*map(done, part))
                ended += ids(part)
            else:
                for claim in part:
                    bench.end_lease(claim)
                bench.reclaim(max_deliveries=1000)
    bench.release(*held, counted=False)
    while not (claimed := bench.look(count=64)).empty:
        bench.ack(*map(done, claimed.claims))
        ended += ids(claimed.claims)
    assert sorted(ended) == sorted(sent)
    assert turns(bench.redis) == {}


@pytest.mark.parametrize("size", [1, 5, 64])
@pytest.mark.parametrize("weight", [3.0, 0.5])
def test_shares_follow_the_weights(bench: Bench, size: int, weight: float) -> None:
    weigh(bench, a=weight)
    for tenant in "abc":
        flood(bench, tenant, 400)
    bench.claim(count=3 * TURN)  # of newcomers all have as much
    had: Counter[str] = Counter()
    while had.total() < 300:
        had.update(map(tenant_of, bench.claim(count=size)))
        for other in "bc":
            assert abs(had["a"] / weight - had[other]) <= 2 * TURN / min(1.0, weight)
    assert had["a"] / had.total() == pytest.approx(weight / (weight + 2), abs=0.1)


def test_a_weight_is_changed_at_once_and_starves_nobody(bench: Bench) -> None:
    for tenant in "ab":
        flood(bench, tenant, 400)
    bench.claim(count=2 * TURN)
    weigh(bench, a=100.0)
    had = Counter(tenant_of(claim) for claim in bench.claim(count=200))
    assert had["a"] >= 200 - 2 * TURN
    weigh(bench, a=1.0, b=100.0)
    assert not bench.redis.hexists("rq:heori:weights", "default@@a")
    had = Counter(tenant_of(claim) for claim in bench.claim(count=200))
    assert had["b"] >= 200 - 2 * TURN
    assert len(bench.claim(count=800)) == 800 - 400 - 2 * TURN, "nothing is left behind"


@pytest.mark.parametrize("weight", ["", "x", "nan", "-1", "0", "1e300", "inf"])
def test_a_weight_without_a_meaning_counts_as_one(bench: Bench, weight: str) -> None:
    bench.redis.hset("rq:heori:weights", "default@@a", weight)
    for tenant in "ab":
        flood(bench, tenant, 100)
    had = Counter(one_by_one(bench, 100))
    assert abs(had["a"] - had["b"]) <= TURN
    bench.redis.delete("rq:heori:weights")
    bench.redis.set("rq:heori:weights", weight)
    assert len(bench.claim(count=100)) == 100

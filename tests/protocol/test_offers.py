"""Offers: which idle consumer is told of a job, what it is told, and what it has to confirm."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from rq import Queue
from rq.suspension import resume, suspend

from heori_common.protocol.commands import LEASE_MARGIN_S
from heori_common.protocol.job import LockName, NewJob
from heori_common.protocol.keys import service_of
from heori_common.protocol.payload import Call
from tests.rigs.offers import Idle, handed, overdue
from tests.rigs.script_bench import ADD, Bench, done, ids, member
from tests.rigs.waiting import until


@contextmanager
def idle(
    bench: Bench, *names: str, slots: int = 1, queue: str = "default", max_payload: int = 1_000_000
) -> Iterator[list[Idle]]:
    consumers = [Idle(bench, name, queue) for name in names]
    for consumer in consumers:
        consumer.offer(slots, max_payload=max_payload)
    try:
        yield consumers
    finally:
        for consumer in consumers:
            consumer.channel.close()


@contextmanager
def idle_despite(bench: Bench, *names: str, max_payload: int = 0) -> Iterator[list[Idle]]:
    """Idle, though there is a job: they looked while rq was suspended.

    Without a payload that it takes, none is handed anything: it is woken only.
    """
    suspend(bench.redis)
    with idle(bench, *names, max_payload=max_payload) as consumers:
        resume(bench.redis)
        yield consumers


def waiting(bench: Bench, queue: str = "default") -> int:
    count: int = bench.redis.zcard(bench.commands.keys.offers(service_of([queue])))
    return count


def test_a_job_is_handed_to_the_consumer_that_has_waited_longest(bench: Bench) -> None:
    with idle(bench, "a", "b") as (a, b):
        bench.send("first")
        [claim] = a.hears().claims
        assert (claim.job_id, claim.queue, claim.deliveries) == ("first", "default", 1)
        assert claim.problem is None
        assert bench.wip() == {
            member(claim): pytest.approx(claim.claimed_at + 30 + LEASE_MARGIN_S, abs=1.001)
        }
        assert bench.field("first", "worker_name") == "a"
        assert bench.field("first", "heori_execution") == claim.execution
        assert bench.queue() == []
        assert b.told() is None
        bench.send("second")
        assert ids(b.hears().claims) == ["second"]
        bench.send("third")
        assert bench.queue() == ["third"], "nobody waits"
        assert bench.ack(done(claim)) == []
        assert bench.field("first", "status") == "finished"


def test_a_job_for_which_nobody_waits_is_sent_without_looking_for_whom_to_tell(
    bench: Bench,
) -> None:
    def commands(job: str) -> dict[str, int]:
        bench.redis.config_resetstat()
        assert bench.send(job) == 1
        stats = bench.redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
        return {name: count for name, count in calls.items() if name != "config|resetstat"}

    once = ("evalsha", "time", "llen", "hget", "sadd", "exists", "hset", "zrange", "rpush")
    bench.send("known to the server")
    assert commands("a") == dict.fromkeys(once, 1)
    with idle(bench, "idle", queue="other") as (consumer,):
        assert commands("b") == dict.fromkeys(once, 1)
        bench.send("told", queue="other")
        assert ids(consumer.hears().claims) == ["told"]
    bench.claim(count=10)
    with idle(bench, "idle") as (consumer,):
        bench.send("taken")
        assert ids(consumer.hears().claims) == ["taken"]
    assert commands("c") == {**dict.fromkeys(once, 1), "exists": 2}, "its service is known"
    assert bench.queue() == ["c"]


def test_a_handed_job_is_claimed_as_any_other(bench: Bench) -> None:
    bench.send("claimed")
    [claim] = bench.claim()
    with idle(bench, "a") as (a,):
        bench.send("handed")
        [given] = a.hears().claims
    same = {"worker_name", "heori_execution", "created_at", "enqueued_at", "started_at"}
    one, other = (bench.redis.hgetall(f"rq:job:{id_}") for id_ in ("claimed", "handed"))
    differing = {
        name.decode() for name in one.keys() | other.keys() if one.get(name) != other.get(name)
    }
    assert differing <= same | {"last_heartbeat", "description", "data"}
    assert given._replace(job_id="", execution="", claimed_at=0.0, fields=b"") == claim._replace(
        job_id="", execution="", claimed_at=0.0, fields=b""
    )


def test_a_burst_fills_the_slots_of_as_many_as_it_needs(bench: Bench) -> None:
    with idle(bench, "a", "b", "c", slots=2) as (a, b, c):
        bench.send("1", "2", "3")
        assert ids(a.hears().claims) == ["1", "2"]
        assert ids(b.hears().claims) == ["3"]
        assert c.told() is None
        bench.send(*"4567")
        assert ids(c.hears().claims) == ["4", "5"]
        assert bench.queue() == ["6", "7"]


def test_nobody_waits_for_queues_that_it_does_not_serve_nor_while_rq_is_suspended(
    bench: Bench,
) -> None:
    with idle(bench, "a") as (a,):
        bench.send("elsewhere", queue="other")
        suspend(bench.redis)
        bench.send("later")
        assert a.told() is None
        resume(bench.redis)
        assert bench.execute(bench.commands.wake(["default", "other"])) == 1, "nobody serves other"
        assert ids(a.hears().claims) == ["later"]


def test_of_many_queues_each_wakes_who_waits_for_it_and_counts_where_nobody_does(
    bench: Bench,
) -> None:
    one, two = Idle(bench, "one", "default"), Idle(bench, "two", "low", "both")
    one.offer()
    two.offer()
    bench.send("taken")
    assert ids(one.hears().claims) == ["taken"]
    for number, queue in enumerate(("default", "default", "low", "both", "both")):
        Queue(queue, connection=bench.redis).enqueue(ADD, 1, 2, job_id=str(number))
    queues = ["default", "low", "both", "default", "nobody's"]
    assert bench.execute(bench.commands.wake(queues)) == 6, "one is counted twice, as it is named"
    assert ids(two.hears().claims) == ["2"]
    assert one.told() is two.told() is None
    one.offer(slots=3, count=0)
    two.offer(slots=3, count=0)
    assert bench.execute(bench.commands.wake(["nobody's", "both", "default"])) == 0
    assert ids(two.hears().claims) == ["3", "4"]
    assert ids(one.hears().claims) == ["0", "1"]
    for consumer in (one, two):
        consumer.channel.close()


def test_consumers_of_several_services_wait_in_one_line(bench: Bench) -> None:
    one, two = Idle(bench, "one", "default"), Idle(bench, "two", "default", "low")
    two.offer()
    one.offer()
    bench.send("1")
    bench.send("2")
    bench.send("3", queue="low")
    assert ids(two.hears().claims) == ["1"]
    assert ids(one.hears().claims) == ["2"]
    assert two.told() is one.told() is None
    for consumer in (one, two):
        consumer.channel.close()


def test_of_several_services_each_has_what_others_have_put_on_a_queue_of_both(
    bench: Bench,
) -> None:
    one, two = Idle(bench, "one", "default"), Idle(bench, "two", "default", "low")
    two.offer()
    one.offer()
    for number in range(2):
        Queue("default", connection=bench.redis).enqueue(ADD, 1, 2, job_id=str(number))
    assert bench.execute(bench.commands.wake(["default"])) == 0
    assert ids(two.hears().claims) == ["0"]
    assert ids(one.hears().claims) == ["1"]
    for consumer in (one, two):
        consumer.channel.close()


def test_whoever_is_gone_is_passed_over(bench: Bench) -> None:
    with idle(bench, "a", "b", "c") as (a, b, c):
        a.channel.close()
        until(lambda: bench.redis.pubsub_numsub(bench.commands.keys.told("a"))[0][1] == 0)
        bench.send("1")
        assert ids(b.hears().claims) == ["1"]
        bench.send("2")
        assert ids(c.hears().claims) == ["2"]
        assert bench.field("1", "heori_deliveries") == "1"


def test_an_offer_is_withdrawn_and_holds_once(bench: Bench) -> None:
    with idle(bench, "a") as (a,):
        a.offer()
        assert waiting(bench) == 1, "the latest holds"
        assert bench.look(count=0, last_offers=a.offers[-1:]).withdrawn
        assert waiting(bench) == 0
        assert not bench.look(count=0, last_offers=a.offers[-1:]).withdrawn
        bench.send("1")
        assert a.told() is None


def test_a_hand_over_stands_until_it_is_confirmed(bench: Bench) -> None:
    with idle(bench, "a") as (a,):
        bench.send("1")
        told = a.hears()
        assert handed(bench) == 1
        for _ in range(2):  # the reply may be lost
            confirmed = bench.look(count=0, received=[told.told])
            assert (confirmed.taken_back, handed(bench)) == ((), 0)
        [claim] = told.claims
        assert bench.release(claim, counted=False) == ["queued"]
        assert bench.look(count=0, received=[told.told]).taken_back == (0,), (
            "it is another's by now"
        )


@pytest.mark.parametrize("kind", ["lock", "large", "tenant", "front of others", "broken wip"])
def test_what_needs_more_than_a_slot_wakes_only(bench: Bench, kind: str) -> None:
    a = Idle(bench, "a")
    if kind == "front of others":
        suspend(bench.redis)
        bench.send("before")
        a.offer()
        resume(bench.redis)
    else:
        a.offer(max_payload=10 if kind == "large" else 1_000_000)
    queue = "default@@t" if kind == "tenant" else "default"
    if kind == "broken wip":
        bench.redis.set("rq:wip:default", "text")
    locks = [LockName("mutex", "m", None)] if kind == "lock" else []
    job = NewJob.create("1", Call(ADD, [1], {"b": 2}), 180, locks=locks)
    bench.execute(bench.commands.enqueue(queue, [job]))
    told = a.hears()
    assert told.claims == []
    assert "1" in bench.queue(queue), "it waits to be claimed"
    assert handed(bench) == 1
    confirmed = bench.look(received=[told.told])
    assert confirmed.taken_back == ()
    expected = {"front of others": ["before", "1"], "broken wip": []}.get(kind, ["1"])
    assert ids(confirmed.claims) == expected
    assert handed(bench) == 0
    a.channel.close()


def test_what_is_not_confirmed_goes_to_the_next_and_counts_no_delivery(bench: Bench) -> None:
    with idle(bench, "a", "b", slots=2) as (a, b):
        sent = bench.now()
        bench.send("1", "2")
        late = a.hears()
        assert ids(late.claims) == ["1", "2"]
        until(lambda: bench.lead().taken_back == 1)
        assert bench.now() - sent >= 0.9, "it was not time before"
        assert bench.queue() == ["1", "2"], "in their order"
        assert bench.wip() == {}
        assert b.hears().claims == [], "it is woken"
        again = bench.claim(consumer="b")
        assert [(claim.job_id, claim.deliveries) for claim in again] == [("1", 1), ("2", 1)]
        assert bench.look(count=0, received=[late.told]).taken_back == (0,)
        assert bench.ack(done(late.claims[0])) == [0], "its lease is lost"
        assert bench.ack(*map(done, again)) == []


def test_of_what_is_not_confirmed_nothing_that_has_ended_runs_again(bench: Bench) -> None:
    with idle(bench, "a") as (a,):
        bench.send("1")
        [claim] = a.hears().claims
        assert bench.ack(done(claim)) == []
        until(lambda: bench.lead().taken_back == 1)
        assert bench.queue() == []
        assert bench.field("1", "status") == "finished"


def test_jobs_that_others_have_sent_are_handed_over_up_to_the_first_that_needs_a_claim(
    bench: Bench,
) -> None:
    def from_rq(*ids: str, status: str = "queued") -> None:
        for id_ in ids:
            Queue(connection=bench.redis).enqueue(ADD, 1, 2, job_id=id_)
            bench.redis.hset(bench.commands.keys.job(id_), "status", status)

    from_rq("1", "2", "3")
    with idle_despite(bench, "a", "b", "c", max_payload=1_000_000) as (a, b, c):
        bench.redis.delete(bench.commands.keys.job("3"))
        assert bench.execute(bench.commands.wake(["default"])) == 0
        told = [a.hears(), b.hears(), c.hears()]
        assert [ids(each.claims) for each in told] == [["1"], ["2"], []]
        assert bench.queue() == ["3"], "nothing is left of it"
        assert set(bench.wip()) == {member(claim) for each in told for claim in each.claims}
        assert bench.look(count=0, received=[each.told for each in told]).taken_back == ()
        assert bench.ack(*(done(claim) for each in told for claim in each.claims)) == []
    assert bench.look().gone == (("default", "3"),)
    for status in ("started", "canceled", "rate_limited"):
        from_rq(status, status=status)
        with idle_despite(bench, "a", max_payload=1_000_000) as (a,):
            assert bench.execute(bench.commands.wake(["default"])) == 0
            assert a.hears().claims == []
            assert bench.queue() == [status]
        bench.claim()


@pytest.mark.parametrize("queue", ["default", "default@@tenant"])
def test_a_wake_up_that_nobody_follows_wakes_the_next_while_there_are_jobs(
    queue: str, bench: Bench
) -> None:
    bench.send("1", queue=queue)
    with idle_despite(bench, "a", "b") as (a, b):
        assert bench.execute(bench.commands.wake(["default"])) == 0
        assert a.hears().claims == []
        until(lambda: bench.lead().taken_back == 1)
        assert b.hears().claims == []
        assert ids(bench.claim(consumer="b")) == ["1"]
        until(lambda: bench.lead().taken_back == 1)
        assert handed(bench) == 0, "nothing is left of it"


def test_what_may_yet_be_confirmed_is_not_taken_back(bench: Bench) -> None:
    with idle(bench, "a") as (a,):
        bench.send("1")
        told = a.hears()
        overdue(bench)
        begun = bench.lead()
        assert (begun.taken_back, begun.pause) == (0, 0), "all may have stood still"
        assert bench.lead(takes_back=False).taken_back == 0, "it was cut off"
        assert bench.look(count=0, received=[told.told]).taken_back == ()
        assert bench.lead().taken_back == 0
        assert bench.wip() != {}


@pytest.mark.parametrize("queue", ["default", "default@@tenant"])
def test_whoever_claims_sees_what_the_leader_has_not_taken_back(queue: str, bench: Bench) -> None:
    bench.send("1", queue=queue)
    with idle_despite(bench, "a", "b") as (a, b):
        bench.execute(bench.commands.wake(["default"]))
        bench.send("2", queue="other")
        assert a.hears().claims == []
        assert not bench.look("default", count=0).overdue
        overdue(bench)
        assert bench.look("default", count=0).overdue
        assert not bench.look("other", count=0).overdue, "that is another service"
        service = service_of(["default"])
        taking = bench.commands.take_back_overdue(service, consumer="b", max_deliveries=3)
        assert [bench.execute(taking) for _ in range(2)] == [1, 0]
        assert b.hears().claims == []
        assert not bench.look("default", count=0).overdue


def test_what_a_consumer_has_missed_goes_to_the_next_at_once_and_is_not_begun_when_it_comes_late(
    bench: Bench,
) -> None:
    with idle(bench, "a") as (a,):
        bench.send("1")
        told = a.hears()
        take_back = partial(
            bench.commands.take_back_missed,
            service_of(["default"]),
            consumer="a",
            max_deliveries=3,
        )
        assert bench.execute(take_back(["another"])) == 0
        assert bench.execute(take_back(["another", told.token])) == 1
        assert handed(bench) == 0
        [claim] = bench.claim(consumer="b")
        assert (claim.job_id, claim.deliveries) == ("1", 1), "it was not delivered before"
        assert bench.look(count=0, received=[told.told]).taken_back == (0,)


def test_what_others_have_written_among_the_hand_overs_is_passed_over(bench: Bench) -> None:
    """A number, bytes, an array too short: what is no hand-over is dropped when it is overdue."""
    service = service_of(["default"])
    with idle(bench, "a") as (a,):
        bench.send("1")
        token = a.hears().token
        strange = [b"9" * 1000, b"\xff\xfe", b"\x92\x01\x02", b"", b"\x94\x01\x02\x03\x04"]
        bench.redis.zadd(bench.commands.keys.handed(service), dict.fromkeys(strange, "-inf"))
        missed = bench.commands.take_back_missed(service, [token], consumer="a", max_deliveries=3)
        assert bench.execute(missed) == 1
        rest = bench.commands.take_back_overdue(service, consumer="a", max_deliveries=3)
        assert bench.execute(rest) == len(strange)
        assert handed(bench) == 0
        assert ids(bench.claim(consumer="b")) == ["1"]


def test_what_a_service_without_a_leader_was_told_goes_to_another_of_the_queue(
    bench: Bench,
) -> None:
    bench.reclaim(interval=1.0)  # so that somebody has looked for a while
    gone, other = Idle(bench, "gone", "default", "low"), Idle(bench, "other", "default")
    gone.offer()
    bench.send("1")
    assert ids(gone.hears().claims) == ["1"]
    other.offer()
    overdue(bench, *gone.queues)
    key = bench.commands.keys.handed(service_of(gone.queues))
    leader = bench.commands.keys.leader(service_of(gone.queues))
    bench.redis.set(leader, "1 a consumer")

    def look() -> None:
        bench.redis.delete(bench.commands.keys.watched("default"))
        assert bench.reclaim(interval=1.0) == (0, 0)

    look()
    assert bench.redis.zcard(key) == 1, "its leader does that"
    bench.redis.delete(leader)
    look()
    assert bench.redis.zcard(key) == 0
    assert other.hears().claims == []
    assert [claim.deliveries for claim in bench.claim()] == [1]
    for consumer in (gone, other):
        consumer.channel.close()


def test_what_comes_back_wakes_one_for_all_that_it_has_room_for(bench: Bench) -> None:
    bench.send(*"1234567")
    claims = bench.claim()
    with idle(bench, "a", "b", "c", slots=4) as (a, b, c):
        bench.release(*claims)
        assert [consumer.hears().claims for consumer in (a, b)] == [[], []]
        assert c.told() is None
        assert len(bench.queue()) == 7


def test_keys_that_hold_something_else_lose_no_job(bench: Bench) -> None:
    keys = bench.commands.keys
    service = service_of(["default"])
    for key in (
        keys.offers(service),
        keys.services("default"),
        keys.handed(service),
        keys.leased(),
    ):
        with idle(bench, "a") as (a,):
            bench.redis.set(key, "text")
            bench.send(key)
            told = a.told()
            given = ids(told.claims) if told else []
            assert [*given, *bench.queue()] == [key]
            assert ids(bench.look(count=1).claims) == bench.queue() + ([] if given else [key])
            bench.redis.flushdb()

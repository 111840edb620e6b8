"""What nobody needs goes: `tidy.lua`, on a real server."""

import threading
from typing import Any

import pytest
from rq import Worker
from rq.registry import CanceledJobRegistry
from rq.serializers import JSONSerializer

from heori_common.protocol.commands import RESULT_TTL_S
from heori_common.protocol.commands.tidying import MOST_QUEUES, MOST_STRUCK, RECORD_TTL_S
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from tests.rigs.script_bench import ADD, ME, Bench, done, failed
from tests.rigs.waiting import about


def listed(bench: Bench) -> set[str]:
    return {key.decode().removeprefix("rq:queue:") for key in bench.redis.smembers("rq:queues")}


def pass_time(bench: Bench) -> int:
    """As often as it takes to forget a queue; returns how many were forgotten."""
    return sum(bench.tidy().forgotten for _ in range(3))


def register(redis: Any, names: list[str], queue: str = "default") -> None:
    keys = [f"rq:worker:{name}" for name in names]
    redis.sadd("rq:workers", *keys)
    redis.sadd(f"rq:workers:{queue}", *keys)


def test_consumers_whose_record_has_expired_are_not_registered_any_more(bench: Bench) -> None:
    stock: Any = Worker(["default"], connection=bench.redis, name="stock")
    stock.register_birth()
    register(bench.redis, [f"killed{n}" for n in range(1000)])
    register(bench.redis, ["alive", "undecided"])
    for name in ("alive", "undecided"):
        bench.redis.hset(f"rq:worker:{name}", "state", "idle")
    bench.redis.expire("rq:worker:alive", 60)
    bench.send("a")
    dead = 0
    while found := bench.tidy().dead:  # many of them at once, and a few when a few are left
        dead += found
    for _ in range(200):  # the last ones are found by chance
        if bench.redis.scard("rq:workers") == bench.redis.scard("rq:workers:default") == 3:
            break
        dead += bench.tidy().dead
    assert dead == 1000
    assert {worker.name for worker in Worker.all(bench.redis)} == {"stock", "alive", "undecided"}
    assert bench.redis.scard("rq:workers:default") == 3
    assert 0 < bench.redis.ttl("rq:worker:undecided") <= RECORD_TTL_S, "killed as it registered"
    assert bench.redis.ttl("rq:worker:alive") <= 60


def test_consumers_that_were_killed_do_not_serve_a_queue_in_which_there_is_nothing(
    bench: Bench,
) -> None:
    bench.redis.sadd("rq:queues", "rq:queue:theirs", "rq:queue:alive's")
    register(bench.redis, ["killed", "killed too"], "theirs")
    register(bench.redis, ["killed", "alive"], "alive's")
    bench.redis.hset("rq:worker:alive", "state", "idle")
    for _ in range(2):  # once with some that are found dead among all, once without
        bench.tidy()
        assert bench.redis.smembers("rq:workers:alive's") == {b"rq:worker:alive"}
        assert not bench.redis.exists("rq:workers:theirs")
        bench.redis.sadd("rq:workers:alive's", "rq:worker:killed")
        bench.redis.sadd("rq:workers:theirs", "rq:worker:killed")
    pass_time(bench)
    assert listed(bench) == {"alive's"}


def test_cancelled_jobs_expire_whoever_cancelled_them(bench: Bench) -> None:
    bench.send("ours")
    bench.send("kept", "brief", "theirs")
    bench.redis.hset("rq:job:kept", "result_ttl", -1)
    bench.redis.hset("rq:job:brief", "result_ttl", 700)
    bench.execute(bench.commands.cancel("default", ["ours", "kept", "brief"]))
    bench.rq_job("theirs").cancel()
    assert bench.redis.ttl("rq:job:theirs") == -1
    bench.tidy()
    lives = {name: bench.redis.ttl(f"rq:job:{name}") for name in ("ours", "theirs", "brief")}
    assert lives == {
        "ours": about(RESULT_TTL_S),
        "theirs": about(RESULT_TTL_S),
        "brief": about(700),
    }
    assert bench.redis.ttl("rq:job:kept") == -1
    registry = CanceledJobRegistry("default", bench.redis, serializer=JSONSerializer)
    assert set(registry.get_job_ids()) == {"ours", "theirs", "brief", "kept"}
    for name in lives:  # as if their time had passed
        bench.redis.delete(f"rq:job:{name}")
        bench.redis.zadd("rq:canceled:default", {name: bench.now() - 1})
    bench.tidy()
    assert registry.get_job_ids() == ["kept"]


def test_a_job_that_runs_again_after_it_was_cancelled_is_left_alone(bench: Bench) -> None:
    bench.send("again")
    bench.rq_job("again").cancel()
    bench.redis.hset("rq:job:again", "status", "queued")
    bench.redis.rpush("rq:queue:default", "again")
    bench.tidy()
    assert bench.redis.ttl("rq:job:again") == -1
    assert bench.redis.zcard("rq:canceled:default") == 0


def test_what_is_over_goes_from_queues_that_nobody_serves(bench: Bench) -> None:
    bench.send("good", "bad", "endless", queue="once")
    good, bad, endless = bench.claim("once")
    bench.redis.hset("rq:job:endless", "result_ttl", -1)
    bench.ack(done(good), failed(bad), done(endless))
    bench.redis.rpush("rq:heori:dropped:once", "bad")
    bench.redis.zadd("rq:finished:once", {"good": 1, "endless": "inf"})
    bench.redis.zadd("rq:failed:once", {"bad": 1})
    bench.tidy()
    assert bench.redis.zrange("rq:finished:once", 0, -1) == [b"endless"]
    assert not bench.redis.exists("rq:failed:once", "rq:heori:dropped:once")
    assert pass_time(bench) == 0, "there is something in it"


def test_ids_of_expired_jobs_go_from_queues_that_nobody_serves(bench: Bench) -> None:
    bench.send("gone", "too", "waits", "gone-behind", queue="once")
    bench.send("gone-of-a-tenant", queue="once@a")
    for name in ("gone", "too", "gone-behind", "gone-of-a-tenant"):
        bench.redis.delete(f"rq:job:{name}")
    bench.tidy()
    assert bench.queue("once") == ["waits", "gone-behind"]
    pass_time(bench)
    assert listed(bench) == {"once"}
    bench.redis.delete("rq:job:waits")
    pass_time(bench)
    assert pass_time(bench) == 0
    assert bench.redis.keys("*") == [b"rq:heori:janitor"]


HELD_BY = {
    "rq:queue:once": "list",
    "rq:queue:once:intermediate": "list",
    "rq:wip:once": "zset",
    "rq:finished:once": "zset",
    "rq:failed:once": "zset",
    "rq:scheduled:once": "zset",
    "rq:deferred:once": "zset",
    "rq:ready:once": "zset",
    "rq:canceled:once": "zset",
    "rq:heori:parked:once": "zset",
    "rq:heori:line:once": "zset",
    "rq:queue:once@@": "zset",
    "rq:workers:once": "set",
    "rq:heori:bound:once": "hash",
}


def test_a_queue_is_listed_as_long_as_there_is_anything_of_it(bench: Bench) -> None:
    bench.redis.sadd("rq:queues", "rq:queue:once")
    bench.redis.hset("rq:job:a", "status", "canceled")
    bench.redis.hset("rq:worker:me", "state", "idle")
    for key, kind in HELD_BY.items():
        match kind:
            case "list":
                bench.redis.rpush(key, "a")
            case "zset":
                bench.redis.zadd(key, {"a": "inf"})
            case "set":
                bench.redis.sadd(key, "rq:worker:me")
            case "hash":
                bench.redis.hset(key, mapping={"limit": 7, "sent": 3})
        assert pass_time(bench) == 0, key
        assert listed(bench) == {"once"}, key
        bench.redis.delete(key)
    bench.redis.hset("rq:heori:bound:once", "sent", 3)  # its limit was lifted
    bench.redis.sadd("rq:heori:leased", "once")  # whoever served it died before it looked again
    assert pass_time(bench) == 1
    left = {"rq:heori:janitor", "rq:job:a", "rq:worker:me"}
    assert {key.decode() for key in bench.redis.keys("*")} == left


def test_a_queue_that_comes_to_life_while_it_is_forgotten_is_listed_again(bench: Bench) -> None:
    bench.redis.sadd("rq:queues", "rq:queue:ours", "rq:queue:theirs")
    bench.tidy()
    assert bench.tidy().forgotten == 2
    assert listed(bench) == set()
    bench.send("a", queue="ours")
    assert listed(bench) == {"ours"}
    bench.redis.rpush("rq:queue:theirs", "b")  # rq has listed it just before it was forgotten
    bench.redis.hset("rq:job:b", "status", "queued")
    bench.tidy()
    assert listed(bench) == {"ours", "theirs"}
    assert not bench.redis.exists("rq:heori:idle")


def test_no_job_is_on_a_queue_that_is_not_listed_however_its_sender_hurries(bench: Bench) -> None:
    unlisted: list[str] = []
    over = threading.Event()

    def tidy() -> None:
        while not over.is_set():
            bench.tidy()

    janitor = threading.Thread(target=tidy)
    janitor.start()
    try:
        for number in range(300):
            name = f"q{number % 3}"
            sent = NewJob.create(f"job{number}", Call(ADD, [1], {}), 180)
            if number % 2:
                bench.execute(bench.commands.enqueue(name, [sent], delay=60))
            else:
                bench.execute(bench.commands.enqueue(name, [sent]))
            if name not in listed(bench):
                unlisted.append(sent.id)
            bench.execute(bench.commands.cancel(name, [sent.id]))
            bench.redis.delete(f"rq:canceled:{name}")
    finally:
        over.set()
        janitor.join()
    assert unlisted == []


def test_many_queues_are_looked_at_by_parts_and_by_one_consumer(bench: Bench) -> None:
    names = {f"q{n}" for n in range(10 * MOST_QUEUES)}
    bench.redis.sadd("rq:queues", *(f"rq:queue:{name}" for name in names))
    for name in ("q0", "q1"):
        over = {f"a{n}": 1 for n in range(2 * MOST_STRUCK)}
        bench.redis.zadd(f"rq:finished:{name}", {**over, "stays": "inf"})
    entries = [bench.redis.zcard("rq:finished:q0") + bench.redis.zcard("rq:finished:q1")]
    cursor, calls = "", 0
    while cursor != "0":
        looked = bench.execute(
            bench.commands.tidy(consumer=ME, interval=60, cursor=cursor or "0", forget=60)
        )
        assert looked is not None
        cursor, calls = looked.cursor, calls + 1
        entries.append(bench.redis.zcard("rq:finished:q0") + bench.redis.zcard("rq:finished:q1"))
        assert entries[-2] - entries[-1] <= MOST_STRUCK
        for place in ("0", cursor):
            other = bench.commands.tidy(consumer="another", interval=60, cursor=place)
            assert bench.execute(other) is None, "one is elected until it is done, and a while more"
    assert calls > 5
    assert bench.redis.zcard("rq:heori:idle") == len(names) - 2
    while pass_time(bench):
        pass
    assert listed(bench) == {"q0", "q1"}
    assert bench.redis.zrange("rq:finished:q0", 0, -1) == [b"stays"]


@pytest.mark.parametrize("key", ["rq:queues", "rq:workers", "rq:heori:idle", *HELD_BY])
def test_a_key_that_holds_something_else_stops_nothing(bench: Bench, key: str) -> None:
    register(bench.redis, ["killed"], "other")
    bench.redis.sadd("rq:queues", "rq:queue:once", "rq:queue:other")
    bench.redis.delete(key)
    bench.redis.set(key, "text")
    pass_time(bench)
    assert bench.redis.get(key) == b"text"
    assert not bench.redis.exists("rq:workers") or key == "rq:workers"
    if key in HELD_BY:
        assert listed(bench) == {"once"}


def test_a_job_that_need_not_wait_any_more_is_queued_when_nobody_has_done_so(bench: Bench) -> None:
    keys = bench.commands.keys
    bench.send("last", "first", "limited", "new", "canceled", queue="children")
    bench.redis.delete("rq:queue:children")
    for name in ("last", "first", "limited", "new"):
        bench.redis.hset(keys.job(name), "status", "ready_to_enqueue")
    bench.redis.hset(keys.job("first"), "enqueue_at_front", 1)
    limit = {"rate_limit_key": "api", "rate_limit_concurrency": 1}
    bench.redis.hset(keys.job("limited"), mapping=limit)
    bench.redis.zadd(keys.limit_allowed("api"), {"other": 1})
    bench.redis.hset(keys.job("canceled"), "status", "canceled")
    since = dict.fromkeys(("last", "first", "limited", "canceled"), bench.now() - 10)
    bench.redis.zadd(keys.ready("children"), {**since, "new": bench.now() + 60})
    bench.tidy()
    assert bench.queue("children") == ["first", "last"]
    assert bench.field("last", "status") == "queued"
    left = bench.redis.zrange(keys.ready("children"), 0, -1)
    assert left == [b"new"], "somebody may just queue it"
    assert bench.field("limited", "status") == "rate_limited"
    assert bench.redis.zrange(keys.limit_waiting("api"), 0, -1) == [b"limited"]

"""The scripts that pause queues, tenants and tasks: nobody claims these, and nothing is lost."""

from typing import Any

import pytest

from heori_common.protocol.commands import Pause
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from tests.rigs.offers import Idle, handed
from tests.rigs.script_bench import Bench, done, ids
from tests.rigs.tenants import flood

QUEUE, TENANT = Pause.of_queue("default"), Pause.of_queue("default", "acme")
TASK = Pause("task", "shop.send")


def pause(bench: Bench, what: Pause) -> bool:
    return bench.execute(bench.commands.pause(what))


def resume(bench: Bench, what: Pause) -> int:
    jobs, are_left = 0, True
    while are_left:
        _, more, are_left = bench.execute(bench.commands.resume(what))
        jobs += more
    return jobs


def send(bench: Bench, task: str, *names: str, queue: str = "default", **options: Any) -> None:
    jobs = [NewJob.create(name, Call(task, ["(", 1], {}), 180) for name in names]
    bench.execute(bench.commands.enqueue(queue, jobs, **options))


def test_nothing_is_claimed_from_a_paused_queue_and_others_go_on(bench: Bench) -> None:
    bench.send("a", "b")
    bench.send("other", queue="other")
    flood(bench, "acme", 2)
    assert pause(bench, QUEUE)
    assert not pause(bench, QUEUE), "it was paused already"
    assert ids(bench.claim("default", "other")) == ["other"]
    assert bench.look("default", "other").empty
    assert [each.field for each in bench.execute(bench.commands.pauses())] == [QUEUE.field]
    resume(bench, QUEUE)
    assert bench.execute(bench.commands.pauses()) == []
    assert sorted(ids(bench.claim("default", "other"))) == ["a", "acme0", "acme1", "b"]


def test_it_is_known_since_when_something_is_paused(bench: Bench) -> None:
    before = bench.now()
    for what in (TASK, QUEUE, TENANT):
        pause(bench, what)
    bench.redis.hset("rq:heori:paused", "task:odd", "no time")
    found = bench.execute(bench.commands.pauses())
    assert [each.field for each in found] == [
        "queue:default", "queue:default@@acme", "task:odd", "task:shop.send",
    ]  # fmt: skip
    assert found[2].since == 0.0
    assert all(
        before - 0.001 <= each.since <= bench.now() + 0.001 for each in found if each.name != "odd"
    )


def test_a_paused_tenant_leaves_its_turn_to_others(bench: Bench) -> None:
    flood(bench, "acme", 3)
    bench.send("none")
    pause(bench, TENANT)
    flood(bench, "other", 2)
    flood(bench, "acme", 1, first=3)
    assert sorted(ids(bench.claim())) == ["none", "other0", "other1"]
    assert bench.look().empty
    resume(bench, TENANT)
    assert ids(bench.claim()) == ["acme0", "acme1", "acme2", "acme3"]


def test_jobs_of_a_paused_task_keep_nobody_waiting_and_come_back_in_order(bench: Bench) -> None:
    names = [f"s{n}" for n in range(1200)]
    send(bench, "shop.send", *names)
    send(bench, "shop.sender", "alike")
    pause(bench, TASK)
    claimed: list[str] = []
    while not (look := bench.look(count=10)).empty:
        claimed += ids(look.claims)
    assert claimed == ["alike"]
    assert bench.execute(bench.commands.count_paused(TASK.name)) == len(names)
    assert bench.redis.zcard("rq:deferred:default") == len(names)
    bench.send("later")
    assert resume(bench, TASK) == len(names)
    assert bench.queue() == [*names, "later"]
    assert ids(bench.claim(count=3)) == names[:3]
    for key in ("rq:deferred:default", "rq:heori:parked:default", "rq:heori:paused-jobs:shop.send"):
        assert not bench.redis.exists(key)
    assert bench.field("s0", "heori_paused") is None


def test_a_job_that_is_set_aside_can_be_cancelled_or_go_another_way(bench: Bench) -> None:
    send(bench, "shop.send", *"abcd")
    pause(bench, TASK)
    assert bench.look().claims == []
    assert bench.execute(bench.commands.cancel("default", ["b"])) == [0]
    bench.rq_job("c").cancel()
    bench.redis.delete("rq:job:d")
    assert bench.execute(bench.commands.count_paused(TASK.name)) == 3
    assert resume(bench, TASK) == 1
    assert ids(bench.claim()) == ["a"]


def test_who_resumes_may_be_killed_meanwhile(bench: Bench) -> None:
    send(bench, "shop.send", *"abc")
    pause(bench, TASK)
    assert bench.look().claims == []
    parked = "rq:heori:parked:default"

    def look_after() -> None:
        for name, _ in bench.redis.zscan_iter(parked):
            bench.redis.zadd(parked, {name: 0})
        bench.reclaim()

    look_after()
    assert bench.queue() == []
    bench.redis.hdel("rq:heori:paused", TASK.field)  # and no more
    look_after()
    assert sorted(ids(bench.claim())) == ["a", "b", "c"]


@pytest.mark.parametrize("what", [QUEUE, TASK, Pause("task", "another.task")])
def test_nothing_that_may_be_paused_is_handed_over(bench: Bench, what: Pause) -> None:
    idle = Idle(bench, "idle")
    idle.offer()
    pause(bench, what)
    send(bench, "shop.send", "a")
    if what == QUEUE:
        assert handed(bench) == 0
        resume(bench, what)
    assert idle.hears().claims == [], "it is woken to look"
    assert ids(bench.look().claims) == ([] if what == TASK else ["a"])


def test_a_paused_tenant_wakes_nobody_and_is_told_when_it_goes_on(bench: Bench) -> None:
    idle = Idle(bench, "idle")
    idle.offer()
    pause(bench, TENANT)
    flood(bench, "acme", 2)
    assert handed(bench) == 0
    resume(bench, TENANT)
    assert idle.hears().claims == []
    assert ids(bench.claim()) == ["acme0", "acme1"]


def test_what_runs_goes_on_to_its_end(bench: Bench) -> None:
    send(bench, "shop.send", "a", "b")
    claims = bench.claim()
    pause(bench, TASK)
    pause(bench, QUEUE)
    assert bench.ack(done(claims[0])) == []
    assert bench.release(claims[1], counted=False) == ["queued"]
    assert bench.look().claims == []


@pytest.mark.parametrize("key", ["rq:heori:paused", "rq:heori:paused-jobs:shop.send"])
def test_a_key_that_holds_something_else_pauses_nothing(bench: Bench, key: str) -> None:
    if key != "rq:heori:paused":
        pause(bench, TASK)
    bench.redis.lpush(key, "x")
    send(bench, "shop.send", "a")
    assert ids(bench.claim()) == ["a"]


def test_what_is_paused_is_counted_once_for_each_queue(bench: Bench) -> None:
    flood(bench, "acme", 1)
    for what in (TENANT, TASK, Pause("task", "another.task"), Pause.of_queue("other")):
        pause(bench, what)
    queues = ["default", "other"]
    counted = bench.execute(bench.commands.count_queues(queues, service="me", lease=30))
    default, other = counted["default"], counted["other"]
    assert (default.paused, default.tenants_paused, default.tasks_paused) == (False, 1, 2)
    assert (other.paused, other.tenants_paused, other.tasks_paused) == (True, 0, 2)

"""The script that puts off jobs whose task a consumer does not know."""

import pytest

from heori_common.protocol.job import (
    UNKNOWN_HERE,
    Claim,
    LockName,
    NewJob,
    Outcome,
)
from heori_common.protocol.payload import Call, encode_failure
from tests.rigs.script_bench import ADD, ME, Bench

WHY = encode_failure("app.tasks has no function fresh\n")


def say_unknown(
    bench: Bench, *claims: Claim, consumer: str = ME, wait: float = 300.0
) -> tuple[list[int], list[int]]:
    """Returns the numbers of the refused, and of those that are given up."""
    ended = [(claim, Outcome(UNKNOWN_HERE, WHY)) for claim in claims]
    told = bench.execute(bench.commands.ack(ended, consumer=consumer, unknown_wait=wait))
    assert told.broken == []
    return told.refused, told.given_up


def register(bench: Bench, name: str, queue: str = "default") -> None:
    bench.redis.sadd(f"rq:workers:{queue}", f"rq:worker:{name}")
    bench.redis.hset(f"rq:worker:{name}", "state", "idle")


def pause(bench: Bench, claim: Claim) -> tuple[float, float]:
    """Have a job wait; returns the least and the most seconds that it may be told to."""
    before = bench.now()
    assert say_unknown(bench, claim) == ([], [])
    after = bench.now()
    due = bench.redis.zscore("rq:scheduled:default", claim.job_id)
    assert due is not None
    clocks = 0.01  # by which a script's time may differ from that of a command
    return float(due) - after - clocks, float(due) - before + clocks


def test_a_job_that_is_unknown_waits_uncounted_and_comes_back(bench: Bench) -> None:
    bench.send("a")
    [claim] = bench.claim()
    least, most = pause(bench, claim)
    assert least <= 1 <= most
    job = bench.redis.hgetall("rq:job:a")
    assert (job[b"status"], job[b"heori_deliveries"]) == (b"scheduled", b"0")
    assert (job[b"worker_name"], job[b"started_at"]) == (b"", b"")
    assert float(job[b"heori_unknown_since"]) == pytest.approx(bench.now(), abs=60)
    assert job[b"heori_unknown"] == WHY
    assert bench.redis.zcard("rq:wip:default") == 0
    before = bench.everything()
    assert say_unknown(bench, claim) == ([], []), "its reply was lost, and it is sent again"
    assert bench.everything() == before


@pytest.mark.parametrize(("waited", "expected"), [(0, 1), (12, 3), (1_000, 10)])
def test_it_is_looked_at_less_and_less_often(bench: Bench, waited: int, expected: int) -> None:
    bench.send("a")
    began = bench.now()
    bench.redis.hset("rq:job:a", "heori_unknown_since", began - waited)
    register(bench, "another")
    [claim] = bench.claim()
    least, most = pause(bench, claim)
    # What passes here until it is told, it has waited as well, and counts by a quarter.
    assert least <= expected + (bench.now() - began) / 4
    assert most >= expected


def test_it_is_given_up_when_it_has_waited_and_all_who_serve_its_queue_have_had_it(
    bench: Bench,
) -> None:
    bench.send("a", "b", queue="default@@acme")
    bench.send("c")
    register(bench, ME)
    register(bench, "another")
    bench.redis.sadd("rq:workers:default", "rq:worker:gone")
    claims = bench.claim()
    assert len(claims) == 3
    assert say_unknown(bench, *claims, wait=0.001) == ([], []), "another may know it"
    for job_id in "abc":
        bench.redis.zadd("rq:scheduled:default", {job_id: 1})
    move = bench.commands.enqueue_due(["default"], consumer=ME, lock_ttl=60, batch=10)
    assert bench.execute(move).jobs == 3
    claims = bench.claim()
    assert sorted(claim.queue for claim in claims) == ["default", "default@@acme", "default@@acme"]
    assert say_unknown(bench, *claims, consumer="another", wait=300) == ([], []), "it may wait"
    for job_id in "abc":
        bench.redis.zadd("rq:scheduled:default", {job_id: 1})
    assert bench.execute(move).jobs == 3
    claims = bench.claim()
    assert say_unknown(bench, *claims, consumer="another", wait=0) == ([], [0, 1, 2])
    for job_id in "abc":
        job = bench.redis.hgetall(f"rq:job:{job_id}")
        assert job[b"status"] == b"failed"
        assert not any(name.startswith(b"heori_unknown") for name in job), "a replay begins anew"
        [(_, result)] = bench.redis.xrange(f"rq:results:{job_id}")
        assert result[b"exc_string"] == WHY
    assert bench.redis.zcard("rq:failed:default") == 1
    assert bench.redis.zcard("rq:failed:default@@acme") == 2


def test_it_does_not_wait_for_ever_for_one_that_never_has_it(bench: Bench) -> None:
    register(bench, "another")
    bench.send("a", "b")
    for job_id, waited in (("a", 90), ("b", 110)):
        bench.redis.hset(f"rq:job:{job_id}", "heori_unknown_since", bench.now() - waited)
    assert say_unknown(bench, *bench.claim(), wait=10) == ([], [1])


def test_what_was_deleted_meanwhile_is_not_made_anew(bench: Bench) -> None:
    bench.send("a")
    [claim] = bench.claim()
    bench.redis.delete("rq:job:a")
    assert say_unknown(bench, claim) == ([], [])
    assert not bench.redis.exists("rq:job:a")
    assert bench.redis.zcard("rq:scheduled:default") == 0


def test_it_leaves_room_in_its_queue_and_lets_go_of_its_locks(bench: Bench) -> None:
    lock = LockName("mutex", "door")
    job = NewJob.create("a", Call(ADD, [1], {}), 180, locks=[lock])
    for command in bench.commands.set_limit("default", 1):
        bench.execute(command)
    assert bench.execute(bench.commands.enqueue("default", [job])).new == 1
    [claim] = bench.claim()
    [(key, _)] = claim.locks
    assert bench.redis.zcard(f"{key}:holders") == 1
    assert say_unknown(bench, claim) == ([], [])
    assert bench.redis.zcard(f"{key}:holders") == 0
    assert bench.send("b") == 1, "it takes no room while it waits"

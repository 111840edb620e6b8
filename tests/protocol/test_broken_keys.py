"""A key that holds something else than it should harms no other queue and no other job."""

import pytest
from rq.registry import FailedJobRegistry
from rq.results import Result as RqResult

from heori_common.protocol.commands import (
    LEASE_MARGIN_S,
    Claimed,
    Reclaimed,
)
from heori_common.protocol.commands.builder import UNREADABLE
from heori_common.protocol.payload import decode_failure
from tests.rigs.script_bench import Bench, done, ids, member


@pytest.mark.parametrize("key", ["rq:queue:broken", "rq:wip:broken"])
def test_a_queue_with_a_broken_key_is_passed_over_and_loses_no_job(bench: Bench, key: str) -> None:
    bench.send("x", queue="broken")
    bench.send("a", queue="before")
    bench.send("b", queue="after")
    mend = bench.spoil(key)
    claimed = bench.look("before", "broken", "after", shares=[0, 100, 0])
    assert ids(claimed.claims) == ["a", "b"]
    assert claimed.broken == {key}
    again = bench.look("before", "broken", "after")
    assert again == Claimed([], broken=frozenset({key}), through=3)
    mend()
    assert ids(bench.claim("before", "broken", "after")) == ["x"]


@pytest.mark.parametrize("kind", ["queue", "wip", "failed"])
@pytest.mark.parametrize("way", ["release", "reclaim", "undo"])
def test_a_broken_key_of_one_queue_keeps_no_job_of_another_from_being_given_back(
    bench: Bench, way: str, kind: str
) -> None:
    bench.send("x", queue="broken")
    bench.send("a", queue="sound")
    x, a = bench.claim("broken", "sound")
    if way == "reclaim":
        bench.end_lease(x)
        bench.end_lease(a)
    mend = bench.spoil(f"rq:{kind}:broken")
    if way == "release":
        # The lease table is not needed for it, and what cannot be given back stays under it.
        assert bench.release(x, a) == ["queued" if kind == "wip" else "kept", "queued"]
    elif way == "reclaim":
        reclaimed = bench.execute(bench.reclaim_command("broken", "sound"))
        assert reclaimed == Reclaimed(
            queued=1,
            dead=0,
            coming_back=False,
            broken=frozenset({f"rq:{kind}:broken"}),
            dead_ids=[],
        )
    else:
        undone = bench.undo("broken", "sound", token=f"{bench.calls:016x}")
        assert undone == (1 if kind == "wip" else 2)
    assert bench.queue("sound") == ["a"]
    mend()
    if bench.queue("broken") != ["x"]:
        bench.end_lease(x)
        assert bench.reclaim("broken") == (1, 0)
    assert bench.queue("broken") == ["x"]
    [again] = bench.claim("broken")
    assert bench.ack(done(again)) == []


def test_a_broken_key_of_one_queue_keeps_no_lease_of_another_from_being_extended(
    bench: Bench,
) -> None:
    bench.send("x", queue="broken")
    bench.send("a", queue="sound")
    claims = bench.claim("broken", "sound")
    bench.spoil("rq:wip:broken")
    bench.end_lease(claims[1], ago=-1)
    assert bench.execute(bench.commands.extend_leases(claims, lease=60)).lost == [0]
    assert bench.wip("sound")[member(claims[1])] > bench.now() + LEASE_MARGIN_S + 50


def test_a_job_whose_key_was_overwritten_while_it_ran_fails_where_rq_looks(bench: Bench) -> None:
    bench.send("wrong", "good")
    bench.claim()
    bench.redis.delete("rq:job:wrong")
    bench.redis.rpush("rq:job:wrong", "not ours")
    undone = bench.undo("default", token=f"{bench.calls:016x}")
    assert undone == 2, "even when nobody has heard of the claim"
    assert bench.queue() == ["good"]
    assert FailedJobRegistry("default", connection=bench.redis).get_job_ids() == ["wrong"]
    [result] = bench.redis.xrange("rq:results:wrong")
    told = RqResult.restore("wrong", result[0].decode(), result[1], connection=bench.redis)
    assert told.exc_string == decode_failure(UNREADABLE)
    assert bench.redis.lrange("rq:job:wrong", 0, -1) == [b"not ours"]

"""The scripts that send jobs and cancel them, on a real server."""

import pytest

from heori_common.protocol.commands import RESULT_TTL_S
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_common.redis.errors import RedisRefused
from tests.rigs.script_bench import ADD, Bench, ids


def test_jobs_sent_again_change_nothing_and_only_new_ones_are_added(bench: Bench) -> None:
    assert bench.send("a", "b") == 2
    bench.redis.hset("rq:job:a", "status", "started")
    before = bench.everything()
    assert bench.send("a", "b") == 0
    assert bench.everything() == before
    assert bench.send("b", "c") == 1
    assert bench.queue() == ["a", "b", "c"]
    assert bench.field("a", "status") == "started"


def test_a_job_that_has_been_claimed_is_not_queued_by_sending_it_again(bench: Bench) -> None:
    bench.send("a")
    bench.claim()
    assert bench.send("a") == 0
    assert bench.queue() == []


def test_nothing_is_written_when_the_queue_is_no_list(bench: Bench) -> None:
    bench.redis.set("rq:queue:default", "text")
    for _ in range(2):
        with pytest.raises(RedisRefused, match="WRONGTYPE"):
            bench.send("a")
    assert bench.redis.keys("*") == [b"rq:queue:default"]


def test_cancelled_and_deleted_jobs_are_told_from_those_that_may_run(bench: Bench) -> None:
    bench.send("kept", "cancelled", "deleted", "wrong")
    claims = bench.claim()
    bench.rq_job("cancelled").cancel()
    bench.rq_job("deleted").delete()
    bench.redis.delete("rq:job:wrong")
    bench.redis.set("rq:job:wrong", "text")
    assert bench.execute(bench.commands.find_canceled(ids(claims))) == [1, 2]


def test_what_waits_or_is_scheduled_can_be_cancelled_and_nothing_else(bench: Bench) -> None:
    bench.send("claimed", "popped", "waits", "wrong", "stays")
    bench.claim(count=1)
    bench.redis.lpop("rq:queue:default")  # by a stock worker, which has not said so yet
    bench.spoil("rq:job:wrong")
    scheduled = [NewJob.create("later", Call(ADD, [1], {}), 180)]
    bench.execute(bench.commands.enqueue("default", scheduled, delay=60))
    names = ["claimed", "popped", "waits", "wrong", "later", "nobody"]
    assert bench.execute(bench.commands.cancel("default", names)) == [2, 4]
    assert bench.execute(bench.commands.cancel("default", names)) == []
    assert bench.queue() == ["wrong", "stays"]
    assert bench.redis.zcard("rq:scheduled:default") == 0
    assert bench.rq_job("waits").is_canceled
    ends = bench.now() + RESULT_TTL_S
    assert bench.redis.zscore("rq:canceled:default", "later") == pytest.approx(ends, abs=2)
    assert bench.redis.ttl("rq:job:later") == pytest.approx(RESULT_TTL_S, abs=2)
    assert bench.field("claimed", "status") == "started"

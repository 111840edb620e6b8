"""The scripts that send jobs and cancel them, on a real server."""

from typing import Any, cast

import msgpack
import pytest

from heori_common.protocol.commands import RESULT_TTL_S, Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import Call
from heori_common.redis.errors import RedisRefused
from tests.rigs.script_bench import ADD, Bench, ids
from tests.rigs.waiting import about


def test_jobs_sent_again_change_nothing_and_only_new_ones_are_added(bench: Bench) -> None:
    assert bench.send("a", "b") == 2
    bench.redis.hset("rq:job:a", "status", "started")
    before = bench.everything()
    assert bench.send("a", "b") == 0
    assert bench.everything() == before
    assert bench.send("b", "c") == 1
    assert bench.queue() == ["a", "b", "c"]
    assert bench.field("a", "status") == "started"


def test_a_job_that_is_sent_among_many_costs_one_command(bench: Bench) -> None:
    jobs = 64
    assert bench.send("first") == 1  # which connects, and may load the script
    bench.redis.config_resetstat()
    assert bench.send(*(f"{n}" for n in range(jobs))) == jobs
    used: dict[str, Any] = bench.redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): told["calls"] for name, told in used.items()}
    assert calls["hset"] == jobs
    assert sum(calls.values()) <= jobs + 10, "and a few for all together"


@pytest.mark.parametrize(
    "options",
    [{}, {"delay": 1.5}, {"at_front": True, "when_full": "reject"}, {"at": 9.5, "ticket": "t"}],
)
def test_a_call_that_is_built_again_differs_in_its_jobs_and_nothing_else(
    options: dict[str, Any],
) -> None:
    call = Call(ADD, ["\0", b"\xa1\0".decode("latin-1")], {})
    arguments = []
    for commands in (Commands(), *2 * [Commands(Keys("other"))]):
        for job in ("a", "b"):
            command = commands.enqueue("q", [NewJob.create(job, call, 180)], **options)
            argument = msgpack.unpackb(cast("bytes", command.words[-1]))
            [[name, fields]] = argument.pop("jobs")
            assert (name, fields[::2]) == (job, ["data", "description", "timeout"])
            arguments.append((*command.words[:-1], argument))
    assert arguments[0] == arguments[1] != arguments[2]
    assert arguments[2] == arguments[3] == arguments[4] == arguments[5]


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
    assert bench.redis.zscore("rq:canceled:default", "later") - bench.now() == about(RESULT_TTL_S)
    assert bench.redis.ttl("rq:job:later") == about(RESULT_TTL_S)
    assert bench.field("claimed", "status") == "started"

"""One suite for the blocking client and for the asyncio one: whatever a script says, both bring."""

import asyncio
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
import redis as redis_py

from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import (
    HEARTBEAT_TTL_S,
    Command,
    Commands,
    Lead,
    QueueCounts,
    Tidied,
)
from heori_common.protocol.commands.pausing import Pause
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_common.protocol.scripts import script
from heori_common.redis.address import Address
from heori_common.redis.async_client import AsyncRedisClient
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from tests.rigs.lua_files import CALLED
from tests.rigs.proxy import Proxy, proxy
from tests.rigs.script_bench import ADD, ME, Bench, Execute, done, failed, ids, member
from tests.rigs.waiting import about

T = TypeVar("T")


@pytest.fixture
def bench(connect: Callable[[str], Execute], redis_url: str, redis: redis_py.Redis) -> Bench:
    return Bench(connect(redis_url), redis, Commands())


@pytest.mark.parametrize("size", [1_048_577, 5_000_000, 50_000_000])
def test_what_is_more_than_a_server_takes_is_refused_and_the_next_is_not(
    connect: Callable[[str], Execute], size: int
) -> None:
    with EmbeddedValkey({"proto-max-bulk-len": "1mb"}) as server:
        execute = connect(server.url)
        for _ in range(3):
            with pytest.raises(RedisRefused, match="its proto-max-bulk-len") as refused:
                execute(Command(("SET", "key", b"x" * size), bytes))
            assert refused.value.is_size
            assert execute(Command(("EXISTS", "key"), int)) == 0


AWKWARD_IDS = ["with space", "with\nnewline", "co:lon:", "힐", "\udcff\udcfe", "", "x" * 5000]


def test_any_bytes_may_be_an_id_and_come_back_unchanged(bench: Bench) -> None:
    raw = [job_id.encode("utf-8", "surrogateescape") for job_id in AWKWARD_IDS]
    bench.send("pattern")
    pattern = bench.redis.hgetall("rq:job:pattern")
    for job_id in raw:
        bench.redis.hset(b"rq:job:" + job_id, mapping=pattern)
        bench.redis.rpush("rq:queue:default", job_id)
    _, *claims = bench.claim()
    assert ids(claims) == AWKWARD_IDS
    assert bench.execute(bench.commands.extend_leases(claims, lease=60)).lost == []
    assert bench.release(*claims) == ["queued"] * len(raw)
    claims = bench.claim()
    for claim in claims:
        bench.redis.zadd("rq:wip:default", {member(claim).encode("utf-8", "surrogateescape"): 0})
    assert bench.reclaim() == (len(raw), 0)
    assert bench.redis.lrange("rq:queue:default", 0, -1) == raw  # in the order of the claim
    claims = bench.claim()
    assert bench.ack(*map(done, claims)) == []
    assert set(bench.redis.zrange("rq:finished:default", 0, -1)) == set(raw)


def test_a_thousand_jobs_are_claimed_extended_and_acknowledged_at_once(bench: Bench) -> None:
    names = [f"job{number}" for number in range(1000)]
    assert bench.send(*names) == 1000
    claims = bench.claim(count=1000)
    assert ids(claims) == names
    assert len({claim.execution for claim in claims}) == 1000
    assert bench.execute(bench.commands.extend_leases(claims, lease=9)).lost == []
    assert bench.ack(*map(done, claims)) == []
    assert bench.redis.zcard("rq:finished:default") == 1000


def test_every_script_works_on_a_server_that_has_lost_them_all(bench: Bench) -> None:
    seen: set[str] = set()
    execute = bench.execute

    class Forgetful:
        def __call__(self, command: Command[T], /) -> T:
            bench.redis.script_flush()
            if command.in_full is not None:
                seen.add(str(command.words[1]))
            return execute(command)

    bench.execute = Forgetful()
    assert bench.send("a", "b") == 2
    a, b = bench.claim()
    assert bench.execute(bench.commands.extend_leases([a, b], lease=9)).lost == []
    assert bench.execute(bench.commands.find_canceled(ids([a, b]))) == []
    assert bench.release(a) == ["queued"]
    assert bench.execute(bench.commands.note_progress([(b, 0.5, "half")])) == 1
    assert bench.ack(done(b)) == []
    assert bench.reclaim() == (0, 0)
    assert bench.undo("default", token="f") == 0
    assert bench.execute(bench.commands.advance([("default", "no such job")])) == []
    assert len(bench.execute(bench.commands.read_jobs(["b"], most_value=9))) == 1
    assert bench.execute(bench.commands.replay("default", ["b"], forget=(), dry_run=True)) == [
        "absent"
    ]
    assert bench.execute(bench.commands.purge("default", ["b"], dry_run=True)) == ["absent"]
    assert bench.execute(bench.commands.enqueue_due([], consumer=ME, lock_ttl=1, batch=1)).jobs == 0
    assert bench.execute(bench.commands.resign([], consumer=ME)) == 0
    assert bench.execute(bench.commands.cancel("default", ["a"])) == [0]
    assert bench.execute(bench.commands.count_queues([], service=ME, lease=1)) == {}
    assert bench.execute(bench.commands.tidy(consumer=ME, interval=1)) == Tidied("0", 0, 0, ())
    assert bench.execute(bench.commands.wake(["default"])) == 0
    assert bench.execute(bench.commands.tell_canceled("default")) == "0"
    assert bench.execute(bench.commands.ask_consumers("default", ["a"], recalls=True)) == []
    assert bench.execute(bench.commands.end_recall(["a"])) == [0]
    assert bench.execute(bench.commands.tell_begun([(a, True)])) == 0
    assert bench.execute(bench.commands.find_lost("b", "default", ["rq:failed:default"])) is None
    assert bench.lead() == Lead(True, 0, pause=0)
    assert bench.execute(bench.commands.settle_dependents()) is None
    assert bench.execute(bench.commands.record_executions([a], consumer=ME, lease=9)) == 0
    assert not bench.execute(bench.commands.reclaim_stock(["default"]))
    tidying = bench.commands
    for look in (tidying.tidy_groups(), tidying.tidy_limits(), tidying.tidy_same_calls()):
        assert bench.execute(look) == ("0", 0)
    assert bench.execute(bench.commands.start_waiting("default")) == ("0", 0)
    taking = bench.commands.take_back_overdue("service", consumer=ME, max_deliveries=3)
    assert bench.execute(taking) == 0
    missed = bench.commands.take_back_missed("service", ["f"], consumer=ME, max_deliveries=3)
    assert bench.execute(missed) == 0
    assert bench.execute(bench.commands.announce(ME, ["default"], {"pid": 1})).broken == frozenset()
    assert bench.execute(bench.commands.drain(ME, drains=True)) == "stock"
    assert bench.execute(bench.commands.publish_tasks("1", {"shop.add": b"{}"})) == 0
    assert bench.execute(bench.commands.keep_tasks("1", begins=True))
    assert bench.execute(bench.commands.find_task("shop.add")).described == b"{}"
    assert bench.execute(bench.commands.keep_lessons("shop", {"shop.add": b"[]"})) == 1
    paused = Pause.of_queue("default")
    assert bench.execute(bench.commands.pause(paused))
    assert bench.execute(bench.commands.resume(paused)) is not None
    assert bench.execute(bench.commands.publish_schedule("s", [], [], consumer=ME, ttl=9)) >= 0
    assert bench.execute(bench.commands.look_at_schedule("s", "", {})).states == {}
    assert bench.execute(bench.commands.send_ticks([])) == []
    assert bench.execute(bench.commands.pause_entry("none", paused=True)) >= 0
    assert bench.execute(bench.commands.forget_entry("s", "none")) == ""
    assert bench.execute(bench.commands.read_schedule("s")).now > 0
    read = bench.commands.read_dead("default", "", "", 9, newest_first=True)
    assert bench.execute(read) == []
    assert bench.execute(bench.commands.results("none", 9)) == []
    acting = bench.commands
    for act in (
        acting.stop_job("none"),
        acting.run_now("default", "none"),
        acting.retry_canceled("default", "none", ()),
        acting.delete_job("none"),
    ):
        assert bench.execute(act) == ""
    # Those of the locks are called in tests/locks/test_lock_scripts.py.
    assert seen == {script(name).digest for name in CALLED if not name.startswith("lock_")}


def test_a_known_script_is_sent_by_its_digest_only(bench: Bench) -> None:
    command = bench.commands.extend_leases([], lease=1)
    bench.execute(command)
    bench.redis.config_resetstat()
    bench.execute(command)
    stats = bench.redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in stats


def test_the_blocking_client_replaces_a_broken_connection(
    redis: redis_py.Redis, redis_url: str
) -> None:
    with RedisClient(redis_url) as client:
        for _ in range(2):
            assert client.execute(Commands().status("a")) is None
            redis.client_kill_filter(_type="normal", skipme=True)
            client.execute_many(Commands().counts("default"))
            redis.client_kill_filter(_type="normal", skipme=True)


@pytest.fixture
def lossy(redis_url: str) -> Iterator[Proxy]:
    """Stands before the server and loses its first reply to a script."""
    with proxy(urlsplit(redis_url).port or 0) as made:
        made.lose = b"EVAL"
        yield made


def test_a_producer_whose_reply_was_lost_sends_again_and_the_job_is_there_once(
    lossy: Proxy, redis: redis_py.Redis
) -> None:
    job = NewJob.create("a", Call(ADD, [1], {}), 180)
    command = Commands().enqueue("default", [job])
    redis.script_load(script("enqueue").source)
    with RedisClient(f"redis://127.0.0.1:{lossy.port}") as client:
        assert client.execute(command).new == 0, "the second time, it was there already"
    assert lossy.lost == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [b"a"]


def test_a_claim_whose_reply_was_lost_is_not_made_twice(
    lossy: Proxy, redis: redis_py.Redis, redis_url: str
) -> None:
    async def claim() -> None:
        client = AsyncRedisClient(f"redis://127.0.0.1:{lossy.port}")
        command = Commands().claim(
            ["default"], 1, lease=30, consumer=ME, token="0", max_payload=1000
        )
        with pytest.raises(RedisUnavailable, match="is away"):
            await client.execute(command)
        assert await client.execute(Commands().status("b")) == "queued"
        await client.close()

    jobs = [NewJob.create(id_, Call(ADD, [1], {}), 180) for id_ in ("a", "b")]
    with RedisClient(redis_url) as producer:
        producer.execute(Commands().enqueue("default", jobs))
    redis.script_load(script("claim").source)
    asyncio.run(claim())
    assert lossy.lost == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [b"b"]
    assert redis.zcard("rq:wip:default") == 1, "it can be undone, or the reaper will give it back"


def test_a_server_that_is_away_is_named_by_its_address_without_the_password(
    connect: Callable[[str], Execute],
) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        execute = connect(f"redis://user:secret@127.0.0.1:{port}/0")
        with pytest.raises(RedisUnavailable, match=f"Redis at 127.0.0.1:{port} is away") as caught:
            execute(Commands().status("a"))
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@example.org/3", "example.org:6379"),
        ("rediss://u:p@10.0.0.1:6380", "10.0.0.1:6380"),
        ("redis://", "127.0.0.1:6379"),
        ("unix:///run/valkey.sock?db=1", "/run/valkey.sock"),
    ],
)
def test_an_address_tells_where_and_no_password(url: str, expected: str) -> None:
    assert str(Address.parse(url)) == expected


def test_whoever_looks_sees_queues_counts_and_consumers(bench: Bench, redis_url: str) -> None:
    bench.send("a", "b", "c", "d")
    bench.send("x", queue="with.dot")
    a, b, _ = bench.claim(count=3)
    bench.ack(done(a), failed(b))
    assert bench.execute(bench.commands.queues()) == ["default", "with.dot"]
    with RedisClient(redis_url) as client:
        counts = QueueCounts(*client.execute_many(bench.commands.counts("default")))
        assert counts == QueueCounts(
            waiting=1, scheduled=0, running=1, finished=1, failed=1, limit=None, blocked=0
        )
        client.execute(bench.commands.announce(ME, ["default"], {"state": "busy"}))
        beat = bench.commands.heartbeat(ME, "2026-01-02T00:00:00.0Z", {"state": "idle"})
        client.execute(beat)
    assert bench.execute(bench.commands.consumers()) == [ME]
    assert bench.execute(bench.commands.consumer(ME))["state"] == "idle"
    assert bench.redis.ttl(f"rq:worker:{ME}") == about(HEARTBEAT_TTL_S)
    assert bench.redis.smembers("rq:workers:default") == {f"rq:worker:{ME}".encode()}
    with RedisClient(redis_url) as client:
        client.execute(bench.commands.retire(ME, ["default"], "2026-01-02T00:00:01.0Z"))
    assert bench.execute(bench.commands.consumers()) == []
    assert not bench.redis.exists("rq:workers:default")
    assert bench.redis.ttl(f"rq:worker:{ME}") == about(60)


def test_a_result_is_read_and_the_wait_for_the_next_begins_after_it(bench: Bench) -> None:
    commands = bench.commands
    assert bench.execute(commands.result("a")) is None
    assert bench.execute(commands.wait_for_result("a", 0.01)) is False
    body = b64encode(b"1")
    bench.redis.xadd("rq:results:a", {"type": "4", "worker_name": "", "return_value": body})
    assert bench.execute(commands.wait_for_result("a", 0.01)) is True
    result = bench.execute(commands.result("a"))
    assert result is not None
    assert (result.type, result.return_value, result.exc_string) == (4, body, None)
    assert bench.execute(commands.wait_for_result("a", 0.01, result.id)) is False
    bench.redis.xadd("rq:results:a", {"type": "2", "worker_name": "", "exc_string": "x"})
    assert bench.execute(commands.wait_for_result("a", 0.01, result.id)) is True
    latest = bench.execute(commands.result("a"))
    assert latest is not None
    assert (latest.type, latest.return_value, latest.exc_string) == (2, None, b"x")

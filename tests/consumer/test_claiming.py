"""From which queues jobs are claimed and when, and what Redis tells a consumer by itself."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import strategies as st
from rq.command import send_command
from rq.suspension import resume, suspend

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import Claim
from heori_consumer.supervisor.cancellation import Cancellation
from heori_consumer.supervisor.listener import RemoteCommand, parse_command
from heori_consumer.supervisor.queue_order import Order, QueueOrder, parse_queues
from tests.rigs.consumers import Consumer
from tests.rigs.listening import context_of, ended, listening
from tests.rigs.stock_rq import enqueue
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

ME = "consumer-1"
SCRIPTS = "cmdstat_evalsha"


def name_of(consumer: Consumer) -> str:
    """Under which name RQ's tools know it."""
    [line] = [line for line in consumer.log if line["event"] == "consuming"]
    return str(line["consumer"])


def looks_about_once_a_second(redis: Any) -> bool:
    """About five scripts are called each second; if it asked again and again, hundreds would be.

    One that has just started has more to do, and on a busy machine for some time.
    """
    redis.config_resetstat()
    begin = time.monotonic()
    time.sleep(1.5)
    calls = redis.info("commandstats").get(SCRIPTS, {"calls": 0})["calls"]
    return bool(calls < 15 * (time.monotonic() - begin))


# In which order


weights_of = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(weights_of, st.lists(st.integers(0, 100), max_size=20))
def test_shares_follow_the_weights_however_the_jobs_are_spread_over_the_calls(
    weights: list[int], counts: list[int]
) -> None:
    order, one_by_one = QueueOrder(len(weights), weights), QueueOrder(len(weights), weights)
    got = [0] * len(weights)
    for count in counts:
        shares = order.shares(count)
        assert sum(shares) == count
        assert min(shares) >= 0
        got = [a + b for a, b in zip(got, shares, strict=True)]
        for _ in range(count):
            single = one_by_one.shares(1)
            assert sorted(single) == [0] * (len(weights) - 1) + [1]
            shares[single.index(1)] -= 1
        assert not any(shares), "as many single jobs come from the same queues"
    rounds, rest = divmod(sum(counts), sum(weights))
    for share, weight in zip(got, weights, strict=True):
        assert rounds * weight <= share <= rounds * weight + min(rest, weight)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 200))
def test_who_has_gathered_most_is_served_next(weights: list[int], turns: int) -> None:
    order, gathered = QueueOrder(len(weights), weights), [0] * len(weights)
    for _ in range(turns):
        gathered = [a + b for a, b in zip(gathered, weights, strict=True)]
        served = gathered.index(max(gathered))
        gathered[served] -= sum(weights)
        [share] = [number for number, share in enumerate(order.shares(1)) if share]
        assert share == served


def test_turns_are_spread_as_nginx_spreads_them() -> None:
    order = QueueOrder(3, [5, 1, 1])
    assert "".join("abc"[order.shares(1).index(1)] for _ in range(14)) == "aabacaa" * 2


@given(st.integers(1, 6), st.lists(st.integers(0, 100), max_size=5))
def test_in_strict_order_the_first_queue_may_give_all(queues: int, counts: list[int]) -> None:
    order = QueueOrder(queues)
    for count in counts:
        assert order.shares(count) == [count]


@pytest.mark.parametrize(
    ("given_queues", "order", "expected"),
    [
        (["a"], None, (("a",), None)),
        (["a", "b", "a"], None, (("a", "b"), None)),
        (["a", "b"], "strict", (("a", "b"), None)),
        (["a", "b"], "round-robin", (("a", "b"), (1, 1))),
        (["a=3", "b"], None, (("a", "b"), (3, 1))),
        (["a", "b=1000"], "weight", (("a", "b"), (1, 1000))),
        (["a=b=2", "a=b=2"], None, (("a=b",), (2,))),
        (["a=3=1"], None, (("a=3",), (1,))),
        (["app:high=3", "app:low=1"], None, (("app:high", "app:low"), (3, 1))),
    ],
)
def test_queues_are_read_with_their_weights(
    given_queues: list[str], order: Order | None, expected: object
) -> None:
    assert parse_queues(given_queues, order) == expected


@pytest.mark.parametrize(
    ("given_queues", "order", "message"),
    [
        *(
            ([f"a={bad}"], None, r"'a=.*': its weight must be a .* from 1 to 1000, .*=1$")
            for bad in ("0", "-1", "1.5", "1001", "x", "", "٣", "9" * 5000)
        ),
        (["=3"], None, "the name must be a string of 1 to 512 characters"),
        (["a=3", "a=2"], None, "'a' is given twice"),
        (["b", "a=3"], "strict", "a weight such as a=3 needs the order weight, not strict"),
        (["b", "a=3"], "round-robin", "needs the order weight, not round-robin"),
    ],
)
def test_bad_weights_are_refused_in_one_line(
    given_queues: list[str], order: Order | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        parse_queues(given_queues, order)
    assert "\n" not in str(refusal.value)


def test_the_command_line_refuses_bad_weights(consume: Callable[..., Consumer]) -> None:
    consumer = consume(queue="high=0")
    assert consumer.join(60) == 2
    assert "heori: queue 'high=0': its weight must be a whole number" in str(consumer.log)


@pytest.mark.parametrize(
    ("arguments", "high", "low", "starts"),
    [
        (["--batch", "8", "--queue", "low"], "high", 0, "high " * 150),
        (["--batch", "8", "--queue", "low=1"], "high=3", 50, ""),
        (["--batch", "1", "--queue", "low", "--order", "round-robin"], "high", 100, "high low"),
    ],
    ids=["strict", "weight", "round-robin"],
)  # fmt: skip
def test_two_full_queues_are_served_in_the_order_asked_for(
    arguments: list[str],
    high: str,
    low: int,
    starts: str,
    consume: Callable[..., Consumer],
    redis: Any,
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs"
    path.touch()
    enqueue(redis, "record", *((str(path), 1) for _ in range(150)), queue="high")
    enqueue(redis, "record", *((str(path), 0) for _ in range(150)), queue="low")
    consumer = consume("--slots", "1", *arguments, queue=high).ready()
    until(lambda: len(path.read_bytes().split()) == 300)
    ran = ["high" if line == b"1" else "low" for line in path.read_bytes().split()]
    assert " ".join(ran).startswith(starts.rstrip())
    # While both are full, the low queue gets its share; by weight, it may be some turns behind.
    first = ran[:150] if low == 0 else ran[:200]
    assert abs(first.count("low") - low) <= 4
    assert consumer.stop() == 0


# What Redis tells


def subscribers(redis: Any) -> list[int]:
    """How many connections hear of what is told to us, and how many of commands to us."""
    channels = (Commands().keys.told(ME), Commands().keys.commands_to(ME))
    return [number for _, number in redis.pubsub_numsub(*channels)]


def test_one_connection_hears_of_jobs_writes_and_messages_also_after_it_was_lost(
    redis: Any, redis_url: str
) -> None:
    async def main() -> None:
        async with listening(redis_url, "a", "b") as heard:
            for due in range(2):
                # There is one subscription, once Redis has seen how an earlier one went.
                await asyncio.to_thread(until, lambda: subscribers(redis) == [1, 1])
                waiting = asyncio.create_task(heard.rings("a", "b"))
                [job] = await asyncio.to_thread(enqueue, redis, "add", [1], queue="b")
                assert await waiting
                heard.arm()
                assert await heard.rings("a", "b"), "it rings at once when there is a job already"
                assert await heard.track("rq:canceled:b")
                await asyncio.to_thread(job.cancel)
                assert await asyncio.wait_for(heard.written.get(), 60) == "rq:canceled:b"
                assert await heard.track("rq:scheduled:a")
                await asyncio.to_thread(redis.zadd, "rq:scheduled:a", {"id": due})
                assert await asyncio.wait_for(heard.written.get(), 60) == "rq:scheduled:a"
                redis.publish(f"rq:heori:told:{ME}", b"something")
                assert await asyncio.wait_for(heard.told.get(), 60) == b"something"
                assert await heard.track("rq:kept")
                send_command(redis, ME, "stop-execution", job_id="j", execution_id="e")
                command = await asyncio.wait_for(heard.commands.get(), 60)
                assert command == RemoteCommand("stop-execution", "j", "e")
                assert redis.client_kill_filter(_type="pubsub") >= 1  # of other tests, perhaps
                await heard.connected("a", "b")
                assert await heard.written.get() == "rq:kept", "it may have been missed"

    asyncio.run(main())


def test_each_write_is_heard_of_and_broken_keys_and_a_flush_end_nothing(
    redis: Any, redis_url: str
) -> None:
    async def main() -> None:
        async with listening(redis_url, "a", "b") as heard:
            for _ in range(3):
                [job] = enqueue(redis, "add", [1], queue="a")
                await heard.track("rq:canceled:a")
                job.cancel()
                assert await asyncio.wait_for(heard.written.get(), 60) == "rq:canceled:a"
            keys = {"rq:canceled:a", "rq:canceled:b"}
            for key in keys:
                await heard.track(key)
            redis.set("rq:canceled:b", "text")
            redis.set("rq:queue:b", "text")
            heard.arm()
            waiting = asyncio.create_task(heard.rings("b", "a"))
            redis.flushdb()
            assert await waiting
            assert {await asyncio.wait_for(heard.written.get(), 60) for _ in keys} == keys
            await heard.track("rq:canceled:b")
            enqueue(redis, "add", [1], queue="b")[0].cancel()
            assert await asyncio.wait_for(heard.written.get(), 60) == "rq:canceled:b"

    asyncio.run(main())


def test_suspend_and_resume_are_heard_of(redis: Any, redis_url: str) -> None:
    async def main() -> None:
        async with listening(redis_url, "a", "b") as heard:
            for change in (suspend, resume):
                waiting = asyncio.create_task(heard.rings("a", "b"))
                await asyncio.sleep(0)
                await asyncio.to_thread(change, redis)
                assert await waiting
                assert heard.changed == {"a", "b"}, "any of them may have jobs"
                heard.arm()

    asyncio.run(main())


def test_a_server_without_the_right_to_subscribe_still_rings(redis: Any, redis_url: str) -> None:
    redis.acl_setuser("deaf", enabled=True, passwords=["+x"], categories=["+@all"], keys=["*"])
    try:
        url = redis_url.replace("redis://", "redis://deaf:x@")

        async def main() -> None:
            async with listening(url, "a") as heard:
                waiting = asyncio.create_task(heard.rings("a"))
                await asyncio.to_thread(enqueue, redis, "add", [1], queue="a")
                assert await waiting

        asyncio.run(main())
    finally:
        redis.acl_deluser("deaf")


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"no json", b"[]", b"3", b"{}", b"[" * 100_000, b'{"command": 3}',
     b'{"command": "stop-job", "job_id": {}}'],
)  # fmt: skip
@pytest.mark.usefixtures("full_stack")
def test_what_is_no_command_is_not_taken_for_one(payload: bytes) -> None:
    assert parse_command(payload) is None


def test_rqs_commands_are_read() -> None:
    assert parse_command(b'{"command": "shutdown"}') == ("shutdown", "", "")
    job = b'{"command": "stop-job", "job_id": "j", "more": 1}'
    assert parse_command(job) == ("stop-job", "j", "")


@pytest.mark.parametrize("model", [["--slots", "4"], ["--model", "processes", "-p", "2"]])
def test_a_consumer_takes_three_connections_whatever_it_runs(
    model: list[str], consume: Callable[..., Consumer], redis: Any, tmp_path: Path
) -> None:
    gate, path = tmp_path / "gate", tmp_path / "runs"
    path.touch()
    before = {client["id"] for client in redis.client_list()}

    def theirs() -> set[str]:
        return {client["id"] for client in redis.client_list()} - before

    consumer = consume(*model, "--queue", "b").ready()
    enqueue(redis, "wait_for_file", [str(gate)])
    until(lambda: consumer.metric("heori_slots_running") == 1)
    most = 0
    for queue in ("default", "b") * 3:
        enqueue(redis, "record", *((str(path), n) for n in range(100)), queue=queue)
        most = max(most, len(theirs()))
    until(lambda: len(path.read_bytes().split()) == 600 or not redis.ping())
    gate.touch()
    assert max(most, len(theirs())) == 3
    assert len([c for c in redis.client_list(_type="pubsub") if c["id"] in theirs()]) == 1
    assert consumer.stop() == 0


# Cancelled after being claimed


def test_of_the_jobs_held_those_that_were_cancelled_are_dropped(redis: Any, redis_url: str) -> None:
    async def main() -> None:
        context = context_of(redis_url, "a", "b")
        redis_client, commands, leases = context.redis, context.commands, context.leases
        dropped: asyncio.Queue[set[str]] = asyncio.Queue()
        cancellation = Cancellation(context, lambda ids: dropped.put_nowait(set(ids)))
        role = asyncio.create_task(cancellation.run())

        async def claim() -> list[Claim]:
            command = commands.claim(
                ["a", "b"], 10, lease=30, consumer=ME, token="t", max_payload=1000
            )
            return (await redis_client.execute(command)).claims

        one, two, _ = enqueue(redis, "add", [1], [2], [3], queue="a")
        [other] = enqueue(redis, "add", [1], queue="b")
        leases.add(await claim())
        one.cancel()
        two.delete()
        cancellation.missed()
        assert await asyncio.wait_for(dropped.get(), 60) == {one.id, two.id}
        cancellation.told([other.id.encode(), b"of another consumer"])
        assert await asyncio.wait_for(dropped.get(), 60) == {other.id}

        [late] = enqueue(redis, "add", [1], queue="b")
        async with leases.claiming:
            claims = await claim()
            late.cancel()
            # before the consumer knows what it has claimed
            cancellation.told([late.id.encode()])
            leases.drop(leases.held())
            leases.add(claims)
        assert await asyncio.wait_for(dropped.get(), 60) == {late.id}
        await ended(role)
        await redis_client.close()

    asyncio.run(main())


# rq's commands


def test_a_suspended_consumer_claims_nothing_and_says_so_until_it_is_resumed(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    suspend(redis)
    consumer = consume().ready()
    consumer.wait_for("suspended: claiming nothing until `rq resume`")
    handle = producer.submit(sample_tasks.add, 1)
    record = f"rq:worker:{name_of(consumer)}"
    until(lambda: looks_about_once_a_second(redis))
    until(lambda: consumer.metric("heori_suspended") == 1)
    until(lambda: redis.hget(record, "state") == b"suspended")
    assert handle.status() == "queued"
    resume(redis)
    assert handle.result(60) == 3
    consumer.wait_for("resumed")
    until(lambda: consumer.metric("heori_suspended") == 0)
    suspend(redis)
    consumer.wait_for("suspended: claiming nothing until `rq resume`")
    assert consumer.stop() == 0
    events = [line["event"] for line in consumer.log]
    assert sum("suspended" in event for event in events) == 2


def test_a_broken_registry_of_workers_only_hides_the_consumer(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    redis.set("rq:workers", "text")
    consumer = consume()
    told = consumer.wait_for("a key has the wrong type and is passed over until it is mended")
    assert told["key"] == "rq:workers"
    consumer.ready()
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert redis.smembers("rq:workers:default") == {f"rq:worker:{name_of(consumer)}".encode()}
    assert consumer.stop() == 0


@pytest.mark.parametrize("key", ["rq:queue:broken", "rq:wip:broken", "rq:failed:broken"])
def test_a_broken_key_is_told_once_and_the_other_queue_is_served(
    key: str, consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    [job] = enqueue(redis, "add", [1], queue="broken")
    if key == "rq:queue:broken":
        redis.rename(key, "aside")
    redis.set(key, "text")
    consumer = consume("--queue", "default", queue="broken").ready()
    told = consumer.wait_for("a key has the wrong type and is passed over until it is mended")
    assert (told["key"], told["look"]) == (key, f"redis-cli TYPE {key}")
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    until(lambda: looks_about_once_a_second(redis))
    redis.delete(key)
    if key == "rq:queue:broken":
        redis.rename("aside", key)
    consumer.wait_for("a key is mended")
    until(lambda: job.get_status() == "finished")
    assert consumer.stop() == 0
    assert len([line for line in consumer.log if line["event"] == told["event"]]) == 1


def test_a_redis_that_refuses_claims_is_told_once_and_not_asked_all_the_time(
    consume: Callable[..., Consumer],
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        with Producer(server.url) as producer:
            suspend(client)
            consumer = consume(HEORI_REDIS_URL=server.url).ready()
            # The primary of this replica is not there, and its data stays.
            consumer.wait_for("suspended: claiming nothing until `rq resume`")
            handle = producer.submit(sample_tasks.add, 2)
            resume_and_refuse = client.pipeline(transaction=True)
            resume_and_refuse.delete("rq:suspended")
            resume_and_refuse.execute_command("REPLICAOF", "127.0.0.1", "1")
            resume_and_refuse.execute()
            refused = consumer.wait_for("Redis refuses; trying again")
            assert "it is a replica" in refused["reason"]
            until(lambda: looks_about_once_a_second(client))
            client.execute_command("REPLICAOF", "NO", "ONE")
            assert handle.result(60) == 4
            consumer.wait_for("Redis does not refuse any more")
        assert consumer.stop() == 0
        assert len([line for line in consumer.log if line["event"] == refused["event"]]) == 1


def test_a_redis_that_refuses_writes_at_the_start_is_waited_for(
    consume: Callable[..., Consumer],
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        client.config_set("min-replicas-to-write", 1)
        consumer = consume(HEORI_REDIS_URL=server.url)
        refused = consumer.wait_for("Redis refuses; trying again")
        assert "too few replicas" in refused["reason"]
        hasty = consume("--no-wait", HEORI_REDIS_URL=server.url)
        assert hasty.join(60) == 2
        assert "too few replicas" in str(hasty.log)
        client.config_set("min-replicas-to-write", 0)
        consumer.ready()
        assert consumer.stop(signal.SIGTERM) == 0

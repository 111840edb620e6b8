"""What a server refuses for now is sent again; what it refuses for good is not."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import pytest
import redis as redis_py

from heori import Producer, group
from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_common.redis.address import Address
from heori_common.redis.client import RedisClient
from heori_common.redis.dialer import Dialer
from heori_common.redis.errors import RedisRefused
from heori_common.redis.push import PushThread
from tests.rigs.script_bench import Bench, Execute, done
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

PATIENCE_S = 60.0
COUNT = Command(("INCR", "count"), int)
WRONG = Command(("LPUSH", "text", 1), int)
WHO = Command(("CLIENT", "ID"), int)


@pytest.fixture
def server(redis: redis_py.Redis) -> Iterator[redis_py.Redis]:
    """One that counts what it refuses."""
    redis.config_resetstat()
    yield redis
    redis.config_set("min-replicas-to-write", 0)
    redis.config_set("busy-reply-threshold", 5000)
    redis.replicaof("NO", "ONE")


def refusals(server: redis_py.Redis, code: str) -> int:
    return int(server.info("errorstats").get(f"errorstat_{code}", {"count": 0})["count"])


def too_few_replicas(server: redis_py.Redis) -> None:
    server.config_set("min-replicas-to-write", 1)


def a_replica(server: redis_py.Redis) -> None:
    server.replicaof("127.0.0.1", "1")  # where there is nobody


def by_client(url: str) -> int:
    with RedisClient(url, patience=PATIENCE_S) as client:
        return client.execute(COUNT)


def by_script(url: str) -> int:
    job = NewJob.create("j", Call("f", [], {}), 180)
    command = Commands().enqueue("default", [job])
    lost = command._replace(words=("EVALSHA", "0" * 40, *command.words[2:]))
    with RedisClient(url, patience=PATIENCE_S) as client:
        return client.execute(lost).new


def by_client_with_others(url: str) -> int:
    with RedisClient(url, patience=PATIENCE_S) as client:
        ping, count, wrong = client.ask_many([Command(("PING",), bytes), COUNT, WRONG])
    assert ping == b"PONG"
    assert wrong.code == "WRONGTYPE"
    return int(count)


def by_push_connection(url: str) -> int:
    with pushes(url, PATIENCE_S) as push:
        return int(answer(push, COUNT))


@contextmanager
def pushes(url: str, patience: float) -> Iterator[PushThread]:
    push = PushThread(
        Dialer(Address.parse(url)),
        "pushes-of-a-test",
        [("SUBSCRIBE", "channel")],
        lambda _: None,
        lambda _: None,
        patience,
    )
    yield push
    push.close()


def answer(push: PushThread, command: Command[Any]) -> Any:
    answers: list[Any] = []
    push.call(command, lambda reply: answers.append(reply.value))
    until(lambda: answers)
    return answers[0]


def test_who_waits_for_a_result_goes_on_while_reading_is_refused(
    server: redis_py.Redis, redis_url: str, bench: Bench
) -> None:
    """As a stranger's script takes too long; it begins meanwhile, in each way."""

    async def awaited() -> int:
        return await handle

    server.config_set("busy-reply-threshold", 10)
    with (
        Producer(redis_url) as producer,
        redis_py.Redis.from_url(redis_url, socket_timeout=None) as stranger,
        ThreadPoolExecutor(4) as threads,
    ):
        handle = producer.submit(sample_tasks.add, 1)
        busy = threads.submit(stranger.eval, "while true do end", 0)
        try:
            until(lambda: is_busy(server))
            jobs = group([handle])
            ways = [
                threads.submit(handle.result, PATIENCE_S),
                threads.submit(lambda: asyncio.run(awaited())),
                threads.submit(lambda: jobs.results(PATIENCE_S)[0]),
            ]
            assert not wait(ways, timeout=0.3).done
        finally:
            server.script_kill()
        assert isinstance(busy.exception(), redis_py.ResponseError)
        bench.ack(*map(done, bench.claim()))
        assert [way.result(PATIENCE_S) for way in ways] == [3, 3, 3]


def is_busy(server: redis_py.Redis) -> bool:
    try:
        server.get("any")
    except redis_py.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


@pytest.mark.parametrize("refuse", [too_few_replicas, a_replica])
@pytest.mark.parametrize("way", [by_client, by_script, by_client_with_others, by_push_connection])
def test_what_is_refused_for_now_is_sent_until_it_is_taken(
    server: redis_py.Redis,
    redis_url: str,
    way: Callable[[str], int],
    refuse: Callable[[redis_py.Redis], None],
) -> None:
    server.set("text", "no list")
    refuse(server)
    code = "READONLY" if refuse is a_replica else "NOREPLICAS"
    with ThreadPoolExecutor(1) as thread:
        count = thread.submit(way, redis_url)
        until(lambda: refusals(server, code) >= 3)
        server.config_set("min-replicas-to-write", 0)
        server.replicaof("NO", "ONE")
        assert count.result(60) == 1
    if way is by_client_with_others:
        assert server.info("commandstats")["cmdstat_ping"]["calls"] == 1, "it was answered"


def test_without_patience_a_refusal_is_told_at_once(server: redis_py.Redis, redis_url: str) -> None:
    too_few_replicas(server)
    with RedisClient(redis_url, patience=0) as client:
        with pytest.raises(RedisRefused, match="NOREPLICAS it takes no writes"):
            client.execute(COUNT)
        who, count = client.ask_many([WHO, COUNT])
        assert (count.code, count.is_passing) == ("NOREPLICAS", True)
        assert client.execute(WHO) == who, "there is nothing wrong with the connection"
        with pytest.raises(RedisRefused, match="NOREPLICAS"):
            client.execute_many([WHO, COUNT])
    assert refusals(server, "NOREPLICAS") == 3
    with pushes(redis_url, 0) as push:
        assert answer(push, COUNT).code == "NOREPLICAS"
    assert refusals(server, "NOREPLICAS") == 4


def test_after_the_patience_a_refusal_is_told_as_it_is(
    server: redis_py.Redis, redis_url: str
) -> None:
    too_few_replicas(server)
    with RedisClient(redis_url, patience=0.1) as client:
        with pytest.raises(RedisRefused, match="NOREPLICAS it takes no writes"):
            client.execute(COUNT)
        assert client.ask_many([COUNT])[0].code == "NOREPLICAS"
    with pushes(redis_url, 0.1) as push:
        assert answer(push, COUNT).code == "NOREPLICAS"


def test_a_replica_is_left(
    server: redis_py.Redis, redis_url: str, connect: Callable[[str], Execute]
) -> None:
    execute = connect(redis_url)
    first = execute(WHO)
    a_replica(server)
    with pytest.raises(RedisRefused, match="READONLY it is a replica"):
        execute(COUNT)
    assert execute(WHO) != first, "its address may lead to the primary by now"

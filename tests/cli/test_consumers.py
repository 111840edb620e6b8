"""`heori consumers`: all of them, and one with its workers and slots."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from heori import Producer
from heori.inspect.consumers import list_consumers, read_consumer
from heori.inspect.reader import RedisReader
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.terminals import on_terminal
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

HOLD = "tests.tasks.sample_tasks.hold"


def register(redis: Any, name: str, **record: str) -> None:
    key = f"rq:worker:{name}"
    redis.hset(key, mapping={"birth": "2030-01-01T00:00:00Z", "queues": "default", **record})
    redis.expire(key, 3600)
    redis.sadd("rq:workers", key)


def rows(told: str) -> list[list[str]]:
    return [line.split()[1:] for line in told.splitlines()]


@pytest.fixture
def reader(redis_url: str) -> Iterator[RedisReader]:
    with RedisClient(redis_url) as client:
        yield RedisReader(client, Keys())


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_all_are_shown_and_one_with_what_its_slots_run(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str, heori: Heori
) -> None:
    consumer = consume("--slots", "2").ready()
    job = producer.submit(sample_tasks.hold, redis_url, "k")
    pid = int(redis.blpop("k:running", 60)[1])
    seen: dict[str, Any] = {}

    def read(*words: str) -> Any:
        return json.loads(heori("consumers", *words, "--json").stdout)

    def all_on_80_columns(*words: str) -> str:
        code, told = on_terminal(redis_url, "consumers", *words, columns=80)
        assert code == 0
        assert all(len(line.rstrip("\r")) <= 80 for line in told.splitlines())
        return told

    # On a machine that stands still meanwhile, it may not answer in time.
    until(lambda: (found := read(consumer.name))["running"] == 1 and not seen.update(found))
    assert (seen["name"], seen["kind"]) == (consumer.name, "heori")
    assert (seen["pid"], seen["model"], seen["slots"]) == (str(consumer.process.pid), "threads", 2)
    assert 0 <= seen["heartbeat"] <= 60
    [worker] = seen["workers"]
    assert (worker["pid"], worker["state"]) == (pid, "ready")
    assert [(each["job"], each["task"]) for each in worker["jobs"]] == [(job.id, HOLD)]

    until(lambda: read()["consumers"][0]["answers"])
    [listed] = read()["consumers"]
    assert (listed["name"], listed["queues"]) == (consumer.name, ["default"])
    assert "workers" not in listed
    until(lambda: ["default", "threads", "2", "1", "0", "busy"] in rows(all_on_80_columns()))
    until(lambda: str(pid) in all_on_80_columns(consumer.name))
    until(lambda: job.id[:6] in all_on_80_columns(consumer.name))
    redis.rpush("k:go", 1)
    assert job.result(60) == "k"


def test_what_does_not_answer_is_shown_by_its_record(redis: Any, heori: Heori, silent: str) -> None:
    register(redis, "hung", heori_metrics=silent, state="busy", hostname="web", pid="7")
    register(redis, "stock", state="idle", hostname="web", pid="8")
    register(redis, "\x1b[31mstrange", heori_metrics="http://[", state="idle")
    by_name = {
        each["name"]: each for each in json.loads(heori("consumers", "--json").stdout)["consumers"]
    }
    hung, stock = by_name["hung"], by_name["stock"]
    assert (hung["kind"], hung["state"], hung["answers"], hung["slots"]) == (
        "heori",
        "busy",
        False,
        None,
    )
    assert "does not answer" in hung["reason"]
    assert (stock["kind"], stock["answers"]) == ("rq", False)
    assert "\x1b[31m" not in heori("consumers").stdout
    assert "no answer" in heori("consumers").stdout
    assert "does not answer" in heori("consumers", "hung").stdout
    missing = heori("consumers", "nobody")
    assert (missing.returncode, "there is no consumer nobody" in missing.stderr) == (2, True)


def test_one_that_hangs_keeps_nobody_waiting(
    consume: Callable[..., Consumer], redis: Any, reader: RedisReader, silent: str
) -> None:
    name = consume().ready().name
    for number in range(100):
        register(redis, f"hung-{number}", heori_metrics=silent, state="busy")
    # A look takes as long as those that hang may; on a busy machine the other may be late as well.
    until(lambda: next(e for e in list_consumers(reader, 2.0) if e.name == name).answers)
    found = list_consumers(reader, 0.5)
    assert len(found) == 101
    assert sum(not each.answers for each in found) >= 100


@pytest.mark.parametrize(
    "said",
    [
        b"[]",
        b"{}",
        b'{"consumer": "other"}',
        b'{"consumer": "c", "state": [], "version": 1, "model": null, "processes": "x"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
@pytest.mark.usefixtures("full_stack")
def test_what_something_else_says_at_that_address_is_no_harm(
    said: bytes, redis: Any, reader: RedisReader
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(1000)
                taken.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + said)

        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        register(redis, "c", heori_metrics=address, state="idle")
        found = read_consumer(reader, "c", 30.0)
    assert found is not None
    assert not found.answers
    assert found.state == "idle"

"""`heori doctor`: each illness is found and named, and the command that it names mends it."""

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from heori import Producer
from heori.inspect.checks import examine
from heori.inspect.checks.finding import Finding
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

HOUR = 3600
OLD = "2020-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def patient() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey({"appendonly": "yes", "enable-debug-command": "yes"}) as server:
        yield server


@pytest.fixture
def client(patient: EmbeddedValkey) -> Iterator[Any]:
    with redis_py.Redis.from_url(patient.url) as client:
        yield client
        client.flushdb()


def ailments(client: Any, login: str = "") -> list[Finding]:
    """Everything that is not fine."""
    where = client.connection_pool.connection_kwargs
    with RedisClient(
        f"redis://{login}{where['host']}:{where['port']}/{where.get('db', 0)}"
    ) as bulk:
        found = list(examine(client, bulk, Keys(), 1_000_000, lambda *_: None))
    return [finding for finding in found if finding.level != "fine"]


def job(client: Any, job_id: str, **fields: str) -> None:
    client.hset(f"rq:job:{job_id}", mapping={"origin": "q", "data": "x", **fields})


def setting(name: str, value: Any) -> Callable[[Any], None]:
    return lambda client: client.config_set(name, value)


def waiting(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "a", status="queued")
    client.rpush("rq:queue:q", "a")


def wrong_type(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    client.set("rq:failed:q", "a string")


def full(client: Any) -> None:
    waiting(client)
    client.hset("rq:heori:bound:q", "limit", 1)
    client.zadd("rq:heori:line:q", {"ticket": time.time()})


def dead_worker(client: Any) -> None:
    client.sadd("rq:workers", "rq:worker:gone", "rq:worker:silent")
    client.hset("rq:worker:silent", "last_heartbeat", OLD)


def overdue(execution: str, since: float) -> Callable[[Any], None]:
    def make(client: Any) -> None:
        client.sadd("rq:queues", "rq:queue:q")
        job(client, "a", status="started")
        client.zadd("rq:wip:q", {f"a:{execution}": time.time() - since})

    return make


def stranded(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "a", status="queued")
    client.rpush("rq:queue:q:intermediate", "a")


def nowhere(status: str) -> Callable[[Any], None]:
    def make(client: Any) -> None:
        client.sadd("rq:queues", "rq:queue:q")
        job(client, "it's here", status=status)

    return make


def endless(client: Any) -> None:
    client.xadd("rq:results:a", {"type": "2"})


ILLNESSES = [
    ("streams", "warning", "stream-node-max-bytes 4096", setting("stream-node-max-bytes", 4096)),
    ("payloads", "warning", "proto-max-bulk-len 1048576, and HEORI_MAX_PAYLOAD 1000000",
        setting("proto-max-bulk-len", "1mb")),
    ("memory", "problem", "maxmemory-policy allkeys-lru", lambda client: client.config_set(
        "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")),
    ("memory", "warning", "with no maxmemory yet", setting("maxmemory-policy", "volatile-ttl")),
    ("memory", "problem", "of maxmemory is used", lambda client: client.config_set(
        "maxmemory", int(client.info("memory")["used_memory"] * 1.05))),
    ("persistence", "problem", "neither", setting("appendonly", "no")),
    ("persistence", "warning", "snapshots only (save 60 1)", lambda client: (
        client.config_set("save", "60 1"), client.config_set("appendonly", "no"))),
    ("suspended", "warning", "rq suspend", lambda client: client.set("rq:suspended", 1)),
    ("types", "problem", "rq:failed:q holds a string", wrong_type),
    ("consumers", "warning", "silent for 480 s: 2 of 2", dead_worker),
    ("consumers", "problem", "waiting in q, which no consumer serves: 1", waiting),
    ("limits", "warning", "q is full: 1 of 1 jobs wait, and 1 producer", full),
    ("leases", "problem", "over for 60 s: 1 (a:", overdue("heori0123", HOUR - 24 * HOUR)),
    ("leases", "problem", "over for 60 s: 1 (a:", overdue("0123", HOUR)),
    ("intermediate", "warning", "between q and a stock worker: 1", stranded),
    ("jobs", "problem", "no registry, status queued: 1", nowhere("queued")),
    ("jobs", "problem", "no registry, status started: 1", nowhere("started")),
    ("jobs", "warning", "no registry, status finished: 1", nowhere("finished")),
    ("results", "warning", "never expire, though their jobs do or have: 1", endless),
]  # fmt: skip


@pytest.fixture
def healthy(client: Any) -> Iterator[None]:
    names = (
        *("appendonly", "save", "maxmemory", "maxmemory-policy"),
        *("stream-node-max-bytes", "proto-max-bulk-len"),
    )
    before = {name: client.config_get(name)[name] for name in names}
    yield
    for name, value in before.items():
        client.config_set(name, value)


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("check", "level", "says", "fall_ill"),
    [pytest.param(*row, id=f"{row[0]}: {row[2]}") for row in ILLNESSES],
)
def test_what_is_wrong_is_found_and_its_command_mends_it(
    check: str, level: str, says: str, fall_ill: Callable[[Any], Any], client: Any
) -> None:
    assert ailments(client) == []
    fall_ill(client)
    before = client.keys("*"), client.config_get("*")
    found = ailments(client)
    assert (client.keys("*"), client.config_get("*")) == before  # looking is harmless
    [finding] = [each for each in found if each.check == check]
    assert finding.level == level
    assert says in finding.says
    assert finding.means
    mend(client, finding.mend)
    assert check not in {each.check for each in ailments(client)}


def mend(client: Any, command: str) -> None:
    """Do what the command does: redis-cli is not on every machine."""
    words = shlex.split(command, comments=True)
    match words:
        case ["redis-cli", "--scan", "--pattern", pattern, "|", "xargs", "-I%", "redis-cli", *rest]:
            for key in client.scan_iter(pattern):
                client.execute_command(*(key if word == "%" else word for word in rest))
        case ["redis-cli", *rest]:
            client.execute_command(*rest)
        case ["rq", "resume"]:
            client.delete("rq:suspended")
        case ["heori", "consume", "--queue", queue]:
            # What a consumer would do: tell of itself, and give back what is overdue.
            client.delete(f"rq:wip:{queue}")
            client.sadd(f"rq:workers:{queue}", "rq:worker:me")
        case ["heori", "limit", queue, jobs]:
            client.hset(f"rq:heori:bound:{queue}", "limit", jobs)
        case _:
            pytest.fail(f"nobody can run {command!r}")


def test_a_consumer_at_work_is_healthy(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, tmp_path: Path
) -> None:
    consumer = consume("--slots", "2").ready()
    handles = producer.submit_many(sample_tasks.add, [1] * 20)
    assert [handle.result(60) for handle in handles] == [3] * 20
    last = producer.submit(sample_tasks.wait_for_file, str(tmp_path / "end"))
    until(lambda: consumer.metric("heori_slots_running") == 1)
    assert {finding.check for finding in ailments(redis)} == {"persistence"}
    (tmp_path / "end").touch()
    assert last.result(60)


def test_what_the_user_may_not_see_is_unknown_and_the_rest_is_found(
    client: Any, patient: EmbeddedValkey
) -> None:
    client.acl_setuser(
        "nurse", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"]
    )
    try:
        dead_worker(client)
        with redis_py.Redis.from_url(patient.url, username="nurse", password="any") as nurse:
            found = {each.check: each.level for each in ailments(nurse, "nurse:any@")}
        unknown = dict.fromkeys(("persistence", "streams", "payloads"), "unknown")
        assert found == {**unknown, "consumers": "warning"}
    finally:
        client.acl_deluser("nurse")


def test_the_command_reads_for_people_and_its_exit_code_for_scripts(
    heori: Heori, client: Any, patient: EmbeddedValkey
) -> None:
    dead_worker(client)
    shown = heori("doctor", HEORI_REDIS_URL=patient.url)
    assert shown.returncode == 0
    assert re.search(r"! consumers +registered, and silent for 480 s: 2 of 2", shown.stdout)
    assert "redis-cli SREM rq:workers rq:worker:gone rq:worker:silent" in shown.stdout
    assert shown.stdout.endswith("problems: 0, warnings: 1\n")
    assert heori("doctor", "--strict", HEORI_REDIS_URL=patient.url).returncode == 1
    waiting(client)
    told = heori("doctor", "--json", HEORI_REDIS_URL=patient.url)
    assert told.returncode == 1
    assert [each["check"] for each in json.loads(told.stdout) if each["level"] == "problem"] == [
        "consumers"
    ]
    away = heori("doctor", HEORI_REDIS_URL="redis://127.0.0.1:1")
    assert (away.returncode, away.stdout) == (2, "")
    assert "Is the server running" in away.stderr

"""`heori doctor`: each illness is found and named, and the command that it names mends it."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis as redis_py

from heori import Producer
from heori.cli.app import load
from heori.inspect.checks import examine, jobs
from heori.inspect.checks.finding import Finding
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_common.protocol.keys import Keys
from heori_common.redis.client import RedisClient
from heori_consumer.supervisor.queue_order import parse_queues
from tests.rigs.commands import Heori, run_here
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

ROOT = Path(__file__).parents[2]
HOUR = 3600
OLD = "2020-01-01T00:00:00.000000Z"


@pytest.fixture(scope="module")
def patient() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey({"appendonly": "yes", "enable-debug-command": "yes"}) as server:
        yield server


@pytest.fixture
def client(patient: EmbeddedValkey) -> Iterator[Any]:
    with redis_py.Redis.from_url(patient.url, socket_timeout=None) as client:
        yield client
        client.flushdb()


def ailments(client: Any, login: str = "") -> list[Finding]:
    """Everything that is not fine."""
    where = client.connection_pool.connection_kwargs
    with RedisClient(
        f"redis://{login}{where['host']}:{where['port']}/{where.get('db', 0)}"
    ) as bulk:
        found = list(examine(bulk, Keys(), 1_000_000, lambda *_: None))
    return [finding for finding in found if finding.level != "fine"]


def job(client: Any, job_id: str, **fields: str) -> None:
    client.hset(f"rq:job:{job_id}", mapping={"origin": "q", "data": "x", **fields})


@pytest.mark.parametrize("name", ["a=3", "a b", "-x", "--help", "it's", 'the "one"', "$HOME"])
def test_the_commands_for_a_queue_of_any_name_can_be_typed(client: Any, name: str) -> None:
    client.sadd("rq:queues", f"rq:queue:{name}")
    client.rpush(f"rq:queue:{name}", "a", "b")
    client.hset(f"rq:heori:bound:{name}", "limit", "2")
    client.hset("rq:heori:paused", mapping={f"queue:{name}": "1", f"queue:{name}@@-t": "1"})
    found = [shlex.split(each.mend, comments=True) for each in ailments(client) if each.mend]
    commands: dict[str, list[list[str]]] = {}
    for heori, command, *words in found:
        assert heori == "heori"
        commands.setdefault(command, []).append(words)
    [words] = commands["consume"]
    asked = load("consume").make_context("consume", words).params["queue"]
    assert parse_queues(asked)[0] == (name,)
    where = client.connection_pool.connection_kwargs
    url = f"redis://{where['host']}:{where['port']}/{where.get('db', 0)}"
    for command in ("limit", "resume"):
        for words in commands[command]:
            done = run_here(url, command, *words)
            assert done.exit_code == 0, done.stderr
    assert client.hget(f"rq:heori:bound:{name}", "limit") == b"4"
    assert client.hlen("rq:heori:paused") == 0


def setting(name: str, value: Any) -> Callable[[Any], None]:
    return lambda client: client.config_set(name, value)


def waiting(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "a", status="queued")
    client.rpush("rq:queue:q", "a")


def wrong_type(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    client.set("rq:failed:q", "a string")


def illegible_worker(client: Any) -> None:
    client.sadd("rq:workers", "rq:worker:odd")
    client.hset("rq:worker:odd", mapping={"state": b"\xff", "hostname": "here"})
    client.expire("rq:worker:odd", HOUR)


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


def deferred_for_nothing(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "child", status="deferred", allow_dependency_failures="1")
    client.sadd("rq:job::child:dependencies", "failed", "finished")
    job(client, "failed", status="failed")
    job(client, "finished", status="finished")
    client.zadd("rq:deferred:q", {"child": 1, "waits": 1, "parked": 1})
    job(client, "waits", status="deferred")
    client.sadd("rq:job::waits:dependencies", "failed", "finished")
    job(client, "parked", status="deferred")
    client.zadd("rq:heori:parked:q", {"parked": time.time() + HOUR})


def deferred_for_what_is_gone(client: Any) -> None:
    deferred_for_nothing(client)
    client.sadd("rq:job::child:dependencies", "gone")


def ready_for_long(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "child", status="ready_to_enqueue")
    client.zadd("rq:ready:q", {"child": time.time() - 60, "other": time.time() + 60})


def locked_by_the_dead(client: Any) -> None:
    client.sadd("rq:queues", "rq:queue:q", "rq:queue:lives")
    client.sadd("rq:workers:q", "rq:worker:gone", "rq:worker:heori-here-1")
    client.hset("rq:worker:heori-here-1", "state", "idle")
    client.sadd("rq:workers:lives", "rq:worker:stock")
    client.hset("rq:worker:stock", "state", "idle")
    client.set("rq:clean_registries:q", 1, ex=899)
    client.set("rq:clean_registries:lives", 1, ex=899)


def slots_of_nobody(client: Any) -> None:
    client.sadd("rq:rl-keys", "api")
    client.hset("rq:rl:api", "concurrency", 3)
    client.zadd("rq:rl:api:allowed", {"gone": 1, "ended": 2, "canceled": 3, "waits": 4})
    job(client, "ended", status="finished")
    job(client, "canceled", status="canceled")
    client.zadd("rq:executions:canceled", {"e": time.time() + HOUR})
    job(client, "waits", status="queued")


ILLNESSES = [
    ("streams", "warning", "stream-node-max-bytes 4096", setting("stream-node-max-bytes", 4096)),
    ("hashes", "warning", "hash-max-listpack-value 64", setting("hash-max-listpack-value", 64)),
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
    (
        "paused",
        "warning",
        "heori pause` is in force for task shop.send",
        lambda client: client.hset("rq:heori:paused", "task:shop.send", 1),
    ),
    ("suspended", "warning", "rq suspend", lambda client: client.set("rq:suspended", 1)),
    ("types", "problem", "rq:failed:q holds a string", wrong_type),
    ("types", "problem", "rq:workers holds a string, and should hold a set",
        lambda client: client.set("rq:workers", "a string")),
    ("types", "problem", "rq:job:a holds a list, and should hold a hash",
        lambda client: client.rpush("rq:job:a", "b")),
    ("names", "problem", "rq:queues has names that rq cannot read: 1 (rq:queue:\udcff)",
        lambda client: client.sadd("rq:queues", b"rq:queue:\xff")),
    ("names", "problem", "rq:worker:odd has fields that are no UTF-8: state", illegible_worker),
    ("unreadable", "problem", "rq:heori:forced cannot be read: invalid literal",
        lambda client: client.set("rq:heori:forced", "many")),
    ("consumers", "warning", "without a sign of life: 2 of 2", dead_worker),
    ("consumers", "problem", "waiting in q, which no consumer serves: 1", waiting),
    ("limits", "warning", "q is full: 1 of 1 jobs wait, and 1 producer", full),
    ("leases", "problem", "over for 60 s: 1 (a:", overdue("heori0123", HOUR - 24 * HOUR)),
    ("leases", "problem", "over for 60 s: 1 (a:", overdue("0123", HOUR)),
    ("intermediate", "warning", "between q and a stock worker: 1", stranded),
    ("jobs", "problem", "of q, in no queue and no registry, status queued: 1 (it's here)",
        nowhere("queued")),
    ("jobs", "problem", "no registry, status started: 1", nowhere("started")),
    ("jobs", "warning", "no registry, status finished: 1", nowhere("finished")),
    ("waiting", "problem", "all that they wait for has ended: 1 (child)", deferred_for_nothing),
    ("waiting", "problem", "was deleted or has expired, and the rest has ended: 1 (child)",
        deferred_for_what_is_gone),
    ("ready", "warning", "waiting for nothing and on no list: 1 (child)", ready_for_long),
    ("cleaning", "warning", "q is locked for maintenance", locked_by_the_dead),
    ("slots", "warning", "the rate limit api that no job holds: 2 (gone, ended)", slots_of_nobody),
    ("results", "warning", "never expire, though their jobs do or have: 1", endless),
]  # fmt: skip


@pytest.fixture
def healthy(client: Any) -> Iterator[None]:
    names = (
        *("appendonly", "save", "maxmemory", "maxmemory-policy"),
        *("stream-node-max-bytes", "hash-max-listpack-value", "proto-max-bulk-len"),
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
    before = sorted(client.keys("*")), client.config_get("*")
    found = ailments(client)
    assert (sorted(client.keys("*")), client.config_get("*")) == before  # looking is harmless
    [finding] = [each for each in found if each.check == check]
    assert finding.level == level
    assert says in finding.says
    assert finding.means
    mend(client, finding.mend)
    assert check not in {each.check for each in ailments(client)}


def mend(client: Any, command: str) -> None:
    """Do what the command does."""
    words = shlex.split(command, comments=True)
    match words:
        case ["heori", "redis", *rest]:
            client.execute_command(*(typed(word) for word in rest))
        case ["heori", "consume", "--queue", queue]:
            # What a consumer would do: tell of itself, and give back what is overdue.
            client.delete(f"rq:wip:{queue}")
            client.sadd(f"rq:workers:{queue}", "rq:worker:me")
        case ["heori", "doctor", "--mend"] | ["heori", "resume", *_]:
            where = client.connection_pool.connection_kwargs
            assert run_here(f"redis://{where['host']}:{where['port']}", *words[1:]).stdout
        case ["heori", "limit", queue, jobs]:
            client.hset(f"rq:heori:bound:{queue}", "limit", jobs)
        case _:
            pytest.fail(f"nobody can run {command!r}")


def typed(word: str) -> bytes:
    """A word as a shell would read it."""
    quoted = re.fullmatch(r"\$(.*)", word)
    return quoted[1].encode().decode("unicode_escape").encode("latin1") if quoted else word.encode()


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
        login = {"username": "nurse", "password": "any"}
        with redis_py.Redis.from_url(patient.url, socket_timeout=None, **login) as nurse:
            found = {each.check: each.level for each in ailments(nurse, "nurse:any@")}
        unknown = dict.fromkeys(("persistence", "streams", "hashes", "payloads"), "unknown")
        assert found == {**unknown, "consumers": "warning"}
    finally:
        client.acl_deluser("nurse")


def test_the_command_reads_for_people_and_its_exit_code_for_scripts(
    heori: Heori, client: Any, patient: EmbeddedValkey
) -> None:
    dead_worker(client)
    shown = heori("doctor", HEORI_REDIS_URL=patient.url)
    assert shown.returncode == 0
    assert re.search(r"! consumers +registered, and without a sign of life: 2 of 2", shown.stdout)
    assert "heori redis SREM rq:workers rq:worker:gone rq:worker:silent" in shown.stdout
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


def test_whether_a_consumer_lives_is_told_by_the_servers_clock(
    heori: Heori, client: Any, patient: EmbeddedValkey
) -> None:
    """Its record ends by the server's clock, whatever its own says."""
    now = datetime.now(UTC)
    for name, off in (("slow", -1), ("fast", 1), ("killed", 1)):
        said = (now + timedelta(hours=off)).isoformat()
        client.sadd("rq:workers", f"rq:worker:{name}")
        client.hset(f"rq:worker:{name}", mapping={"last_heartbeat": said, "heori_metrics": ""})
        client.expire(f"rq:worker:{name}", 50)
    assert "consumers" not in {each.check for each in ailments(client)}
    client.delete("rq:worker:killed")  # as the server does, a minute after it was killed
    [finding] = [each for each in ailments(client) if each.check == "consumers"]
    assert finding.mend == "heori redis SREM rq:workers rq:worker:killed"
    shown = heori("status", HEORI_REDIS_URL=patient.url).stdout
    assert len(re.findall(r"\d+ s ago", shown)) == 2
    told = json.loads(heori("status", "--json", HEORI_REDIS_URL=patient.url).stdout)["consumers"]
    assert [0 <= told[name]["expires_in"] <= 50 for name in ("slow", "fast")] == [True, True]


HOSTILE = 'it\'s [a] "job"\x1b\n\udcff$(date)'


def test_what_it_prints_can_be_typed_as_printed(client: Any, patient: EmbeddedValkey) -> None:
    """Names of any kind, on the server and with the login of the settings, in a real shell."""
    client.sadd("rq:queues", "rq:queue:q")
    raw = HOSTILE.encode("utf-8", "surrogateescape")
    for job_id in (raw, b"another"):
        client.hset(b"rq:job:" + job_id, mapping={"origin": "q", "data": "x", "status": "queued"})
    client.acl_setuser(
        "nurse", enabled=True, passwords=["+a/b@c"], keys=["*"], categories=["+@all"]
    )
    url = f"{patient.url.replace('//', '//nurse:a%2Fb%40c@')}"
    heori = f'heori() {{ "{sys.executable}" -m heori "$@"; }}; '
    environment = {**os.environ, "HEORI_REDIS_URL": url}

    def shell(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", heori + line],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    try:
        printed = shell("heori doctor").stdout
        assert "(it's [a]" in printed
        [line] = [line.strip() for line in printed.splitlines() if "RPUSH" in line]
        ran = shell(line)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n2\n", "")
        assert sorted(client.lrange("rq:queue:q", 0, -1)) == sorted([raw, b"another"])
        assert shell("heori redis GET rq:queue:q").returncode == 2
    finally:
        client.acl_deluser("nurse")


def test_a_job_that_moves_while_it_looks_is_not_called_lost(client: Any) -> None:
    """Each look is at one moment: a job is in one place at any moment, and never in none."""
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "a", status="queued")
    commands, keys = Commands(), Keys()
    registries = [keys.wip("q"), keys.finished("q"), keys.scheduled("q")]
    look = commands.find_lost("a", "q", registries)

    def is_lost() -> bool:
        return client.execute_command(*look.words) is not None

    client.script_load(look.in_full[1] if look.in_full else "")
    assert is_lost()
    for put, take in (
        (("RPUSH", "rq:queue:q", "a"), ("DEL", "rq:queue:q")),
        (("ZADD", "rq:wip:q", 1, "a:heori0123"), ("DEL", "rq:wip:q")),
        (("ZADD", "rq:finished:q", 1, "a"), ("DEL", "rq:finished:q")),
        (("ZADD", "rq:scheduled:q", 1, "a"), ("DEL", "rq:scheduled:q")),
        (("EXPIRE", "rq:job:a", 100), ("PERSIST", "rq:job:a")),
        (("HSET", "rq:job:a", "origin", "other"), ("HSET", "rq:job:a", "origin", "q")),
        (("SET", "rq:queue:q", "wrong type"), ("DEL", "rq:queue:q")),
    ):
        client.execute_command(*put)
        assert is_lost() == (put[0] == "SET"), put
        client.execute_command(*take)
        assert is_lost()


def test_what_only_passes_between_a_queue_and_a_stock_worker_is_well(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.sadd("rq:queues", "rq:queue:q")
    job(client, "a", status="queued")
    client.rpush("rq:queue:q", "a")
    client.sadd("rq:workers", "rq:worker:me")
    client.hset("rq:worker:me", "last_heartbeat", "2100-01-01T00:00:00.000000Z")
    client.sadd("rq:workers:q", "rq:worker:me")
    client.rpush("rq:queue:q:intermediate", "b")
    passed = iter(range(1000))

    def pass_on(seconds: float) -> None:
        """What happens between its two looks: that one has gone, and another is there."""
        assert seconds == jobs.BETWEEN_S
        client.lpop("rq:queue:q:intermediate")
        client.rpush("rq:queue:q:intermediate", f"b{next(passed)}")

    monkeypatch.setattr(jobs, "time", SimpleNamespace(sleep=pass_on))
    assert [each for each in ailments(client) if each.check == "intermediate"] == []
    assert next(passed) == 1, "it has looked twice"

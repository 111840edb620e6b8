"""Whatever stands in the keys that commands read, none ends with a traceback.

`EXAMPLES=1 .venv/bin/pytest tests/cli/test_spoilt_keys.py` breaks one key at a time, in each way,
which takes some minutes. By default many are broken at once.
"""

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heori import Producer
from heori.cli.app import COMMANDS
from heori.cli.ending import FAILED, REFUSED
from heori_common.locks.commands import LockCommands, LockRequest
from heori_common.protocol.keys import Keys
from heori_common.settings import Settings
from tests.rigs.commands import run_here
from tests.rigs.consumers import Consumer
from tests.rigs.dead_letters import letter
from tests.rigs.script_bench import ADD, ME, Bench
from tests.rigs.spoilt_keys import WAYS, known_keys, names_of, rounds, snapshot, spoil
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

KEYS = Keys()
LOCK = KEYS.lock("mutex", "m")
AT_ONCE = int(os.environ.get("EXAMPLES", "32"))  # keys
JOB, LETTER = "j", "d"
SEND = ("send", ADD, "--queue", "q", "--json")
# Each, and those that print JSON print nothing else on standard output.
COMMAND_LINES = [
    ("status",),
    ("status", "--json"),
    ("job", JOB),
    ("job", JOB, "--json"),
    ("job", LETTER, "--json"),
    ("consumers",),
    ("jobs",),
    ("jobs", "--search", "x", "--json"),
    *((action, "nobody", "--json") for action in ("cancel", "stop", "run", "retry", "delete")),
    ("top", "--once", "--every", "100ms"),
    ("top", "--json", "--every", "100ms"),
    ("limit",),
    ("limit", "--json"),
    ("tenants", "q"),
    ("tenants", "q", "--json"),
    ("schedule",),
    ("schedule", "--json"),
    ("dead", "list"),
    ("dead", "list", "--json"),
    ("dead", "show", LETTER),
    ("dead", "show", LETTER, "--json"),
    ("locks",),
    ("locks", "--json"),
    ("locks", "m"),
    ("locks", "m", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("redis", "SMEMBERS", "rq:workers"),
    # These write, and so come last.
    ("limit", "q", "500", "--json"),
    ("tenants", "q", "--weight", "a=3", "--json"),
    ("drain", "nobody"),
    ("schedule", "pause", "nightly"),
    ("schedule", "resume", "nightly"),
    ("schedule", "run", "nightly", "--json"),
    ("schedule", "delete", "nightly"),
    ("pause", "q"),
    ("pause", "--task", "a.b"),
    ("resume", "--task", "a.b"),
    ("resume", "q"),
    ("dead", "replay", LETTER, "--json"),
    ("dead", "replay", "--all", "--json"),
    ("dead", "purge", "--all", "--yes", "--json"),
    ("locks", "release", "m", "--force", "--all", "--json"),
    (*SEND, "--args", "[1]", "--key", "k"),
    (*SEND, "--args", "[1]", "--wait", "--timeout", "0.01"),
    (*SEND, "--from", "FILE"),
]
# They have a Redis of their own, or are there to stay: what these do is looked at elsewhere.
OTHERS = {"up", "lab", "consume", "serve", "load", "worker", "worker-pool"}

CALLS = 10  # of a consumer's scripts, by which all that it does has come to what is spoilt
MOST_SHOWN = 300_000  # characters, for people, though a name had a million

Run = Callable[..., Any]


@pytest.fixture
def run(redis_url: str, tmp_path: Path) -> Run:
    """Run a command here."""
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"a": 1}\n')
    return lambda *words: run_here(redis_url, *(str(file) if w == "FILE" else w for w in words))


@pytest.fixture
def get(settings: Settings) -> Callable[[str], tuple[int, bytes]]:
    """Ask `heori serve`, here as well; status and body."""
    # Here, as it takes long to import, and every process of a run imports this module.
    from heori.http.app import Service

    app = Service(settings).app()

    def get(path: str) -> tuple[int, bytes]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(app(scope, receive, send))
        return sent[0]["status"], b"".join(each.get("body", b"") for each in sent)

    return get


@pytest.fixture
def world(bench: Bench, redis: Any, run: Run) -> dict[str, str]:
    """A queue, a job, a dead letter, a consumer, a lock: the keys that commands may read."""
    bench.send(JOB, queue="q")
    bench.redis.hset(KEYS.bound("q"), "limit", 900)
    letter(redis, LETTER, queue="q")
    record = {"queues": "q", "state": "busy", "heori_metrics": "", "heori_waits_for": "q"}
    bench.execute(bench.commands.announce("w", ["q"], record))
    bench.execute(bench.commands.heartbeat("w", "2026-01-01T00:00:00Z", {}))
    locks = LockCommands(KEYS)
    for request, wait in (("a", False), ("b", True)):
        bench.execute(
            locks.acquire(
                [LockRequest(LOCK, None)],
                request,
                owner=request,
                about=b"\x94\xa4host\x2a\xa6thread\xa0",  # host, 42, thread and no job
                wake=ME,
                lease_us=3_600_000_000,
                ticket=None,
                wait=wait,
                deadlock="raise",
            )
        )
    assert run(*SEND, "--from", "FILE").exit_code == 0
    [digest] = [key.decode().removeprefix(KEYS.import_of("")) for key in redis.keys("*import*")]
    names = names_of(
        "q", [JOB, LETTER], task=[ADD], key=["k"], tenant=[""], digest=[digest], lock=[LOCK]
    )
    return known_keys(KEYS, names | {"kind": ["mutex"], "name": ["w", "m"]})


@pytest.fixture
def spoilt(world: dict[str, str], redis: Any) -> Iterator[dict[str, str]]:
    """Rounds of keys that are spoilt."""
    restore = snapshot(redis)
    chance = random.Random(0)

    def each() -> Iterator[dict[str, str]]:
        for broken in rounds(world, chance, AT_ONCE):
            restore()
            for key, way in broken.items():
                spoil(redis, key, world[key], way, chance)
            yield broken

    return each()


@pytest.mark.timeout(3600 if AT_ONCE < 32 else 900)
def test_no_command_ends_with_a_traceback(
    spoilt: Iterator[dict[str, str]], run: Run, get: Callable[[str], tuple[int, bytes]]
) -> None:
    assert {words[0] for words in COMMAND_LINES} | OTHERS == set(COMMANDS)
    codes = set()
    for broken in spoilt:
        for path in ("queues", f"jobs/{JOB}", f"jobs/{LETTER}"):
            status, body = get(f"/v1/{path}")
            assert status in (200, 404, 409, 503), (path, broken, body)
            json.loads(body, parse_constant=pytest.fail)
        for words in COMMAND_LINES:
            try:
                ran = run(*words)
            except Exception as error:
                raise AssertionError((words, broken)) from error
            about = (words, broken, ran.stdout[-2000:], ran.stderr[-2000:])
            if "--json" not in words and words[0] != "redis":
                assert len(ran.stdout) < MOST_SHOWN, about
            assert len(ran.stderr) < MOST_SHOWN, about
            assert ran.exit_code in (0, FAILED, REFUSED), about
            shown = ran.stdout + ran.stderr
            assert shown.replace("\n", "").isprintable(), about
            assert "Traceback" not in ran.stderr, about
            if ran.exit_code:
                assert ran.stderr or words[0] in ("doctor", "send"), about
            if "--json" in words:
                assert ran.stdout or ran.exit_code == REFUSED or {"list", "jobs"} & {*words}, about
                for line in ran.stdout.splitlines():
                    json.loads(line, parse_constant=pytest.fail)
            codes.add((words[0], ran.exit_code))
    # Of these the server refuses all that they do, or nothing.
    readers = {words[0] for words in COMMAND_LINES} - {"redis", "drain", "pause", "resume"}
    assert {(command, FAILED) for command in readers} <= codes


def test_a_consumer_survives_all_of_it(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume("--slots", "2").ready()
    [name] = [key.decode().removeprefix(KEYS.worker("")) for key in redis.smembers(KEYS.workers())]
    chance = random.Random(0)
    for number in range(len(WAYS)):
        jobs = [producer.submit(sample_tasks.add, number).id for _ in range(2)]
        others = {"task": [ADD], "key": ["k"], "tenant": [""], "digest": ["d"], "lock": [LOCK]}
        names = names_of("default", jobs, **others) | {"name": [name, "m"]}
        known = known_keys(KEYS, names)
        for key, way in next(rounds(known, chance, len(known))).items():
            spoil(redis, key, known[key], way, chance)
        called = calls(redis)
        until(lambda called=called: calls(redis) > called + CALLS)  # type: ignore[misc]
        assert consumer.process.poll() is None
        redis.flushdb()
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert consumer.stop() == 0


def calls(redis: Any) -> int:
    """How many scripts the server has run so far."""
    return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])

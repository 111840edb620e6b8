"""At a server whose memory is full, what keeps or frees passes and what is new is refused."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from redis.exceptions import OutOfMemoryError, ResponseError

import heori
import heori_common
import heori_consumer
import heori_producer
from heori_common.protocol.scripts import Script, script
from heori_common.redis.errors import RedisRefused
from tests.rigs.lua_files import CALLED
from tests.rigs.refusals import full
from tests.rigs.script_bench import ME, Bench, done

GROWS = "redis.call('SET', KEYS[1], '')"  # takes memory
FREES = "redis.call('DEL', KEYS[1])"


def first_lines(made: Script) -> str:
    """What Redis reads of a script before it executes any of it."""
    return made.source[: made.source.index("local args")]


@pytest.fixture
def full_redis(redis: redis_py.Redis) -> Iterator[redis_py.Redis]:
    with full(redis):
        yield redis


@pytest.mark.parametrize("name", CALLED)
def test_a_script_does_what_it_declares(name: str, full_redis: redis_py.Redis) -> None:
    made = script(name)

    def refusal(body: str) -> str:
        """The first word of what the server says to a script that begins as this one."""
        try:
            full_redis.eval(first_lines(made) + body, 1, "key")
        except OutOfMemoryError:
            return "OOM"
        except ResponseError as error:
            return str(error)
        return ""

    match made.when_full:
        case "passes":
            assert (refusal(GROWS), refusal(FREES)) == ("", "")
        case "is refused":
            assert (refusal(GROWS), refusal(FREES)) == ("OOM", "OOM")
        case "only reads":
            assert refusal("redis.call('GET', KEYS[1])") == ""
            assert "read-only" in refusal(FREES)
        case "as its command":
            assert (refusal(GROWS), refusal(FREES)) == ("OOM", "")


def test_what_runs_and_waits_comes_to_its_end(bench: Bench) -> None:
    bench.send("a", "b", "c", "d")
    bench.send("later", delay=0.001)
    a, b = bench.claim(count=2)
    commands = bench.commands
    with full(bench.redis):
        for delay in (0, 60):
            with pytest.raises(RedisRefused, match="its memory is full") as raised:
                bench.send("e", delay=delay)
            assert raised.value.code == "OOM"
        beat = bench.execute(commands.heartbeat(ME, "now", {"state": "busy"}))
        assert beat.replies == [2, 1, 0]
        assert bench.execute(commands.announce(ME, ["default"], {"pid": 1})).replies == [1, 1, 1, 0]
        assert bench.execute(commands.extend_leases([a, b], lease=30)).lost == []
        assert bench.ack(done(a)) == []
        assert bench.release(b, counted=False) == ["queued"]
        assert bench.execute(commands.cancel("default", ["d"])) == [0]
        assert {claim.job_id for claim in bench.claim(count=2, lease=-1)} == {"b", "c"}
        assert bench.reclaim() == (2, 0)
        assert bench.execute(commands.retire(ME, ["default"], "now")).broken == frozenset()
    assert bench.send("e") == 1


def test_a_key_of_the_wrong_type_is_told_when_a_consumer_registers(bench: Bench) -> None:
    bench.spoil("rq:workers")
    registered = bench.execute(bench.commands.announce(ME, ["default"], {"pid": 1}))
    assert registered.replies == [1, None, 1, 1]
    assert registered.broken == {"rq:workers"}
    assert f"rq:worker:{ME}" in registered.written


def test_no_plain_command_takes_memory_but_what_a_person_sets_and_the_probe(
    redis: redis_py.Redis,
) -> None:
    found: dict[str, set[str]] = {}
    for package in (heori, heori_common, heori_consumer, heori_producer):
        for path in Path(package.__path__[0]).rglob("*.py"):
            text = path.read_text()
            if "Command(" not in text:  # as ruff writes a call; to parse them all takes long
                continue
            for node in ast.walk(ast.parse(text)):
                match node:
                    case ast.Call(
                        func=ast.Name("Command"),
                        args=[ast.Tuple(elts=[ast.Constant(str(word)), *_]), *_],
                    ):
                        found.setdefault(word, set()).add(path.name)
    assert len(found) > 10
    known = redis.command()
    takes_memory = {word for word in found if "denyoom" in known[word.lower()]["flags"]}
    assert takes_memory == {"HSET", "SADD", "SETRANGE"}
    assert found["SETRANGE"] == {"builder.py"}, "which asks whether anything is taken"
    assert found["HSET"] | found["SADD"] == {"bounds.py", "tenants.py"}

"""Commands while Redis refuses: one message and an exit code, or patience where it is of use."""

import json
import os
import subprocess
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest

from heori.cli.ending import FAILED, REFUSED
from tests.rigs.commands import run_here
from tests.rigs.dead_letters import fill, letter
from tests.rigs.live_top import live_top
from tests.rigs.proxy import proxy
from tests.rigs.refusals import REFUSALS, busy, full, login, replica
from tests.rigs.script_bench import ADD
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

ROOT = Path(__file__).parents[2]
SEND = ("send", ADD, "--args", "[1]", "--json")
READERS = [
    ("status", "--json"),
    ("top", "--json", "--every", "100ms"),
    ("limit", "--json"),
    ("dead", "list", "--json"),
    ("locks", "--json"),
]
WRITERS = [SEND, ("dead", "replay", "--all"), ("limit", "default", "5")]


@pytest.mark.parametrize("code", [*REFUSALS, "OOM", "NOAUTH"])
def test_what_is_refused_is_said_in_one_message(code: str, redis: Any, redis_url: str) -> None:
    letter(redis, "dead")
    refuse = {**REFUSALS, "OOM": full, "NOAUTH": login}[code]
    with refuse(redis):
        for words in (*READERS, ("doctor", "--json"), *WRITERS):
            ran = run_here(redis_url, *words)
            reads = words not in WRITERS and code in ("READONLY", "MISCONF", "OOM")
            passes = reads or (code == "OOM" and words[0] == "dead")
            about = (words, ran.stdout, ran.stderr)
            if passes:
                # There is no append-only file.
                assert ran.exit_code == (FAILED if words[0] == "doctor" else 0), about
                assert not ran.stderr, about
                continue
            assert (ran.exit_code, ran.stderr.count("heori: ")) == (REFUSED, 1), about
            assert f"refused: {code} " in ran.stderr, about
            assert len(ran.stderr.splitlines()) <= 2, about
            assert ran.stdout in ("", "0 replayed\n"), about


def test_who_may_do_nothing_is_told_so(redis: Any, redis_url: str) -> None:
    redis.acl_setuser(
        "guest", enabled=True, nopass=True, keys=["*"], commands=["-@all", "+hello", "+client"]
    )
    try:
        for words in (*READERS, ("doctor", "--json"), *WRITERS):
            ran = run_here(redis_url.replace("//", "//guest:any@"), *words)
            assert (ran.exit_code, ran.stdout in ("", "0 replayed\n")) == (REFUSED, True), words
            assert "refused: NOPERM" in ran.stderr, words
            assert ran.stderr.count("\n") == 1, words
    finally:
        redis.acl_deluser("guest")


# What is asked for, as the server goes away: said each time, and not only in a script's text, which
# the server may know already.
VANISHES_AT = {
    ("status", "--json"): b"HGETALL",
    ("top", "--json", "--every", "100ms"): b"LINDEX",
    ("limit", "--json"): b"HMGET",
    ("dead", "list", "--json"): b"letter-",
    ("dead", "purge", "--all", "--yes"): b"letter-000001",
    ("locks", "--json"): b"forced",
    ("doctor", "--json"): b"SCAN",
    ("limit", "default", "5"): b"HSET",
    SEND: b"EVALSHA",
}


def test_a_server_that_vanishes_in_the_middle_is_one_message(redis: Any, redis_url: str) -> None:
    fill(redis, 600)
    redis.rpush("rq:queue:default", "a")
    redis.sadd("rq:workers", "rq:worker:a")
    url = urlsplit(redis_url)
    for words, last in VANISHES_AT.items():
        with proxy(url.port or 0) as between:
            between.lose, between.vanishes = last, True
            ran = run_here(f"redis://127.0.0.1:{between.port}/0", *words)
            assert between.lost == 1, words
        about = (words, ran.stdout, ran.stderr)
        assert (ran.exit_code, ran.stderr.count("heori: ")) == (REFUSED, 1), about
        assert "is away" in ran.stderr, about
        assert ran.stdout in ("", "0 purged\n"), about
    fill(redis, 600)  # some may have been purged, and only the reply was lost
    with proxy(url.port or 0) as between:  # of two pages
        between.lose, between.vanishes = b"letter-000600", True
        ran = run_here(f"redis://127.0.0.1:{between.port}/0", "dead", "replay", "--all", "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["replayed"]) == (FAILED, 500)
    assert "it came no further: Redis at 127.0.0.1" in ran.stderr


def test_an_import_that_has_begun_goes_on_when_writes_are_taken_again(
    tmp_path: Path, redis: Any, redis_url: str
) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text("".join(f"[{number}]\n" for number in range(2500)))
    redis.hset("rq:heori:bound:default", "limit", 1000)
    with Started(
        *("heori", "send", ADD, "--from", str(file), "--json"),
        env={**os.environ, "HEORI_REDIS_URL": redis_url, "HEORI_TASKS": ADD.rpartition(".")[0]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: redis.zcard("rq:heori:line:default"))  # it waits for room
        with replica(redis):
            assert "READONLY" in line_with(process.stderr, "trying again")
        redis.hdel("rq:heori:bound:default", "limit")
        out, err = process.communicate(timeout=120)
    assert (process.returncode, json.loads(out)["sent"]) == (0, 2500), err
    assert "Redis is back after" in err
    assert redis.llen("rq:queue:default") == len(redis.keys("rq:job:*")) == 2500


def test_load_goes_on_when_writes_are_taken_again_and_ends_when_they_never_will_be(
    redis: Any, redis_url: str
) -> None:
    with Started(
        *("heori", "load", "--rate", "100", "--mix", "digest"),
        env={**os.environ, "HEORI_REDIS_URL": redis_url, "HEORI_METRICS_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: redis.llen("rq:queue:stdlib"))
        with replica(redis):
            assert "READONLY" in line_with(process.stderr, "trying again")
        assert line_with(process.stderr, "Redis is back after")
        redis.rename("rq:queue:stdlib", "before")
        redis.set("rq:queue:stdlib", "no list")
        _, err = process.communicate(timeout=120)
    assert process.returncode == FAILED, err
    assert "refused: WRONGTYPE" in err
    assert err.endswith("`heori doctor` says how to mend it\n")


def test_top_says_that_it_sees_nothing_and_goes_on(redis: Any, redis_url: str) -> None:
    with live_top(redis_url) as terminal:
        terminal.drawn(lambda seen: seen.count(b"slots run") > 1)
        with busy(redis):
            terminal.drawn(lambda seen: b"BUSY" in seen and b"trying again" in seen)
        terminal.drawn(lambda seen: seen.rpartition(b"trying again")[2].count(b"slots run") >= 2)


def line_with(stream: IO[str] | None, words: str) -> str:
    """The next line that has these words."""
    assert stream is not None
    line = stream.readline()
    while words not in line:
        assert line, "it ended without a word"
        line = stream.readline()
    return line

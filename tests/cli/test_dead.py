"""Dead letters: listed, shown, replayed and purged, whoever left them and however damaged."""

import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.rigs.commands import Heori
from tests.rigs.dead_letters import (
    FAIL,
    damaged,
    dead,
    fill,
    letter,
    rows,
    told,
)
from tests.rigs.terminals import on_terminal

# list


def test_what_failed_last_is_listed_first_with_task_deliveries_and_reason(
    heori: Heori, redis: Any
) -> None:
    letter(redis, "old", ago=3600)
    # It expires first, so it stands before the other in the registry.
    letter(redis, "young", failure_ttl=3000, heori_deliveries=2)
    redis.zadd("rq:failed:default", {"young": datetime.now(UTC).timestamp() + 3000})
    letter(redis, "other", queue="mail", ago=60, status="stopped")
    killed = {"heori_death_signal": "SIGKILL", "heori_deliveries": 3, "heori_restarts": 2}
    letter(redis, "killed", queue="mail", ago=120, **killed)
    listed = rows(heori("dead", "list", "--json"))
    assert [row["id"] for row in listed] == ["young", "other", "killed", "old"]
    assert [row["ending"] for row in listed] == ["failed", "stopped", "died", "failed"]
    assert [row["deliveries"] for row in listed] == [2, None, 3, None]
    assert [row["restarts"] for row in listed] == [0, 0, 2, 0]
    assert {row["task"] for row in listed} == {FAIL}
    assert {row["reason"] for row in listed} == {"ValueError: no"}
    assert [row["id"] for row in rows(heori("dead", "list", "--json", "-q", "default"))] == [
        "young",
        "old",
    ]
    text = heori("dead", "list").stdout
    assert "killed  " in text
    assert f"mail  {FAIL}  died after 3 deliveries and 2 restarts\n    ValueError: no\n" in text


def test_the_list_may_be_limited_and_tells_how_many_more_there_are(
    heori: Heori, redis: Any
) -> None:
    fill(redis, 1200)
    listed = heori("dead", "list", "--limit", "2", "--json")
    assert [row["id"] for row in rows(listed)] == ["letter-001200", "letter-001199"]
    assert "1,198 more" in listed.stderr
    assert len(rows(heori("dead", "list", "--json"))) == 50
    assert len(rows(heori("dead", "list", "--limit", "5000", "--json"))) == 1200


def test_the_list_may_be_of_one_task_or_of_what_failed_long_ago(heori: Heori, redis: Any) -> None:
    add = zlib.compress(b'["tests.tasks.sample_tasks.add", null, [1], {}]')
    letter(redis, "young")
    letter(redis, "other", data=add)
    letter(redis, "old", ago=8 * 86400)
    letter(redis, "by-expiry", ago=9 * 86400, ended_at="")
    letter(redis, "unreadable", data=b"\x00", ended_at="yesterday")

    def ids(*words: str) -> list[str]:
        return [row["id"] for row in rows(heori("dead", "list", "--json", *words))]

    assert ids("--task", FAIL) == ["young", "old", "by-expiry"]
    assert ids("--task", "tests.tasks.sample_tasks.add") == ["other"]
    assert ids("--older", "7d") == ["old", "by-expiry"]
    assert ids("--older", "9d") == ["by-expiry"]
    assert ids("--older", "7d", "--task", "tests.tasks.sample_tasks.add") == []


def test_damaged_letters_are_listed_and_shown_with_what_is_wrong(heori: Heori, redis: Any) -> None:
    problems = damaged(redis)
    listed = {row["id"]: row for row in rows(heori("dead", "list", "--json"))}
    assert len(listed) == redis.zcard("rq:failed:default") == 11
    for job_id, message in problems.items():
        assert message in listed[job_id]["problem"], job_id
        assert listed[job_id]["task"] is None
        shown = told(heori("dead", "show", job_id, "--json"))
        assert message in shown["problem"]
    for job_id in ("gone", "bare", "endless", "afar"):
        assert listed[job_id]["failed_at"] is None or job_id == "bare"
    text = heori("dead", "list")
    assert text.returncode == 0
    assert "\x1b" not in text.stdout
    assert r"a b\n\x1b[2J:\xff  " in text.stdout
    shown_text = heori("dead", "show", "garbage")
    assert shown_text.returncode == 0
    assert "\x1b" not in shown_text.stdout


def test_expired_letters_are_forgotten_as_rq_does(heori: Heori, redis: Any) -> None:
    letter(redis, "kept")
    redis.zadd("rq:failed:default", {"expired": 1000, "for-ever": -1})
    assert {row["id"] for row in rows(heori("dead", "list", "--json"))} == {"kept", "for-ever"}
    assert dead(redis) == {"kept", "for-ever"}


# show


def test_show_tells_the_call_the_times_the_traceback_and_the_evidence(
    heori: Heori, redis: Any
) -> None:
    call = zlib.compress(json.dumps([FAIL, None, ["no"], {"deep": {"a": [1]}}]).encode())
    evidence: dict[str, Any] = {
        "heori_death_signal": "SIGKILL",
        "heori_exit_code": "-9",
        "heori_peak_memory": "1500000000",
        "heori_last_log": "loading …\nout of",
        "heori_deliveries": "3",
        "heori_restarts": "7",
        "heori_suspicion": "2",
        "heori_died_at": "2026-01-02T03:04:05.000006Z",
        "heori_more": "what nobody knows yet",
    }
    letter(redis, "one", data=call, timeout=30, worker_name="consumer-1", **evidence)
    shown = told(heori("dead", "show", "one", "--json"))
    assert (shown["task"], shown["args"], shown["kwargs"]) == (FAIL, ["no"], {"deep": {"a": [1]}})
    assert (shown["queue"], shown["status"], shown["ending"]) == ("default", "failed", "died")
    assert (shown["timeout"], shown["worker_name"], shown["deliveries"]) == ("30", "consumer-1", 3)
    assert shown["restarts"] == 7
    assert shown["traceback"] == "Traceback …\nValueError: no\n"
    assert shown["evidence"] == {
        "death_signal": "SIGKILL",
        "exit_code": -9,
        "peak_memory": 1500000000,
        "last_log": "loading …\nout of",
        "died_at": "2026-01-02T03:04:05.000006Z",
        "more": "what nobody knows yet",
    }
    assert shown["failed_at"] < shown["expires_at"]
    text = heori("dead", "show", "one").stdout
    for words in ("killed by", "SIGKILL", "1.5 GB", "out of", "ValueError: no", '{"deep": {"a"'):
        assert words in text


def test_an_id_that_is_no_dead_letter_is_refused(heori: Heori, redis: Any) -> None:
    letter(redis, "one", queue="mail")
    for words in (["show", "two"], ["show", "one", "--queue", "default"]):
        refused = heori("dead", *words)
        assert refused.returncode == 2
        assert f"{words[1]} is not among the dead letters" in refused.stderr


# people


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replay"], "say which dead letters to replay"),
        (["replay", "one", "--all"], "say which dead letters to replay"),
        (["replay", "--task", "a.b", "--all"], "say which dead letters to replay"),
        (["purge"], "say which dead letters to delete"),
        (["purge", "--older", "7d", "--all"], "say which dead letters to delete"),
        (["purge", "--older", "a week"], "--older: 'a week' is no length of time"),
        (["list", "--older", "-1d"], "--older: '-1d' is no length of time"),
    ],
)
def test_what_is_not_clear_is_refused_and_changes_nothing(
    heori: Heori, redis: Any, words: list[str], message: str
) -> None:
    letter(redis, "one", ago=10 * 86400)
    before = redis.dump("rq:job:one")
    refused = heori("dead", *words)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert redis.dump("rq:job:one") == before
    assert dead(redis) == {"one"}


def test_on_a_terminal_purging_asks_and_many_letters_show_a_progress_bar(
    redis: Any, redis_url: str
) -> None:
    fill(redis, 3000)
    code, shown = on_terminal(redis_url, "dead", "purge", "--all", answer="n\n")
    assert code == 1
    assert "Delete 3,000 dead letters at 127.0.0.1" in shown
    assert "3000/3000" in shown
    assert len(dead(redis)) == 3000
    code, shown = on_terminal(redis_url, "dead", "purge", "--all", answer="y\n")
    assert code == 0
    assert "3,000 purged" in shown
    assert redis.keys("rq:job:*") == []
    letter(redis, "one")
    code, shown = on_terminal(redis_url, "dead", "purge", "--all", "--yes")
    assert (code, shown.split()) == (0, ["1", "purged"])

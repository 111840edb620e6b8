"""`heori send --from`: a job for each line, each of them once, however often it is interrupted."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from heori import Producer
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import connected, until
from tests.rigs.zygote import Started
from tests.tasks import sample_tasks

ADD = "tests.tasks.sample_tasks.add"
JOBS = int(os.environ.get("HEORI_TEST_IMPORT", "10000"))


def write(path: Path, calls: list[Any]) -> str:
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))
    return str(path)


def sent(redis: Any) -> list[int]:
    """The first argument of each job that waits."""
    jobs = Queue("default", connection=redis, serializer=JSONSerializer).get_jobs()
    return [job.kwargs["a"] if job.kwargs else job.args[0] for job in jobs]


def test_an_import_that_is_killed_thrice_sends_each_line_once(
    tmp_path: Path, redis: Any, redis_url: str, heori: Heori
) -> None:
    path = write(tmp_path / "jobs.jsonl", [{"a": number} for number in range(JOBS)])
    words = ["heori", "send", ADD, "--from", path]
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "HEORI_TASKS": "tests.tasks.sample_tasks",
    }
    # So that none of them ends before it is killed, however late that is.
    redis.hset("rq:heori:bound:default", "limit", JOBS - 1)
    for _ in range(3):
        others = connected(redis)
        importing = Started(*words, env=environment)
        goal = min(redis.llen("rq:queue:default") + random.randrange(1, JOBS // 5), JOBS - 1)
        until(lambda goal=goal: redis.llen("rq:queue:default") >= goal)  # type: ignore[misc]
        importing.send_signal(signal.SIGKILL)
        importing.wait()
        until(lambda others=others: connected(redis) <= others)  # type: ignore[misc]
    before = redis.llen("rq:queue:default")
    assert 0 < before < JOBS
    redis.hdel("rq:heori:bound:default", "limit")
    ran = heori("send", ADD, "--from", path)
    assert ran.stdout == f"{JOBS - before:,} jobs sent, after {before:,} that were sent before\n"
    assert sent(redis) == list(range(JOBS))


def test_jobs_that_have_ended_and_expired_are_not_sent_again(
    tmp_path: Path, redis: Any, heori: Heori
) -> None:
    path = write(tmp_path / "jobs.jsonl", [[1], [2], [3]])
    assert heori("send", ADD, "--from", path).stdout == "3 jobs sent\n"
    redis.delete("rq:queue:default", *redis.keys("rq:job:*"))
    again = heori("send", ADD, "--from", path)
    assert again.stdout == "all 3 jobs were sent before; --again sends them once more\n"
    assert sent(redis) == []
    assert heori("send", ADD, "--from", path, "--again").stdout == "3 jobs sent\n"
    assert sent(redis) == [1, 2, 3]


def test_two_at_once_share_the_work(tmp_path: Path, redis: Any, redis_url: str) -> None:
    path = write(tmp_path / "jobs.jsonl", [[number] for number in range(3000)])
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "HEORI_TASKS": "tests.tasks.sample_tasks",
    }
    words = ["heori", "send", ADD, "--from", path]
    both = [Started(*words, env=environment) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert sent(redis) == list(range(3000))


def test_a_full_queue_holds_an_import_up_and_no_job_is_lost_or_doubled(
    tmp_path: Path, consume: Callable[..., Consumer], redis: Any, heori: Heori
) -> None:
    path = write(tmp_path / "jobs.jsonl", [[number] for number in range(1500)])
    limits = {"HEORI_QUEUE_LIMITS": "default=100"}
    refused = heori("send", ADD, "--from", path, HEORI_WHEN_FULL="reject", **limits)
    assert refused.returncode == 1
    assert "100 jobs sent" in refused.stdout
    assert "The same command goes on from here." in refused.stdout
    consumer = consume().ready()
    ran = heori("send", ADD, "--from", path, **limits)
    assert ran.stdout == "1,400 jobs sent, after 100 that were sent before\n"
    until(lambda: consumer.metric("heori_jobs_total", outcome="succeeded") == 1500)
    assert redis.llen("rq:queue:default") == 0


def test_bad_lines_are_told_by_number_and_nothing_is_sent(
    tmp_path: Path, redis: Any, heori: Heori
) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"a": 1}\n\n{"a": "x"}\n{broken\n5\n{"a": 1, "z": 2}\n')
    ran = heori("send", ADD, "--from", str(path))
    assert ran.returncode == 2
    lines = ran.stdout.splitlines()
    assert lines[0].startswith(
        "line 3: tests.tasks.sample_tasks.add: a: Input should be a valid integer"
    )
    assert lines[1].startswith("line 4: no JSON")
    assert lines[2].startswith("line 5: an object of arguments by name is needed")
    assert lines[3].startswith(f"line 6: {ADD}: z: ")
    assert lines[4] == "4 bad lines, 1 good ones; nothing was sent"
    assert redis.keys("rq:*") == []


def test_many_bad_lines_are_counted(tmp_path: Path, heori: Heori) -> None:
    path = write(tmp_path / "jobs.jsonl", [{}] * 25)
    told = json.loads(heori("send", ADD, "--from", path, "--json").stdout)
    assert (told["bad_lines"], len(told["bad"])) == (25, 20)
    assert "… and 5 more" in heori("send", ADD, "--from", path).stdout


def test_check_sends_nothing(tmp_path: Path, redis: Any, heori: Heori) -> None:
    path = write(tmp_path / "jobs.jsonl", [{"a": 1}, {"a": 2}])
    ran = heori("send", ADD, "--from", path, "--check")
    assert (ran.returncode, ran.stdout) == (0, "2 jobs could be sent; none was\n")
    assert redis.keys("rq:*") == []


def test_rows_of_a_table_are_jobs(tmp_path: Path, redis: Any, heori: Heori) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("\ufeffa,b\r\n1,5\r\n2,\r\n")
    assert heori("send", ADD, "--from", str(path)).stdout == "2 jobs sent\n"
    jobs = Queue("default", connection=redis, serializer=JSONSerializer).get_jobs()
    assert [job.kwargs for job in jobs] == [{"a": 1, "b": 5}, {"a": 2}]
    path.write_text("a\n1\n2,3\nx\n")
    ran = heori("send", ADD, "--from", str(path))
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()[:2]] == ["line 3", "line 4"]


def test_lines_come_by_a_pipe(redis: Any, redis_url: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "heori", "send", ADD, "--from", "-", "-q", "pipe", "--delay", "1h"],
        input="[1]\n[2]\n",
        env={**os.environ, "HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.sample_tasks"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "2 jobs sent\n"
    assert redis.zcard("rq:scheduled:pipe") == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--from", "nowhere.jsonl"), "No such file"),
        (("--from", "jobs.txt"), "is it JSON lines or CSV?"),
        (("--from", "-", "--key", "k"), "--key is for one job"),
        (("--from", "-", "--wait"), "--wait is for one job"),
        (("--check",), "--check goes with --from"),
        (("--from", "-", "-q", "a,b"), "without commas"),
        (("--from", "-", "--delay", "1s", "--at", "2030-01-01T00:00:00Z"), "only one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(
    heori: Heori, words: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "jobs.txt").touch()
    if words[1:2] == ("jobs.txt",):
        words = ("--from", str(tmp_path / "jobs.txt"))
    ran = heori("send", ADD, *words)
    assert ran.returncode == 2
    assert reason in ran.stderr


def test_a_position_is_kept_for_a_week(
    tmp_path: Path, redis: Any, heori: Heori, producer: Producer
) -> None:
    heori("send", ADD, "--from", write(tmp_path / "jobs.jsonl", [[1]]))
    [key] = redis.keys("rq:heori:import:*")
    assert redis.get(key) == b"1"
    assert 6 * 86400 < redis.ttl(key) <= 7 * 86400
    producer.submit(sample_tasks.add, 1)  # what is sent otherwise moves no position
    assert redis.get(key) == b"1"

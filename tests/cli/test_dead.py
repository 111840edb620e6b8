"""Dead letters: listed, shown, replayed and purged, whoever left them and however damaged."""

import json
import os
import pty
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.group import Group
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from heori import JobFailed, Producer
from heori_common.protocol.commands import FAILURE_TTL, Commands
from heori_common.protocol.dead_letter import DELIVERY_FIELDS
from heori_common.protocol.payload import encode_failure
from heori_common.redis.client import RedisClient
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

FAIL = "tests.tasks.sample_tasks.fail"
CALL = zlib.compress(json.dumps([FAIL, None, ["no"], {}]).encode())

# Makes many dead letters on the server itself: KEYS failed; ARGV first, last, payload, expiry
FILL = """
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.format('letter-%06d', n)
  redis.call('HSET', 'rq:job:' .. id, 'status', 'failed', 'origin', 'default', 'data', ARGV[3],
    'created_at', '2026-01-01T00:00:00.000000Z',
    'ended_at', string.format('2026-01-01T00:00:%02d.%06dZ', math.floor(n / 10000), n % 10000))
  redis.call('ZADD', KEYS[1], tonumber(ARGV[4]) + n / 10000, id)
end
redis.call('SADD', 'rq:queues', 'rq:queue:default')
"""


def fill(redis: Any, count: int, payload: bytes = CALL) -> None:
    expires = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 10 * FAILURE_TTL
    for first in range(1, count + 1, 5000):  # a server that is busy for long is taken for dead
        last = min(count, first + 4999)
        redis.eval(FILL, 1, "rq:failed:default", first, last, payload, expires)


def letter(redis: Any, job_id: str, queue: str = "default", ago: float = 0.0, **fields: Any) -> str:
    """A job that failed so many seconds ago, as rq leaves it; a field of None is left out."""
    failed = datetime.now(UTC) - timedelta(seconds=ago)
    record = {
        "status": "failed",
        "origin": queue,
        "data": CALL,
        "description": f"{FAIL}('no')",
        "created_at": failed.isoformat(),
        "enqueued_at": failed.isoformat(),
        "started_at": failed.isoformat(),
        "ended_at": failed.isoformat(),
        **fields,
    }
    record = {name: value for name, value in record.items() if value is not None}
    raw = job_id.encode("utf-8", "surrogateescape")
    redis.sadd("rq:queues", f"rq:queue:{queue}")
    redis.hset(b"rq:job:" + raw, mapping=record)
    redis.expire(b"rq:job:" + raw, FAILURE_TTL)
    redis.zadd(f"rq:failed:{queue}", {raw: int(failed.timestamp()) + FAILURE_TTL})
    redis.xadd(
        b"rq:results:" + raw,
        {"type": "2", "exc_string": encode_failure("Traceback …\nValueError: no\n")},
    )
    return job_id


def rows(listed: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert listed.returncode == 0, listed.stderr
    return [json.loads(line) for line in listed.stdout.splitlines()]


def told(done: "subprocess.CompletedProcess[str]", code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def queued(redis: Any, queue: str = "default") -> list[str]:
    return [job_id.decode() for job_id in redis.lrange(f"rq:queue:{queue}", 0, -1)]


def dead(redis: Any, queue: str = "default") -> set[str]:
    return {job_id.decode() for job_id in redis.zrange(f"rq:failed:{queue}", 0, -1)}


# list


def test_what_failed_last_is_listed_first_with_task_deliveries_and_reason(
    heori: Heori, redis: Any
) -> None:
    letter(redis, "old", ago=3600)
    # It expires first, so it stands before the other in the registry.
    letter(redis, "young", failure_ttl=60, heori_deliveries=2)
    redis.zadd("rq:failed:default", {"young": datetime.now(UTC).timestamp() + 60})
    letter(redis, "other", queue="mail", ago=60, status="stopped")
    killed = {"heori_death_signal": "SIGKILL", "heori_deliveries": 3}
    letter(redis, "killed", queue="mail", ago=120, **killed)
    listed = rows(heori("dead", "list", "--json"))
    assert [row["id"] for row in listed] == ["young", "other", "killed", "old"]
    assert [row["ending"] for row in listed] == ["failed", "stopped", "died", "failed"]
    assert [row["deliveries"] for row in listed] == [2, None, 3, None]
    assert {row["task"] for row in listed} == {FAIL}
    assert {row["reason"] for row in listed} == {"ValueError: no"}
    assert [row["id"] for row in rows(heori("dead", "list", "--json", "-q", "default"))] == [
        "young",
        "old",
    ]
    text = heori("dead", "list").stdout
    assert "killed  " in text
    assert f"mail  {FAIL}  died after 3 deliveries\n    ValueError: no\n" in text


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


def damaged(redis: Any) -> dict[str, str]:
    """Letters of every damage, and what is told of each."""
    letter(redis, "gone")
    redis.delete("rq:job:gone")
    letter(redis, "foreign")
    redis.delete("rq:job:foreign")
    redis.set("rq:job:foreign", "x")
    letter(redis, "results")
    redis.delete("rq:results:results")
    redis.set("rq:results:results", "x")
    bare: dict[str, Any] = dict.fromkeys(
        ["origin", "data", "description", "created_at", "ended_at"], None
    )
    letter(redis, "bare", heori_deliveries="many", heori_exit_code="?", **bare)
    letter(redis, "pickle", data=zlib.compress(b"\x80\x04N."))
    letter(redis, "garbage", data=b"\x00\xff", ended_at="never", description=b"\xff\x1b[31m")
    letter(redis, "large", data=os.urandom(2_000_000))
    letter(redis, "bomb", data=zlib.compress(b" " * 50_000_000))
    letter(redis, "endless", ended_at="")
    redis.zadd("rq:failed:default", {"endless": "+inf"})
    letter(redis, "afar", ended_at="")
    redis.zadd("rq:failed:default", {"afar": 1e300})
    letter(redis, "a b\n\x1b[2J:\udcff")
    return {
        "gone": "its job is gone",
        "foreign": "holds a string, not a hash",
        "bare": "no data field",
        "pickle": "HEORI_ACCEPT=json,pickle",
        "garbage": "its payload is no json",
        "large": "over the limit of 1,000,000",
        "bomb": "inflates to more than the limit",
    }


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
    assert r"a b\n\x1b[2J:\udcff  " in text.stdout
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
        "heori_died_at": "2026-01-02T03:04:05.000006Z",
        "heori_more": "what nobody knows yet",
    }
    letter(redis, "one", data=call, timeout=30, worker_name="consumer-1", **evidence)
    shown = told(heori("dead", "show", "one", "--json"))
    assert (shown["task"], shown["args"], shown["kwargs"]) == (FAIL, ["no"], {"deep": {"a": [1]}})
    assert (shown["queue"], shown["status"], shown["ending"]) == ("default", "failed", "died")
    assert (shown["timeout"], shown["worker_name"], shown["deliveries"]) == ("30", "consumer-1", 3)
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


# replay


def test_a_real_failure_is_replayed_and_its_handle_sees_the_new_result(
    heori: Heori, consume: Callable[..., Consumer], producer: Producer, tmp_path: Path, redis: Any
) -> None:
    consumer = consume().ready()
    folder = tmp_path / "not-yet"
    handle = producer.submit(sample_tasks.record, str(folder / "file"), 7)
    with pytest.raises(JobFailed, match="FileNotFoundError"):
        handle.result(60)
    [row] = rows(heori("dead", "list", "--json"))
    assert (row["id"], row["deliveries"], row["ending"]) == (handle.id, 1, "failed")
    assert row["reason"].startswith("FileNotFoundError")
    folder.mkdir()
    assert told(heori("dead", "replay", handle.id, "--json"))["replayed"] == 1
    assert handle.result(60) == 7
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"1"
    assert rows(heori("dead", "list", "--json")) == []
    assert consumer.stop() == 0


def test_what_killed_its_workers_gets_all_its_deliveries_again(
    heori: Heori, consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume().ready()
    handle = producer.submit(sample_tasks.leave, "kill")
    for entries in (1, 2):
        with pytest.raises(JobFailed, match="delivered 3 times"):
            handle.result(60)
        [row] = rows(heori("dead", "list", "--json"))
        assert (row["id"], row["deliveries"]) == (handle.id, 3)
        assert row["reason"].startswith("delivered 3 times")
        assert redis.xlen(f"rq:results:{handle.id}") == entries
        assert told(heori("dead", "replay", handle.id, "--json"))["replayed"] == 1
    with pytest.raises(JobFailed, match="delivered 3 times"):
        handle.result(60)
    assert consumer.stop() == 0


def test_a_replayed_job_is_as_if_it_had_never_run_and_stands_at_the_end_of_its_queue(
    heori: Heori, producer: Producer, redis: Any
) -> None:
    waiting = producer.submit(sample_tasks.add, 1)
    evidence: dict[str, Any] = dict.fromkeys(DELIVERY_FIELDS, "3")
    letter(redis, "one", worker_name="gone", number_of_retries=2, meta="kept", **evidence)
    letter(redis, "two", ttl=600, retries_left=0, retry_intervals="[1, 5, 30]")
    letter(redis, "three", status="stopped", retries_left="?", retry_intervals="{")
    done = told(heori("dead", "replay", "two", "one", "three", "two", "--json"))
    assert done["replayed"] == 3
    assert queued(redis) == [waiting.id, "two", "one", "three"]
    assert dead(redis) == set()
    record = redis.hgetall("rq:job:one")
    assert (record[b"status"], record[b"started_at"], record[b"ended_at"]) == (b"queued", b"", b"")
    assert record[b"worker_name"] == b""
    assert record[b"enqueued_at"] > record[b"created_at"]
    assert record[b"meta"] == b"kept"
    assert not any(name.startswith(b"heori_") or b"retries" in name for name in record)
    assert redis.ttl("rq:job:one") == -1
    assert 0 < redis.ttl("rq:job:two") <= 600  # how long it may wait
    assert redis.hget("rq:job:two", "retries_left") == b"3"
    assert redis.hget("rq:job:three", "retries_left") == b"0"
    assert redis.xlen("rq:results:one") == 1  # the history stays, as with rq


def test_what_cannot_be_replayed_stays_and_is_told(heori: Heori, redis: Any) -> None:
    letter(redis, "good")
    letter(redis, "gone")
    redis.delete("rq:job:gone")
    letter(redis, "foreign")
    redis.delete("rq:job:foreign")
    redis.set("rq:job:foreign", "x")
    letter(redis, "running", status="started")
    letter(redis, "limited", rate_limit_key="api")
    words = ("dead", "replay", "nobody", "gone", "foreign", "running", "limited", "good", "--json")
    fates = {
        "nobody": "absent",
        "gone": "gone",
        "foreign": "foreign",
        "running": "elsewhere",
        "limited": "limited",
        "good": "replayed",
    }
    before = redis.hgetall("rq:job:good")
    assert told(heori(*words, "--dry-run"), code=1)["ids"] == fates
    assert redis.hgetall("rq:job:good") == before
    assert dead(redis) == {"good", "gone", "foreign", "running", "limited"}
    done = heori(*words)
    assert told(done, code=1)["ids"] == fates
    assert "nobody: not among the dead letters" in done.stderr
    assert "rq requeue" in done.stderr
    assert queued(redis) == ["good"]
    assert dead(redis) == {"gone", "foreign", "running", "limited"}
    left = heori("dead", "replay", "--all")
    assert left.returncode == 1
    assert left.stdout == "0 replayed\n"
    assert "1 not replayed: the job is gone" in left.stderr


def test_all_letters_of_a_task_are_replayed_and_no_others(heori: Heori, redis: Any) -> None:
    add = zlib.compress(b'["tests.tasks.sample_tasks.add", null, [1], {}]')
    for n in range(600):
        letter(redis, f"fail-{n:03}", ago=1000 - n)
        if n % 3 == 0:
            letter(redis, f"add-{n:03}", ago=1000 - n, data=add)
    letter(redis, "unreadable", data=b"\x00")
    words = ("dead", "replay", "--task", "tests.tasks.sample_tasks.add", "--json")
    assert told(heori(*words, "--dry-run")) == {"replayed": 200, "left": {}, "dry_run": True}
    assert queued(redis) == []
    assert told(heori(*words)) == {"replayed": 200, "left": {}, "dry_run": False}
    assert queued(redis) == [f"add-{n:03}" for n in range(0, 600, 3)]  # as they failed
    assert len(dead(redis)) == 601


def test_two_who_replay_all_at_once_move_and_count_each_letter_once(
    heori: Heori, redis: Any, redis_url: str
) -> None:
    fill(redis, 5000)
    command = [sys.executable, "-m", "heori", "dead", "replay", "--all", "--json"]
    both = [
        subprocess.Popen(
            command, env={**os.environ, "HEORI_REDIS_URL": redis_url}, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    answers = [json.loads(process.communicate(timeout=40)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(answer["replayed"] for answer in answers) == 5000
    assert len(queued(redis)) == len(set(queued(redis))) == 5000
    assert dead(redis) == set()


def test_a_queue_with_a_broken_key_is_told_of_and_loses_nothing(heori: Heori, redis: Any) -> None:
    letter(redis, "one", queue="broken-list")
    redis.set("rq:queue:broken-list", "x")
    letter(redis, "two", queue="good")
    redis.sadd("rq:queues", "rq:queue:broken-registry")
    redis.set("rq:failed:broken-registry", "x")
    record = redis.hgetall("rq:job:one")
    done = heori("dead", "replay", "--all", "--json")
    assert told(done, code=1)["replayed"] == 1
    assert "queue broken-registry: WRONGTYPE" in done.stderr
    assert "queue broken-list: " in done.stderr
    assert "Traceback" not in done.stderr
    assert dead(redis, "broken-list") == {"one"}
    assert redis.hgetall("rq:job:one") == record
    assert queued(redis, "good") == ["two"]
    by_id = heori("dead", "replay", "one")
    assert by_id.returncode == 1
    assert "queue broken-list: " in by_id.stderr


def test_letters_of_stock_rq_are_replayed_and_stock_rq_runs_them(heori: Heori, redis: Any) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    job = queue.enqueue("tests.tasks.sample_tasks.fail", "because")
    SimpleWorker([queue], connection=redis, serializer=JSONSerializer).work(burst=True)
    assert job.get_status() == JobStatus.FAILED
    [row] = rows(heori("dead", "list", "--json"))
    assert (row["id"], row["task"], row["reason"]) == (job.id, FAIL, "ValueError: because")
    assert told(heori("dead", "replay", "--all", "--json"))["replayed"] == 1
    assert FailedJobRegistry(queue=queue).get_job_ids() == []
    assert queue.get_job_ids() == [job.id]
    job = Job.fetch(job.id, connection=redis, serializer=JSONSerializer)
    assert job.get_status() == JobStatus.QUEUED
    assert (job.started_at, job.ended_at) == (None, None)
    SimpleWorker([queue], connection=redis, serializer=JSONSerializer).work(burst=True)
    assert job.get_status() == JobStatus.FAILED
    assert len(job.results()) == 2


# purge


def test_purging_leaves_nothing_that_rqs_own_delete_would_not_leave(
    heori: Heori, redis: Any
) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    group = Group.create(connection=redis, name="g")

    def leave_one(job_id: str) -> Job:
        """A failed job with everything that may belong to one."""
        first = queue.enqueue("tests.tasks.sample_tasks.add", 1, job_id=f"{job_id}-first")
        [job] = group.enqueue_many(
            queue,
            [Queue.prepare_data("tests.tasks.sample_tasks.fail", ("no",), job_id=job_id)],
        )
        assert isinstance(job, Job)
        queue.enqueue("tests.tasks.sample_tasks.add", 1, job_id=f"{job_id}-next", depends_on=job)
        queue.remove(job)
        redis.sadd(job.dependencies_key, first.id)
        letter(redis, job_id, group_id="g")
        with redis.pipeline() as pipeline:
            Execution.create(job, 60, pipeline)
            pipeline.execute()
        return job

    leave_one("by-rq").delete()
    by_rq = {key.replace(b"by-rq", b"X") for key in redis.keys("*")}
    members = redis.smembers("rq:group:g"), redis.zrange("rq:wip:default", 0, -1)
    redis.flushdb()
    leave_one("by-us")
    assert told(heori("dead", "purge", "--all", "--json")) == {
        "purged": 1,
        "left": {},
        "dry_run": False,
    }
    assert {key.replace(b"by-us", b"X") for key in redis.keys("*")} == by_rq
    assert (redis.smembers("rq:group:g"), redis.zrange("rq:wip:default", 0, -1)) == members


def test_only_what_is_old_enough_is_purged_and_a_dry_run_only_counts(
    heori: Heori, redis: Any
) -> None:
    letter(redis, "young", ago=6 * 86400)
    letter(redis, "old", ago=8 * 86400)
    letter(redis, "by-expiry", ago=8 * 86400, ended_at="")
    letter(redis, "for-ever", ended_at="")
    redis.zadd("rq:failed:default", {"for-ever": "+inf"})
    letter(redis, "revived", ago=8 * 86400, status="queued")
    redis.rpush("rq:queue:default", "revived")
    dry = heori("dead", "purge", "--older", "7d", "--dry-run")
    assert dry.stdout == "2 would be purged\n"
    assert len(redis.keys("rq:job:*")) == 5
    done = heori("dead", "purge", "--older", "7d", "--json")
    assert told(done, code=1) == {"purged": 2, "left": {"elsewhere": 1}, "dry_run": False}
    assert dead(redis) == {"young", "for-ever", "revived"}
    assert told(heori("dead", "purge", "--all", "--json"), code=1)["purged"] == 2
    assert redis.keys("rq:job:*") == [b"rq:job:revived"]  # it waits in its queue


def test_everything_damaged_can_be_purged(heori: Heori, redis: Any) -> None:
    damaged(redis)
    assert told(heori("dead", "purge", "--all", "--json"))["purged"] == 11
    assert redis.keys() == [b"rq:queues"]


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


def on_a_terminal(redis_url: str, *words: str, answer: str = "") -> tuple[int, str]:
    """Run a command on a terminal and answer its question; returns exit code and what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "heori", *words],
        env={**os.environ, "HEORI_REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
            if b"[y/N]" in shown and answer:
                os.write(ours, answer.encode())
                answer = ""
    except OSError:  # how Linux tells that the other side has closed
        pass
    finally:
        os.close(ours)
    return process.wait(60), shown.decode()


def test_on_a_terminal_purging_asks_and_many_letters_show_a_progress_bar(
    redis: Any, redis_url: str
) -> None:
    fill(redis, 3000)
    code, shown = on_a_terminal(redis_url, "dead", "purge", "--all", answer="n\n")
    assert code == 1
    assert "Delete 3,000 dead letters at 127.0.0.1" in shown
    assert "3000/3000" in shown
    assert len(dead(redis)) == 3000
    code, shown = on_a_terminal(redis_url, "dead", "purge", "--all", answer="y\n")
    assert code == 0
    assert "3,000 purged" in shown
    assert redis.keys("rq:job:*") == []
    letter(redis, "one")
    code, shown = on_a_terminal(redis_url, "dead", "purge", "--all", "--yes")
    assert (code, shown.split()) == (0, ["1", "purged"])


# many


MEASURED = """
import sys
from heori.cli.app import app
try:
    app()
finally:
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    print(peak.split()[1], file=sys.stderr)
"""


def peak_memory(redis_url: str, *words: str) -> int:
    """The most memory that a command had at any time, in kB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "dead", *words],
        env={**os.environ, "HEORI_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


def test_a_hundred_thousand_letters_take_no_more_memory_than_a_thousand(
    redis: Any, redis_url: str
) -> None:
    commands = ["list"], ["replay", "--task", FAIL]
    fill(redis, 1000)
    few = [peak_memory(redis_url, *words) for words in commands]
    redis.delete("rq:queue:default")
    fill(redis, 100_000)
    many = [peak_memory(redis_url, *words) for words in commands]
    assert redis.lrange("rq:queue:default", -1, -1) == [b"letter-100000"]
    assert (redis.llen("rq:queue:default"), redis.zcard("rq:failed:default")) == (100_000, 0)
    assert max(many) - max(few) < 4_000


def test_large_letters_are_read_few_at_a_time(redis: Any, redis_url: str) -> None:
    fill(redis, 10)
    few = peak_memory(redis_url, "list", "--task", FAIL)
    fill(redis, 200, os.urandom(900_000))
    assert peak_memory(redis_url, "list", "--task", FAIL) - few < 40_000


def test_interrupted_between_pages_every_letter_is_in_one_place(redis: Any, redis_url: str) -> None:
    fill(redis, 100_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "heori", "dead", "replay", "--all"],
        env={**os.environ, "HEORI_REDIS_URL": redis_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: redis.llen("rq:queue:default") > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    moved = queued(redis)
    assert len(moved) == len(set(moved))
    assert set(moved).isdisjoint(dead(redis))
    assert len(moved) + redis.zcard("rq:failed:default") == 100_000
    assert out.endswith(" replayed\n")
    assert 0 < len(moved) < 100_000
    with RedisClient(redis_url) as client:
        [record] = client.execute(Commands().read_jobs(moved[-1:], most_value=1000))
    assert record.fields["status"] == b"queued"

"""`heori dead replay`: dead letters run again."""

import json
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from heori import JobFailed, Producer, chain, group
from heori_common.protocol.dead_letter import DELIVERY_FIELDS
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.dead_letters import (
    FAIL,
    dead,
    fill,
    letter,
    queued,
    rows,
    told,
)
from tests.rigs.waiting import until
from tests.rigs.zygote import Started
from tests.tasks import sample_tasks
from tests.tasks.flow_tasks import double, fails_without, handle, total


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


def test_what_waited_for_a_dead_letter_goes_on_once_that_is_replayed(
    heori: Heori, consume: Callable[..., Consumer], producer: Producer, tmp_path: Path
) -> None:
    path = tmp_path / "there"
    fails = fails_without.s(5, str(path))
    line = producer.submit_flow(chain(fails, double.s(), double.s(), on_failure=handle.s()))
    fan = producer.submit_flow(group([double.s(1), fails, fails], then=total.s()))
    consume(HEORI_TASKS="tests.tasks.flow_tasks").ready()
    [told_of] = line.handles[-1].result(60)
    assert told_of.job_id == line.handles[0].id
    until(lambda: line.handles[-2].status() == fan.handles[-1].status() == "canceled")
    path.touch()
    assert told(heori("dead", "replay", line.handles[0].id, "--json"))["replayed"] == 1
    until(lambda: line.handles[-2].status() == "finished")
    assert line.result(60) == 20
    task = "tests.tasks.flow_tasks.fails_without"
    assert told(heori("dead", "replay", "--task", task, "--json"))["replayed"] == 2
    until(lambda: fan.handles[-1].status() == "finished")
    assert fan.result(60) == 12
    assert rows(heori("dead", "list", "--json")) == []


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
        assert "waitpid returned 9 (signal 9); delivered 3 times" in row["reason"]
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
    letter(redis, "limited", rate_limit_key="api", rate_limit_concurrency=1)
    redis.zadd("rq:rl:api:allowed", {"other": 1})
    words = ("dead", "replay", "nobody", "gone", "foreign", "running", "limited", "good", "--json")
    fates = {
        "nobody": "absent",
        "gone": "gone",
        "foreign": "foreign",
        "running": "elsewhere",
        "limited": "replayed",
        "good": "replayed",
    }
    before = redis.hgetall("rq:job:good")
    assert told(heori(*words, "--dry-run"), code=1)["ids"] == fates
    assert redis.hgetall("rq:job:good") == before
    assert dead(redis) == {"good", "gone", "foreign", "running", "limited"}
    done = heori(*words)
    assert told(done, code=1)["ids"] == fates
    assert "nobody: not among the dead letters" in done.stderr
    assert queued(redis) == ["good"]
    assert redis.zrange("rq:rl:api:rate_limited", 0, -1) == [b"limited"]
    assert dead(redis) == {"gone", "foreign", "running"}
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
    counted = {"replayed": 200, "left": {}, "unreadable": {}}
    assert told(heori(*words, "--dry-run")) == {**counted, "dry_run": True}
    assert queued(redis) == []
    assert told(heori(*words)) == {**counted, "dry_run": False}
    assert queued(redis) == [f"add-{n:03}" for n in range(0, 600, 3)]  # as they failed
    assert len(dead(redis)) == 601


def test_two_who_replay_all_at_once_move_and_count_each_letter_once(
    heori: Heori, redis: Any, redis_url: str
) -> None:
    fill(redis, 5000)
    command = ("heori", "dead", "replay", "--all", "--json")
    environment = {**os.environ, "HEORI_REDIS_URL": redis_url}
    both = [Started(*command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
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
    broken = {"rq:failed:broken-registry", "rq:queue:broken-list"}
    assert told(done, code=1)["unreadable"].keys() == broken
    assert all(f"{key} cannot be read: it holds another type" in done.stderr for key in broken)
    assert "Traceback" not in done.stderr
    assert dead(redis, "broken-list") == {"one"}
    assert redis.hgetall("rq:job:one") == record
    assert queued(redis, "good") == ["two"]
    by_id = heori("dead", "replay", "one")
    assert by_id.returncode == 1
    assert "rq:queue:broken-list cannot be read: " in by_id.stderr
    assert "one: a key of its queue holds something else" in by_id.stderr


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

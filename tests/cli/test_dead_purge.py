"""`heori dead purge`; and many letters at once, large ones, and a command that is interrupted."""

import os
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

from rq import Queue
from rq.executions import Execution
from rq.group import Group
from rq.job import Job
from rq.serializers import JSONSerializer

from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient
from tests.rigs.commands import Heori
from tests.rigs.dead_letters import FAIL, damaged, dead, fill, letter, queued, told
from tests.rigs.proxy import proxy
from tests.rigs.waiting import connected, until
from tests.rigs.zygote import Started

MANY = 100_000 if os.environ.get("EXAMPLES") else 30_000


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
        "unreadable": {},
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
    assert told(done, code=1) == {
        "purged": 2,
        "left": {"elsewhere": 1},
        "dry_run": False,
        "unreadable": {},
    }
    assert dead(redis) == {"young", "for-ever", "revived"}
    assert told(heori("dead", "purge", "--all", "--json"), code=1)["purged"] == 2
    assert redis.keys("rq:job:*") == [b"rq:job:revived"]  # it waits in its queue


def test_everything_damaged_can_be_purged(heori: Heori, redis: Any) -> None:
    damaged(redis)
    assert told(heori("dead", "purge", "--all", "--json"))["purged"] == 11
    assert redis.keys() == [b"rq:queues"]


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
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


def test_tens_of_thousands_of_letters_take_no_more_memory_than_a_thousand(
    redis: Any, redis_url: str
) -> None:
    commands = ["list"], ["replay", "--task", FAIL]
    fill(redis, 1000)
    few = [peak_memory(redis_url, *words) for words in commands]
    redis.delete("rq:queue:default")
    fill(redis, MANY)
    many = [peak_memory(redis_url, *words) for words in commands]
    assert redis.lrange("rq:queue:default", -1, -1) == [b"letter-%06d" % MANY]
    assert (redis.llen("rq:queue:default"), redis.zcard("rq:failed:default")) == (MANY, 0)
    assert max(many) - max(few) < 4_000


def test_large_letters_are_read_few_at_a_time(redis: Any, redis_url: str) -> None:
    fill(redis, 10)
    few = peak_memory(redis_url, "list", "--task", FAIL)
    fill(redis, 200, os.urandom(900_000))
    assert peak_memory(redis_url, "list", "--task", FAIL) - few < 40_000


def test_interrupted_between_pages_every_letter_is_in_one_place(redis: Any, redis_url: str) -> None:
    fill(redis, 1500)
    others = connected(redis)
    with proxy(urlsplit(redis_url).port or 0) as between:
        between.hold_at = b"letter-000600"  # of the second page
        process = Started(
            *("heori", "dead", "replay", "--all"),
            env={**os.environ, "HEORI_REDIS_URL": f"redis://127.0.0.1:{between.port}/0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert between.holds.wait(120)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        between.let_go()
        until(lambda: connected(redis) <= others)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    moved = queued(redis)
    assert len(moved) == len(set(moved))
    assert set(moved).isdisjoint(dead(redis))
    assert len(moved) + redis.zcard("rq:failed:default") == 1500
    assert out.endswith(" replayed\n")
    assert 0 < len(moved) < 1500
    with RedisClient(redis_url) as client:
        [record] = client.execute(Commands().read_jobs(moved[-1:], most_value=1000))
    assert record.fields["status"] == b"queued"

"""Jobs as rq 1.16, 2.6, 2.12 and 3.0 left them in Redis (tests/rq/golden): read and completed."""

import decimal
import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rq import Queue
from rq.job import Job
from rq.results import Result
from rq.serializers import DefaultSerializer, JSONSerializer

from tests.rigs.consumers import Consumer
from tests.rigs.stock_rq import reads_all
from tests.rigs.waiting import until

RECORDS = sorted((Path(__file__).parent / "golden").glob("*.json"))
MOMENT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)

# What each kind returns.
RETURNS: Mapping[str, Any] = {
    "plain": 3,
    "values": [{1, 2}, MOMENT, decimal.Decimal("1.10"), b"\x00", {"day": date(2024, 2, 29)}],
    "json": 4,
    "method": 12,
    "tried": 2,
    "retry": 3,
    "parent": 1,
    "child": 2,
    "scheduled": 10,
    "success": 4,
    "meta": {"from": MOMENT, "noted": True},
    "limits": 6,
    "finished": 42,
}
# What Heori, like rq, writes into the hash of a job that runs; all else stays as it was.
WRITTEN = {
    *("status", "started_at", "ended_at", "last_heartbeat", "worker_name", "enqueued_at"),
    *("retries_left", "meta"),
}


def raw(text: str) -> bytes:
    """The inverse of `record.text`."""
    return b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def load(redis: Any, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        key, value = entry["key"], entry["value"]
        match entry["type"]:
            case "string":
                redis.set(key, raw(value))
            case "hash":
                redis.hset(key, mapping={raw(f): raw(v) for f, v in value.items()})
            case "list":
                redis.rpush(key, *map(raw, value))
            case "set":
                redis.sadd(key, *map(raw, value))
            case "zset":
                redis.zadd(key, {raw(member): score for member, score in value})
            case "stream":
                for entry_id, fields in value:
                    redis.xadd(key, {raw(f): raw(v) for f, v in fields.items()}, id=entry_id)
        if entry["ttl"] > 0:
            redis.expire(key, entry["ttl"])


def jobs_of(redis: Any, entries: list[dict[str, Any]]) -> Iterator[tuple[str, Job, dict[str, str]]]:
    """Its kind, rq's own view of it, and the hash as it was recorded."""
    for entry in entries:
        prefix, _, job_id = entry["key"].rpartition(":")
        if prefix == "rq:job":
            kind = job_id.partition("-")[2]
            serializer = JSONSerializer if kind == "json" else DefaultSerializer
            yield kind, Job.fetch(job_id, redis, serializer), entry["value"]


@reads_all
def test_jobs_of_each_version_are_read_and_completed(
    redis: Any, consume: Callable[..., Consumer]
) -> None:
    recorded = {path.stem: json.loads(path.read_text()) for path in RECORDS}
    assert sorted(recorded) == ["v1_16_2", "v2_12_0", "v2_6_1", "v3_0_0"]
    for entries in recorded.values():
        load(redis, entries)
    consume(HEORI_ALLOW="tests.tasks.golden_tasks", HEORI_ACCEPT="json,pickle").ready()
    waiting = {
        job.id
        for each in recorded.values()
        for kind, job, _ in jobs_of(redis, each)
        if kind != "failed"
    }
    until(
        lambda: all(
            Job.fetch(job_id, redis).get_status() in ("finished", "failed") for job_id in waiting
        )
    )
    for tag, entries in recorded.items():
        seen = set()
        for kind, job, before in jobs_of(redis, entries):
            seen.add(kind)
            _check(tag, kind, job, redis)
            now = redis.hgetall(job.key)
            kept = {raw(name): raw(value) for name, value in before.items() if name not in WRITTEN}
            assert kept.items() <= now.items(), (tag, kind)
        assert seen == {*RETURNS, "failed", "failure"}, tag


def _check(tag: str, kind: str, job: Job, redis: Any) -> None:
    where = tag, kind
    result = job.latest_result()
    assert result is not None, where
    called = [each.decode() for each in redis.lrange(f"golden:called:{job.id}", 0, -1)]
    if kind == "failed":
        assert "ValueError: run 1" in str(result.exc_string), where
        queue = Queue("default", connection=redis)
        assert job.id in queue.failed_job_registry, where
        queue.failed_job_registry.requeue(job)
        until(lambda: job.get_status() == "finished")
        assert job.return_value(refresh=True) == 2, where
    elif kind == "failure":
        assert result.type == Result.Type.FAILED, where
        assert called == ["failure TypeError: unsupported operand type(s) for +: 'int' and 'str'"]
        assert redis.ttl(job.key) > 0, where
    else:
        assert job.get_status() == "finished", (where, result.exc_string)
        assert result.return_value == RETURNS[kind], where
        assert called == (["success 4"] if kind == "success" else []), where
    if kind == "meta":
        assert job.get_meta() == RETURNS[kind], where
    if kind == "limits":
        assert 0 < redis.ttl(job.key) <= 1000, where
    if kind in ("tried", "retry"):
        assert job.retries_left == {"tried": 2, "retry": 0}[kind], where

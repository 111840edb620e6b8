"""Dead letters made by hand, and what commands say of them."""

import json
import os
import subprocess
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from heori_common.protocol.commands import FAILURE_TTL_S
from heori_common.protocol.payload import encode_failure

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
    expires = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 10 * FAILURE_TTL_S
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
    redis.expire(b"rq:job:" + raw, FAILURE_TTL_S)
    redis.zadd(f"rq:failed:{queue}", {raw: int(failed.timestamp()) + FAILURE_TTL_S})
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
        "pickle": "its payload is not a call",
        "garbage": "its payload is no json",
        "large": "over the limit of 1,000,000",
        "bomb": "inflates to more than the limit",
    }

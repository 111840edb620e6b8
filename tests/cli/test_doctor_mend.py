"""`heori doctor --mend`: of all that stock workers leave broken when they die, nothing is left."""

import time
from typing import Any

import pytest
from rq import Queue, Retry
from rq.executions import Execution
from rq.serializers import JSONSerializer

from tests.rigs.commands import run_here

ADD = "tests.tasks.sample_tasks.add"


@pytest.fixture
def spoilt(redis: Any) -> Any:
    """A Redis on which each kind of death has left its traces."""
    queue = Queue("q", connection=redis, serializer=JSONSerializer)
    for name, more in (("dead", {}), ("dead-again", {"retry": Retry(max=1)})):
        job = queue.enqueue(ADD, 1, job_id=name, **more)
        with redis.pipeline() as pipeline:
            execution = Execution.create(job, 90, pipeline)
            job.prepare_for_execution("stock", pipeline)
            pipeline.lrem("rq:queue:q", 1, job.id)
            pipeline.execute()
        redis.zadd("rq:wip:q", {f"{name}:{execution.id}": time.time() - 100})
        redis.delete(f"rq:execution:{name}:{execution.id}")
    queue.enqueue(ADD, 1, job_id="popped")
    redis.lmove("rq:queue:q", "rq:queue:q:intermediate", "LEFT", "RIGHT")
    redis.set("rq:queue:q:intermediate:first_seen:popped", time.time() - 100)
    queue.enqueue(ADD, 1, job_id="child", depends_on=queue.enqueue(ADD, 1, job_id="parent"))
    redis.delete("rq:job:parent")
    queue.enqueue(ADD, 1, job_id="ready", depends_on=queue.enqueue(ADD, 1, job_id="other"))
    redis.hset("rq:job:ready", "status", "ready_to_enqueue")
    redis.zrem("rq:deferred:q", "ready")
    redis.zadd("rq:ready:q", {"ready": time.time() - 100})
    redis.sadd("rq:rl-keys", "api")
    redis.hset("rq:rl:api", "concurrency", 1)
    redis.zadd("rq:rl:api:allowed", {"gone": 1})
    redis.sadd("rq:groups", "g")
    redis.sadd("rq:group:g", "gone")
    return redis


def test_what_dead_stock_workers_left_is_mended_and_told(spoilt: Any, redis_url: str) -> None:
    ran = run_here(redis_url, "doctor", "--mend")
    told = [line for line in ran.stdout.splitlines() if line.startswith("mended: ")]
    assert told == [
        "mended: jobs of dead stock workers retried: 1",
        "mended: jobs of dead stock workers failed: 1",
        "mended: jobs that were popped and not begun put back: 1",
        "mended: jobs queued that need not wait for others: 2",
        "mended: slots of rate limits freed: 1",
        "mended: jobs struck from groups that are gone: 1",
    ]
    queued = {job_id.decode() for job_id in spoilt.lrange("rq:queue:q", 0, -1)}
    assert queued == {"popped", "child", "ready", "dead-again", "parent", "other"}
    assert spoilt.zrange("rq:failed:q", 0, -1) == [b"dead"]
    assert not spoilt.exists("rq:job:parent:dependents"), "rq would start it once more"
    left = [key for kind in ("wip", "ready", "deferred", "rl", "group") for key in
            spoilt.keys(f"rq:{kind}*")]  # fmt: skip
    assert left == []
    again = run_here(redis_url, "doctor", "--mend")
    assert "mended: " not in again.stdout
    assert "slots" not in again.stdout
    assert "q, which no consumer serves: 6" in again.stdout

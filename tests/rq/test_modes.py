"""The same jobs through stock rq and both of HEORI_RECORDS' modes leave the same in Redis.

`EXAMPLES=1 .venv/bin/pytest tests/rq/test_modes.py` does it with 880 jobs, by default there is one
of each kind. What differs stands in differences.toml, each with its reason.
"""

import os
import re
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq import Callback, Queue, Retry, SimpleWorker
from rq.group import Group
from rq.job import Dependency
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer
from tests.rigs.rq_records import differences, records
from tests.rigs.stock_rq import VERSION
from tests.rigs.waiting import until
from tests.tasks import callback_tasks, strangers

pytestmark = pytest.mark.skipif(VERSION < (3, 0), reason="what Heori writes is rq 3's")

MODULES = ",".join(module.__name__ for module in (callback_tasks, strangers))
ROUNDS = 20 if os.environ.get("EXAMPLES") == "1" else 1
# Keys of workers and not of jobs, and locks that end by themselves.
OF_WORKERS = (b"rq:worker", b"rq:scheduler", b"rq:clean_", b"rq:execution")
DIFFERENCES = tomllib.loads(Path(__file__).with_name("differences.toml").read_text("utf-8"))

ECHO, FAIL = strangers.echo, strangers.fail
PLAIN: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "plain": (ECHO, (1,), {}),
    "words": (ECHO, ("ü",), {"kwargs": {"b": [1, None, 2.5]}}),
    "none": (strangers.nothing, (), {}),
    "coroutine": (strangers.later, (2,), {}),
    "lambda": (strangers.make_function, (), {}),
    "failed": (FAIL, ("because",), {}),
    "missing": ("tests.tasks.strangers.gone", (), {"retry": Retry(max=1)}),
    "misfit": (strangers.double, (1, 2, 3), {}),
    "late": (strangers.oversleep, (), {"job_timeout": 1}),
    "unkept": (ECHO, (1,), {"result_ttl": 0}),
    "endless": (ECHO, (1,), {"result_ttl": -1}),
    "brief": (ECHO, (1,), {"result_ttl": 1000, "description": "what it does", "meta": {"a": 1}}),
    "failed-brief": (FAIL, ("b",), {"failure_ttl": 1000}),
    "failed-endless": (FAIL, ("b",), {"failure_ttl": -1}),
    "ttl": (ECHO, (1,), {"ttl": 5000}),
    "ttl-failed": (FAIL, ("b",), {"ttl": 5000}),
    "retries": (FAIL, ("b",), {"retry": Retry(max=2)}),
    "ttl-retries": (FAIL, ("b",), {"retry": Retry(max=1), "ttl": 5000}),
    "retries-later": (FAIL, ("b",), {"retry": Retry(max=1, interval=[1])}),
    "front": (ECHO, (1,), {"at_front": True}),
    "success": (ECHO, (1,), {"on_success": Callback(callback_tasks.succeeded)}),
    "failure": (FAIL, ("b",), {"on_failure": Callback(callback_tasks.failed)}),
    "complains": (ECHO, (1,), {"on_success": Callback(callback_tasks.complain)}),
    "returns-retry": (callback_tasks.ask_for_more, (), {}),
    "saves-meta": (callback_tasks.add, (1, 2), {"on_success": Callback(callback_tasks.note)}),
    "ttl-success": (ECHO, (1,), {"ttl": 5000, "on_success": Callback(callback_tasks.succeeded)}),
    "failure-retries": (
        FAIL,
        ("b",),
        {"retry": Retry(max=1), "on_failure": Callback(callback_tasks.failed)},
    ),
    "failed-unkept": (FAIL, ("b",), {"failure_ttl": 0}),
    "parent": (ECHO, (1,), {}),
    "failed-parent": (FAIL, ("b",), {}),
    "unkept-parent": (ECHO, (1,), {"result_ttl": 0}),
}
# Whose end they wait for, and whether it may have failed.
CHILDREN = {
    "child": ("parent", False),
    "child-of-failed": ("failed-parent", False),
    "allowing-child": ("failed-parent", True),
    "child-of-unkept": ("unkept-parent", False),
    "grandchild": ("child", False),
}


def send(redis: Any) -> None:
    """Jobs of each kind, with ids that are the same each time."""
    from rq import Repeat  # rq 2.0 has none, and no rate limits
    from rq.rate_limit import RateLimit

    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    for number in range(ROUNDS):
        for kind, (function, args, how) in PLAIN.items():
            queue.enqueue(function, args=args, job_id=f"{kind}-{number}", **how)
        for kind, (parent, may_fail) in CHILDREN.items():
            on = Dependency([f"{parent}-{number}"], allow_failure=may_fail)
            queue.enqueue(ECHO, 1, job_id=f"{kind}-{number}", depends_on=on)
        queue.enqueue(ECHO, 1, job_id=f"repeats-{number}", repeat=Repeat(times=2))
        for other in ("a", "b"):
            limit = RateLimit("api", 1)
            queue.enqueue(ECHO, 1, job_id=f"limited-{other}-{number}", rate_limit=limit)
        queue.enqueue_in(timedelta(seconds=1), ECHO, 1, job_id=f"later-{number}")
        queue.enqueue_in(timedelta(days=1), ECHO, 1, job_id=f"tomorrow-{number}")
        queue.enqueue(ECHO, 1, job_id=f"canceled-{number}").cancel()
        data = [Queue.prepare_data(ECHO, args=(n,), job_id=f"of{n}-{number}") for n in range(2)]
        Group.create(redis, f"group-{number}").enqueue_many(queue, data)


def left(redis: Any) -> list[int]:
    """How much is still to be done, at one moment: a job may go from one place to another."""
    soon = redis.time()[0] + 60
    with redis.pipeline(transaction=True) as together:
        together.llen("rq:queue:default")
        together.zcard("rq:wip:default")
        together.zcard("rq:ready:default")
        together.zcount("rq:scheduled:default", 0, soon)
        together.zcard("rq:rl:api:rate_limited")
        together.zcard("rq:heori:ended")
        found: list[int] = together.execute()
    return found


def through_stock(redis: Any) -> dict[str, Any]:
    redis.flushdb()
    send(redis)
    worker = SimpleWorker(["default"], connection=redis, serializer=JSONSerializer)
    scheduler: Any = RQScheduler(["default"], connection=redis, serializer=JSONSerializer)
    scheduler.acquire_locks()

    def work() -> bool:
        scheduler.enqueue_scheduled_jobs()
        worker.work(burst=True, logging_level="CRITICAL")
        return not any(left(redis))

    until(work)
    return records(redis, *OF_WORKERS)


@pytest.fixture(scope="module")
def of_stock(valkey: EmbeddedValkey) -> dict[str, Any]:
    with redis_py.Redis.from_url(valkey.url, socket_timeout=None) as redis:
        return through_stock(redis)


@pytest.mark.parametrize("mode", ["fast", "strict"])
def test_what_is_left_of_jobs_is_what_stock_rq_leaves(
    of_stock: dict[str, Any], mode: str, consume: Callable[..., Consumer], redis: Any
) -> None:
    send(redis)
    consumer = consume(
        *("--model", "processes", "--processes", "2"),
        HEORI_RECORDS=mode,
        HEORI_TASKS="",
        HEORI_ALLOW=MODULES,
        HEORI_UNKNOWN_WAIT="0",
    )
    until(lambda: not any(left(redis)), timeout=300)
    found = records(redis, *OF_WORKERS)
    assert redis.keys("rq:execution*") == []
    assert consumer.stop() == 0
    untold = []
    used = set()
    for place, (stock, ours) in differences(of_stock, found).items():
        rules = [n for n, rule in enumerate(DIFFERENCES["difference"]) if _is_of(rule, place, mode)]
        used.update(rules)
        if not rules:
            untold.append((place, stock, ours))
    assert untold == []
    unused = [
        rule
        for number, rule in enumerate(DIFFERENCES["difference"])
        if number not in used and mode in rule.get("modes", ["fast", "strict"])
    ]
    assert unused == [], "there are no such differences any more"


def _is_of(rule: dict[str, Any], place: str, mode: str) -> bool:
    """Whether a difference is one that is known."""
    is_of_mode = mode in rule.get("modes", ["fast", "strict"])
    return is_of_mode and re.fullmatch(rule["place"], place) is not None

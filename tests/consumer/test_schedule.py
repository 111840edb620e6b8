"""Scheduled jobs: the scheduler on a real server, real consumers, and stock rq beside them."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq import Queue
from rq.job import Job as RqJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from heori import Handle, Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import Commands
from heori_consumer.supervisor.context import Role
from heori_consumer.supervisor.leadership import Leadership
from heori_consumer.supervisor.scheduler import CALL_JOBS, Scheduler
from tests.rigs.consumers import Consumer
from tests.rigs.listening import Heard, context_of
from tests.rigs.stock_rq import reads_all
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

ROOT = Path(__file__).parents[2]
ME, OTHER = "consumer-1", "consumer-2"
LOCK = "rq:scheduler-lock:default"
SCHEDULED = "rq:scheduled:default"


# The scheduler

FILL = """
for n = 1, ARGV[1] do
  redis.call('HSET', 'rq:job:j' .. n, 'status', 'scheduled', 'data', 'x')
  redis.call('ZADD', 'rq:scheduled:default', 1e9 + n / 1e3, 'j' .. n)
end
"""


def test_100_000_jobs_due_at_once_are_moved_once_each_while_others_are_claimed(
    redis: Any, redis_url: str
) -> None:
    number = 100_000
    redis.eval(FILL, 0, number)
    commands = Commands()

    async def move() -> tuple[list[str], int]:
        services = [("default",), ("default", "x")]  # two may serve the same queue
        contexts = [
            context_of(redis_url, *queues, name=name)
            for queues, name in zip(services, (ME, OTHER), strict=True)
        ]
        leaders = [Leadership(context) for context in contexts]
        scheduler, rival = (
            # nobody listens, so that it has to look
            Scheduler(context, leader, Heard(context.redis).listener)
            for context, leader in zip(contexts, leaders, strict=True)
        )
        client = contexts[0].redis
        performed: list[Role] = [*leaders, scheduler, rival]
        roles = [asyncio.create_task(each.run()) for each in performed]
        claimed: list[str] = []
        between = 0
        while scheduler.moved + rival.moved < number:
            claims = await client.execute(
                commands.claim(
                    ["default"], 10, lease=30, consumer=ME, token=f"{between:016x}", max_payload=9
                )
            )
            claimed += [claim.job_id for claim in claims.claims]
            between += 1
        for role in roles:
            role.cancel()
        await asyncio.gather(*roles, return_exceptions=True)
        for context in contexts:
            await context.redis.close()
        assert 0 in (scheduler.moved, rival.moved)
        return claimed, between

    claimed, between = asyncio.run(move())
    assert between >= number / CALL_JOBS / 2, "claims have their turn between the batches"
    left = [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)]
    assert claimed + left == [f"j{n}" for n in range(1, number + 1)]
    assert not redis.exists(SCHEDULED)


# Real consumers


def name_of(consumer: Consumer) -> bytes:
    """The name under which a consumer is known to Redis."""
    [record] = [record for record in consumer.log if record["event"] == "consuming"]
    return str(record["consumer"]).encode()


def test_delayed_jobs_run_in_the_order_of_their_time_and_none_early(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, tmp_path: Path
) -> None:
    consumer = consume("--slots", "1").ready()
    path = str(tmp_path / "order")
    consumer.process.send_signal(signal.SIGSTOP)  # until all are there: it might be long till then
    delays = [2.8, 2.2, 2.5, 2.35, 2.65]
    handles = [
        producer.options(delay=d).submit(sample_tasks.record, path, n) for n, d in enumerate(delays)
    ]
    handles.append(
        producer.options(at=datetime.now(UTC) + timedelta(seconds=3)).submit(
            sample_tasks.record, path, 5
        )
    )
    due = [redis.zscore(SCHEDULED, handle.id) for handle in handles]
    consumer.process.send_signal(signal.SIGCONT)
    assert [handle.result(60) for handle in handles] == [0, 1, 2, 3, 4, 5]
    in_order = sorted(range(len(due)), key=due.__getitem__)  # as they were sent at other times
    assert [int(number) for number in Path(path).read_text().split()] == in_order

    def late(handle: Handle[Any], moment: float) -> float:
        started = datetime.fromisoformat(redis.hget(f"rq:job:{handle.id}", "started_at").decode())
        return started.timestamp() - moment

    assert all(late(each, moment) >= -2e-6 for each, moment in zip(handles, due, strict=True))
    until(lambda: consumer.metric("heori_jobs_scheduled_moved_total") == 6)

    def is_in_time() -> bool:
        handle = producer.options(delay=0.5).submit(sample_tasks.record, path, 6)
        moment = redis.zscore(SCHEDULED, handle.id)
        handle.result(60)
        lag = consumer.metric("heori_scheduler_lag_seconds")
        return moment is not None and late(handle, moment) < 3.0 and 0 <= lag < 3.0

    # A busy machine is not late each time.
    assert any(is_in_time() for _ in range(5))


def test_a_job_that_is_due_sooner_than_all_others_is_not_slept_over(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consume().ready()
    producer.options(delay="1h").submit(sample_tasks.add, 1)
    assert producer.options(delay=0.1).submit(sample_tasks.add, 1).result(60) == 3


def test_when_the_elected_consumer_is_killed_another_moves_what_is_due(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    producer.options(delay="1h").submit(sample_tasks.add, 1)
    consumers = [consume("--slots", "1").ready() for _ in range(2)]

    def stands_still_elected() -> bool:
        """Whether who is elected stands still, so that it moves nothing before it is killed."""
        consumers.sort(key=lambda consumer: name_of(consumer) != redis.get(LOCK))
        consumers[0].process.send_signal(signal.SIGSTOP)
        name, left_ms = redis.pipeline().get(LOCK).pttl(LOCK).execute()
        if name == name_of(consumers[0]):
            assert left_ms <= 3000
            return True
        consumers[0].process.send_signal(signal.SIGCONT)
        return False

    until(stands_still_elected)
    elected, other = consumers
    handle = producer.options(delay=0.5).submit(sample_tasks.add, 1)
    assert elected.stop(signal.SIGKILL) == -signal.SIGKILL
    assert handle.result(60) == 3
    until(lambda: redis.get(LOCK) == name_of(other))
    assert other.metric("heori_jobs_scheduled_moved_total") == 1


def test_a_consumer_that_stops_leaves_no_lock_behind(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume("--queue", "x").ready()
    for queue in ("default", "x"):
        producer.options(delay="1h", queue=queue).submit(sample_tasks.add, 1)
    until(lambda: redis.get(LOCK) == redis.get("rq:scheduler-lock:x") == name_of(consumer))
    assert consumer.stop() == 0
    assert not redis.exists(LOCK, "rq:scheduler-lock:x")


def test_moving_goes_on_when_redis_refused_to_write_and_when_it_was_away(
    consume: Callable[..., Consumer],
) -> None:
    with (
        EmbeddedValkey() as server,
        Producer(server.url) as producer,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as redis,
    ):
        consumer = consume(HEORI_REDIS_URL=server.url).ready()
        handle = producer.options(delay=0.2).submit(sample_tasks.add, 1)
        redis.config_set("min-replicas-to-write", 1)
        consumer.wait_for("Redis refuses; trying again")
        redis.config_set("min-replicas-to-write", 0)
        assert handle.result(60) == 3
        server.stop()
        consumer.wait_for("Redis is away; trying again")
        server.start()
        assert producer.options(delay=0.2).submit(sample_tasks.add, 2).result(60) == 4
        assert consumer.stop() == 0


# With stock rq


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


@pytest.fixture
def background() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts Python programs beside the test, and ends them after it."""
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> "subprocess.Popen[bytes]":
            process = stack.enter_context(
                subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.terminate)
            return process

        yield start


def test_jobs_that_stock_rq_schedules_run(
    stock: Queue, consume: Callable[..., Consumer], redis: Any
) -> None:
    soon = stock.enqueue_in(timedelta(seconds=0.5), "tests.tasks.sample_tasks.add", 1)
    later = stock.enqueue_at(
        datetime.now(UTC) + timedelta(seconds=1), "tests.tasks.sample_tasks.add", 2, at_front=True
    )
    cancelled = stock.enqueue_in(timedelta(seconds=0), "tests.tasks.sample_tasks.add", 3)
    cancelled.cancel()
    consume().ready()
    for job, value in ((soon, 3), (later, 4)):
        result = job.latest_result(timeout=60)
        assert result is not None
        assert result.return_value == value
        assert job.get_status() is JobStatus.FINISHED
    assert cancelled.get_status() is JobStatus.CANCELED
    assert not redis.exists(SCHEDULED)


def test_our_scheduled_jobs_are_moved_by_a_stock_scheduler(
    producer: Producer, redis_url: str, redis: Any, background: Callable[..., Any]
) -> None:
    handle = producer.options(delay=0.1).submit(sample_tasks.add, 1)
    background("-c", STOCK_SCHEDULER, redis_url)
    until(lambda: handle.status() == "queued")
    assert redis.lrange("rq:queue:default", 0, -1) == [handle.id.encode()]


STOCK_SCHEDULER = """
import sys, redis
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
connection = redis.Redis.from_url(sys.argv[1], socket_timeout=None)
RQScheduler(["default"], connection, serializer=JSONSerializer).work()
"""


def test_a_stock_scheduler_and_ours_together_move_each_job_once(
    producer: Producer,
    consume: Callable[..., Consumer],
    redis_url: str,
    redis: Any,
    background: Callable[..., Any],
) -> None:
    stock = background("-c", STOCK_SCHEDULER, redis_url)
    until(lambda: redis.get(LOCK))
    theirs = redis.get(LOCK)
    consumer = consume("--slots", "4").ready()

    def send(wave: str) -> list[Handle[None]]:
        return [
            handle
            for delay in (0.1, 0.4, 0.7)
            for handle in producer.options(delay=delay).submit_many(
                sample_tasks.count_run,
                [(redis_url, "runs", f"{wave} {delay} {n}") for n in range(50)],
            )
        ]

    for handle in send("theirs"):
        handle.result(60)
    later = producer.options(delay="1h").submit(sample_tasks.add, 1)
    assert redis.get(LOCK) == theirs
    assert consumer.metric("heori_jobs_scheduled_moved_total") == 0

    handles = send("both")
    stock.terminate()  # it lets go of its lock, and ours takes over in the middle of it
    for handle in handles:
        handle.result(60)
    assert stock.wait(60) == 0
    # Theirs may have moved all of them. It stays ours, if this machine stands still for a while.
    until(lambda: redis.get(LOCK) == name_of(consumer) and redis.pexpire(LOCK, 600_000))

    background("-c", STOCK_SCHEDULER, redis_url)
    until(lambda: redis.keys("rq:scheduler:*"))
    for handle in send("ours"):
        handle.result(60)
    assert redis.get(LOCK) == name_of(consumer)
    assert set(redis.hvals("runs")) == {b"1"}
    assert redis.hlen("runs") == 450
    assert later.cancel()


@reads_all
def test_what_rq_cron_enqueues_runs_again_and_again(
    consume: Callable[..., Consumer], redis_url: str, redis: Any, background: Callable[..., Any]
) -> None:
    from rq.cron import get_cron_job_ids

    """It pickles its calls and cannot be told otherwise."""
    consume(HEORI_ACCEPT="json,pickle").ready()
    cron = background("-m", "rq.cli", "cron", "tests.tasks.cron_jobs", "--url", redis_url)

    def results() -> list[Any]:
        ids = get_cron_job_ids("tests.tasks.sample_tasks.add", redis)
        return [RqJob.fetch(job_id, connection=redis).return_value() for job_id in ids]

    until(lambda: results().count(42) >= 2)
    cron.terminate()
    assert cron.wait(60) == 0
    assert redis.zcard("rq:failed:default") == 0

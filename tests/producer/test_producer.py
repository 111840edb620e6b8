"""Producers on a real server, with stock rq as the other side."""

import json
import math
import random
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq import Queue
from rq import Retry as RqRetry
from rq.job import Job as RqJob
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer

from heori import (
    InvalidArguments,
    Options,
    PayloadTooLarge,
    Producer,
    QueueFull,
    RedisExecutor,
    UnknownTask,
    group,
    task,
)
from heori_common import tasks
from heori_common.protocol.commands import Commands
from heori_common.protocol.payload import Call, decode_call
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisUnavailable
from heori_common.settings import Settings
from heori_producer.sending import CHUNK_BYTES, CHUNK_JOBS, chunks
from tests.rigs.rq_records import LEFT_OUT, call_of
from tests.rigs.waiting import about
from tests.tasks import sample_tasks
from tests.tasks.protocol_tasks import (
    pause,
    plain,
    send_mail,
    take_point,
    total,
    unlock,
)

ROOT = Path(__file__).parents[2]
ScheduledJobs: Any = ScheduledJobRegistry  # its constructor has no type hints


def queued(redis: redis_py.Redis, queue: str = "default") -> list[str]:
    ids: Any = redis.lrange(f"rq:queue:{queue}", 0, -1)
    return [job_id.decode() for job_id in ids]


def stored(redis: redis_py.Redis, job_id: str) -> Call:
    """The call as a worker finds it."""
    data: Any = redis.hget(f"rq:job:{job_id}", "data")
    return decode_call(data, ["json"], 10_000_000)


# Sending


def test_a_submitted_job_is_there_with_the_settings_of_its_task(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handle = producer.submit(send_mail, to="a@example.org")
    assert uuid.UUID(handle.id).version == 4
    assert queued(redis, "mail") == [handle.id]
    assert redis.hget(f"rq:job:{handle.id}", "timeout") == b"30"
    assert stored(redis, handle.id) == Call(
        "tests.tasks.protocol_tasks.send_mail", [], {"to": "a@example.org"}
    )
    assert handle.status() == "queued"
    assert repr(handle) == f"<Handle {handle.id} of tests.tasks.protocol_tasks.send_mail>"


def test_rq_reads_a_submitted_job(producer: Producer, redis: redis_py.Redis) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    job = RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer)
    assert (job.func_name, job.args, job.kwargs) == ("tests.tasks.sample_tasks.add", [1], {})
    assert job.description == "tests.tasks.sample_tasks.add(1)"
    assert job.get_position() == 0


def test_arguments_are_sent_as_validated(producer: Producer, redis: redis_py.Redis) -> None:
    numbers: list[Any] = ["1", "2"]
    handle = producer.submit(sample_tasks.add, *numbers)
    assert stored(redis, handle.id).args == [1, 2]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "error", "reason"),
    [
        (sample_tasks.add, ("x",), {}, InvalidArguments, r"add: a: .*integer.*\(got 'x'\)"),
        (sample_tasks.add, (1,), {"b": None}, InvalidArguments, r"add: b: .*\(got None\)"),
        (sample_tasks.add, (), {}, InvalidArguments, "add: a: Missing"),
        (sample_tasks.add, (1, 2, 3), {}, InvalidArguments, "Unexpected positional"),
        (sample_tasks.add, (1,), {"c": 1}, InvalidArguments, "add: c: Unexpected keyword"),
        (take_point, ({"x": "?"},), {}, InvalidArguments, r"take_point: value\.x: .*integer"),
        (unlock, (threading.Lock(),), {}, InvalidArguments, "unlock: lock: .*no JSON form"),
        (unlock, ("x" * 1000,), {}, PayloadTooLarge, r"unlock take 10\d\d bytes, .*limit of 1000 "),
        (plain, (1,), {}, UnknownTask, "put @task above it"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_sent(
    redis_url: str,
    redis: redis_py.Redis,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: type[Exception],
    reason: str,
) -> None:
    with Producer(settings=Settings(redis_url=redis_url, max_payload=1000)) as producer:
        with pytest.raises(error, match=reason):
            producer.submit(function, *args, **kwargs)
        with pytest.raises(error, match=reason) as caught:
            producer.submit_many(function, [{"a": args[0], **kwargs} if kwargs else args])
    if error is not UnknownTask:
        assert caught.value.__notes__ == ["in call 0 of submit_many; none was sent"]
    assert redis.keys("*") == []


def test_a_payload_may_be_as_large_as_the_limit(redis_url: str, redis: redis_py.Redis) -> None:
    size = len('["tests.tasks.protocol_tasks.unlock",null,["xxxxx"],{}]')
    with Producer(settings=Settings(redis_url=redis_url, max_payload=size)) as producer:
        producer.submit(unlock, "x" * 5)
        with pytest.raises(PayloadTooLarge, match="HEORI_MAX_PAYLOAD"):
            producer.submit(unlock, "x" * 6)
    assert len(queued(redis)) == 1


def test_many_jobs_are_sent_in_order_and_a_call_may_be_written_in_three_ways(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handles = producer.submit_many(sample_tasks.add, [(1, 5), {"b": 6, "a": 2}, 3])
    assert queued(redis) == [handle.id for handle in handles]
    calls = [stored(redis, handle.id) for handle in handles]
    assert [(call.args, call.kwargs) for call in calls] == [
        ([1, 5], {}), ([], {"b": 6, "a": 2}), ([3], {}),
    ]  # fmt: skip
    assert producer.submit_many(sample_tasks.add, []) == []


def test_more_jobs_than_fit_into_one_call_are_all_sent_once(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handles = producer.submit_many(sample_tasks.add, range(2 * CHUNK_JOBS + 1))
    assert queued(redis) == [handle.id for handle in handles]
    assert [stored(redis, h.id).args for h in handles[CHUNK_JOBS - 1 : CHUNK_JOBS + 1]] == [
        [499],
        [500],
    ]
    assert len(redis.keys("rq:job:*")) == len(handles) == 1001


def test_one_bad_call_among_many_is_named_and_none_is_sent(
    producer: Producer, redis: redis_py.Redis
) -> None:
    calls = [*range(CHUNK_JOBS + 100), "many", 7]
    with pytest.raises(InvalidArguments, match="add: a: ") as caught:
        producer.submit_many(sample_tasks.add, calls)
    assert caught.value.__notes__ == [f"in call {CHUNK_JOBS + 100} of submit_many; none was sent"]
    assert redis.keys("*") == []


def test_a_producer_may_be_shared_by_threads(producer: Producer, redis: redis_py.Redis) -> None:
    threads = [
        threading.Thread(target=producer.submit_many, args=(sample_tasks.add, range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(queued(redis))) == len(queued(redis)) == 400


# Later, and again


def due(redis: redis_py.Redis, job_id: str) -> float:
    """Seconds from now until a job is due, by the server's clock."""
    client: Any = redis
    score, (whole, micros) = client.zscore("rq:scheduled:default", job_id), client.time()
    assert score is not None
    return float(score - whole - micros / 1e6)


@pytest.mark.parametrize("delay", [60, 60.0, "1min", timedelta(minutes=1)])
def test_a_delayed_job_is_scheduled_and_on_no_queue(
    producer: Producer, redis: redis_py.Redis, delay: Any
) -> None:
    one = producer.options(delay=delay).submit(sample_tasks.add, 1)
    two = producer.options(tenant=None).options(delay=delay).submit(sample_tasks.add, 1)
    [three] = producer.options(delay=delay).submit_many(sample_tasks.add, [1])
    for handle in (one, two, three):
        assert handle.status() == "scheduled"
        assert due(redis, handle.id) == about(60)
        assert stored(redis, handle.id) == Call("tests.tasks.sample_tasks.add", [1], {})
    assert queued(redis) == []


def test_a_job_may_be_sent_for_a_moment_in_any_time_zone(
    producer: Producer, redis: redis_py.Redis
) -> None:
    moment = datetime(2050, 6, 1, 12, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=9)))
    handle = producer.options(at=moment).submit(sample_tasks.add, 1)
    assert redis.zscore("rq:scheduled:default", handle.id) == moment.timestamp()
    job = RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer)
    assert ScheduledJobs("default", connection=redis).get_scheduled_time(job) == moment


def test_what_is_due_already_goes_to_the_queue_at_once(
    producer: Producer, redis: redis_py.Redis
) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    handles = [
        producer.options(delay=0).submit(sample_tasks.add, 1),
        producer.options(at=past).submit(sample_tasks.add, 1),
        *producer.options(at=past).submit_many(sample_tasks.add, [1, 2]),
    ]
    assert queued(redis) == [handle.id for handle in handles]
    assert {handle.status() for handle in handles} == {"queued"}
    assert not redis.exists("rq:scheduled:default")


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ({"delay": -1}, "-1 is no length of time"),
        ({"delay": "soon"}, "'soon' is no length of time"),
        ({"delay": 1_700_000_000_000}, "is no length of time"),
        ({"at": datetime(2050, 1, 1)}, "a datetime with a time zone is needed"),  # noqa: DTZ001
        ({"at": "2050-01-01T00:00:00Z"}, "a datetime with a time zone is needed"),
        ({"at": datetime(2050, 1, 1, tzinfo=UTC), "delay": 1}, "only one of them"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused_where_it_is_given(
    producer: Producer, redis_url: str, redis: redis_py.Redis, when: dict[str, Any], reason: str
) -> None:
    for give in (
        lambda: Options(**when),
        lambda: producer.options(**when),
        lambda: producer.options(tenant="a").options(**when),
        lambda: RedisExecutor(redis_url, **when),
    ):
        with pytest.raises(ValueError, match=reason):
            give()
    assert redis.keys("*") == []


def test_a_task_gets_its_own_arguments_whatever_they_are_called(
    producer: Producer, redis: redis_py.Redis
) -> None:
    now = producer.submit(pause, delay=5, at=7)
    assert stored(redis, now.id).kwargs == {"delay": 5, "at": 7}
    assert queued(redis) == [now.id]
    names = {"self": 1, "task": 2, "queue": 3, "options": 4, "key": 5}
    anything: Any = total
    of_any_name = producer.submit(anything, 1, **names)
    assert stored(redis, of_any_name.id).kwargs == names
    later = producer.options(delay=60).submit(pause, delay=5, at=7)
    assert stored(redis, later.id).kwargs == {"delay": 5, "at": 7}
    assert due(redis, later.id) == about(60)
    collected = producer.options(delay=60).submit(total, 1, more=2)
    assert stored(redis, collected.id).kwargs == {"more": 2}
    assert due(redis, collected.id) == about(60)


def test_ids_are_random_uuids_as_rqs_are(producer: Producer) -> None:
    ids = [handle.id for handle in producer.submit_many(sample_tasks.add, [(1, 2)] * 500)]
    ids.append(producer.submit(sample_tasks.add, 1, 2).id)
    assert len(set(ids)) == 501
    for job_id in ids:
        read = uuid.UUID(job_id)
        assert (str(read), read.version, read.variant) == (job_id, 4, uuid.RFC_4122)
    assert {job_id[19] for job_id in ids} == set("89ab")


def without_times(redis: redis_py.Redis, job_id: str) -> dict[str, Any]:
    """A job's hash, with a mark for each time that is set, and without what Heori leaves out."""
    client: Any = redis
    fields = {
        name.decode(): value
        for name, value in client.hgetall(f"rq:job:{job_id}").items()
        if value or name not in LEFT_OUT
    }
    fields["data"] = json.loads(call_of(fields["data"]))
    return {
        name: "set" if name.endswith("_at") and value else value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("function", "theirs"),
    [
        (sample_tasks.flaky, RqRetry(max=3, interval=[1, 2, 4])),
        (sample_tasks.flaky_soon, RqRetry(max=2, interval=[0.02, 1.5])),  # type: ignore[list-item]
        (sample_tasks.add, None),
    ],
)
@pytest.mark.parametrize("delay", [None, 60])
def test_retries_and_delays_are_written_as_rq_writes_them(
    producer: Producer,
    redis: redis_py.Redis,
    function: Callable[..., Any],
    theirs: RqRetry | None,
    delay: int | None,
) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    later = () if delay is None else (timedelta(seconds=delay),)
    enqueue = queue.enqueue if delay is None else queue.enqueue_in
    stock = enqueue(*later, function, 1, retry=theirs)
    ours = producer.options(delay=delay).submit_many(function, [1])[0]
    expected, written = (without_times(redis, job_id) for job_id in (stock.id, ours.id))
    assert written == expected
    if delay is not None:
        assert due(redis, ours.id) - due(redis, stock.id) == pytest.approx(0, abs=50)
        assert set(ScheduledJobs(queue=queue).get_job_ids()) == {ours.id, stock.id}
    if theirs is not None:
        job = RqJob.fetch(ours.id, connection=redis, serializer=JSONSerializer)
        assert (job.retries_left, job.retry_intervals) == (theirs.max, theirs.intervals)


def test_a_server_that_is_away_is_named(nowhere: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEORI_REDIS_URL", f"redis://:secret@127.0.0.1:{nowhere}/0")
    away = pytest.raises(RedisUnavailable, match=f"at 127.0.0.1:{nowhere} is")
    with Producer() as producer, away as caught:
        producer.submit(sample_tasks.add, 1)
    assert "secret" not in str(caught.value)


# Once, and first


def test_the_same_key_within_its_time_gives_the_same_job(
    producer: Producer, redis: redis_py.Redis
) -> None:
    first = producer.options(key="order-17").submit(sample_tasks.add, 1)
    again = producer.options(key="order-17").submit(sample_tasks.add, 1)
    assert again.id == first.id
    assert queued(redis) == [first.id]
    other = producer.options(key="order-18").submit(sample_tasks.add, 1)
    of_another_task = producer.options(key="order-17").submit(sample_tasks.add_later, 1, 2)
    later = producer.options(key="order-19", delay=60).submit(sample_tasks.add, 1)
    assert producer.options(key="order-19").submit(sample_tasks.add, 1).id == later.id
    assert len({first.id, other.id, of_another_task.id, later.id}) == 4
    ttl: Any = redis.ttl("rq:heori:key:tests.tasks.sample_tasks.add:order-17")
    assert 86_000 < ttl <= 86_400
    RqJob.fetch(first.id, connection=redis, serializer=JSONSerializer).delete()
    assert producer.options(key="order-17").submit(sample_tasks.add, 1).id == first.id, (
        "it was sent once"
    )
    redis.delete("rq:heori:key:tests.tasks.sample_tasks.add:order-17")
    assert producer.options(key="order-17").submit(sample_tasks.add, 1).id != first.id


def test_of_many_that_send_the_same_key_at_once_one_sends_a_job(
    producer: Producer, redis: redis_py.Redis
) -> None:
    ids: list[str] = []

    def send() -> None:
        ids.extend(
            producer.options(key=f"order-{n}").submit(sample_tasks.add, 1).id for n in range(50)
        )

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 400
    assert sorted(set(ids)) == sorted(queued(redis))
    assert len(queued(redis)) == 50


def test_a_key_that_was_refused_at_a_full_queue_is_free(
    redis_url: str, redis: redis_py.Redis
) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 1}, when_full="reject")
    with Producer(settings=settings) as producer:
        first = producer.options(key="a").submit(sample_tasks.add, 1)
        with pytest.raises(QueueFull):
            producer.options(key="b").submit(sample_tasks.add, 1)
        assert producer.options(key="a").submit(sample_tasks.add, 1).id == first.id
        redis.lpop("rq:queue:default")
        assert queued(redis) == []
        second = producer.options(key="b").submit(sample_tasks.add, 1)
    assert queued(redis) == [second.id]


@pytest.mark.parametrize(("key", "error"), [("", ValueError), (17, TypeError)])
def test_a_key_that_is_no_text_is_refused(
    producer: Producer, key: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^key {key!r}: the name must be a string"):
        producer.options(key=key).submit(sample_tasks.add, 1)


def test_a_job_may_be_put_before_those_that_wait(
    producer: Producer, redis_url: str, redis: redis_py.Redis
) -> None:
    last = producer.submit(sample_tasks.add, 1)
    first = producer.options(at_front=True).submit(sample_tasks.add, 1)
    assert queued(redis) == [first.id, last.id]
    later = producer.options(at_front=True, delay=60).submit(sample_tasks.add, 1)
    redis.zadd("rq:scheduled:default", {later.id: 1})
    with RedisClient(redis_url) as redis_client:
        redis_client.execute(
            Commands().enqueue_due(["default"], consumer="me", lock_ttl=5, batch=10)
        )
    assert queued(redis) == [later.id, first.id, last.id]


def test_a_job_may_go_to_another_queue_than_its_task_says(
    producer: Producer, redis: redis_py.Redis
) -> None:
    handle = producer.options(queue="urgent").submit(send_mail, "a@example.org")
    assert (handle.queue, queued(redis, "urgent"), queued(redis, "mail")) == (
        "urgent", [handle.id], [],
    )  # fmt: skip
    assert redis.hget(f"rq:job:{handle.id}", "origin") == b"urgent"
    for bad, reason in (("a@@b", "without @@"), ("a:intermediate", "RQ has a key of that name")):
        with pytest.raises(ValueError, match=reason):
            producer.options(queue=bad).submit(send_mail, "a@example.org")
    for option in ("queue", "tenant", "key"):
        with pytest.raises(ValueError, match=f"^{option} .*1 to 512 characters; it has 20000$"):
            options: dict[str, Any] = {option: "x" * 20_000}
            producer.options(**options)


def test_large_jobs_are_sent_few_at_a_time(producer: Producer, redis: redis_py.Redis) -> None:
    noise = [random.randbytes(150_000).hex() for _ in range(12)]  # it does not compress well
    handles = producer.submit_many(unlock, noise)
    assert queued(redis) == [handle.id for handle in handles]
    sizes = [
        sum(len(job.data) for job in chunk)
        for chunk in chunks([producer.encode(tasks.find(unlock), (text,), {}) for text in noise])
    ]
    assert len(sizes) >= 2
    assert max(sizes) <= CHUNK_BYTES


@pytest.mark.parametrize("seconds", [math.nan, -1, -0.001, -math.inf, "1", True])
def test_a_wait_for_room_that_is_no_length_of_time_is_refused(
    producer: Producer, redis_url: str, redis: Any, seconds: Any
) -> None:
    told = pytest.raises(
        ValueError, match=r"full_timeout=.*: seconds from 0 up are needed, or None"
    )
    with told:
        Producer(redis_url, full_timeout=seconds)
    with told:
        producer.options(full_timeout=seconds)
    assert redis.keys("rq:job:*") == []


@pytest.mark.parametrize("seconds", [math.nan, "1", True])
def test_a_wait_for_a_result_that_is_no_length_of_time_is_refused(
    producer: Producer, redis_url: str, seconds: Any
) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    waits: list[Callable[[], Any]] = [
        lambda: handle.result(seconds),
        lambda: handle.stored(seconds),
        lambda: group([handle]).wait(seconds),
        lambda: group([handle]).results(seconds),
        lambda: RedisExecutor(redis_url).map(sample_tasks.add, [1], timeout=seconds),
    ]
    for wait in waits:
        with pytest.raises(ValueError, match=r"timeout=.*: seconds are needed, or None"):
            wait()
    with pytest.raises(TimeoutError):
        handle.result(-1)
    for option in ("timeout", "result_ttl"):
        with pytest.raises(ValueError, match=f"{option}=.*: whole seconds from 1 up"):
            task(**{option: seconds})

"""What both kinds of producers do: the one that blocks, and the one of an event loop."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heori import (
    InvalidArguments,
    JobCanceled,
    JobFailed,
    JobNotFound,
    PayloadTooLarge,
    QueueFull,
    RedisUnavailable,
    Settings,
    UnknownTask,
    chain,
    group,
)
from heori_common import tasks
from heori_common.protocol.commands import Commands
from heori_common.protocol.job import NewJob
from heori_common.protocol.keys import Keys
from heori_common.published import describe_all
from heori_producer import sending
from tests.rigs.consumers import Consumer
from tests.rigs.either import KINDS, Either
from tests.rigs.script_bench import Bench
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, protocol_tasks, sample_tasks
from tests.tasks.flow_tasks import double, fails_without, handle, total

KEYS = Keys()
ADD = f"{sample_tasks.__name__}.add"
add = sample_tasks.add


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def producer(kind: str, redis_url: str) -> Iterator[Any]:
    with Either.made(kind, redis_url) as made:
        yield made


def job(redis: Any, handle: Any) -> dict[str, str]:
    found = redis.hgetall(KEYS.job(handle.id))
    return {name.decode(): found[name].decode("latin-1") for name in found}


def make_room_for_one_who_waits(redis: Any) -> None:
    until(lambda: redis.zcard(KEYS.waiting_producers("default")))
    redis.lpop(KEYS.queue("default"))


def test_jobs_are_sent_with_their_options(producer: Any, redis: Any, bench: Bench) -> None:
    handle = producer.submit(add, 1, b=3)
    assert (handle.queue, handle.status()) == ("default", "queued")
    assert repr(handle).endswith(f"{handle.id} of {ADD}>")
    assert job(redis, handle)["description"] == f"{ADD}(1, b=3)"
    sender = producer.options(queue="other", tenant="acme")
    first, second = sender.submit(add, 1), sender.options(at_front=True).submit(add, 2)
    assert redis.lrange(KEYS.queue("other@@acme"), 0, -1) == [
        second.id.encode(), first.id.encode(),
    ]  # fmt: skip
    keyed = producer.options(key="k")
    assert keyed.submit(add, 1).id == keyed.submit(add, 2).id
    for later in ({"delay": "1min"}, {"at": datetime.now(UTC) + timedelta(minutes=1)}):
        handle = producer.options(**later).submit(add, 1)
        assert (handle.status(), handle.cancel(), handle.status()) == (
            "scheduled",
            True,
            "canceled",
        )
    locked = producer.submit(lock_tasks.transfer, "url", 1, b=2, number=3)
    assert job(redis, locked)["heori_locks"].count("mutex") == 2
    published = describe_all({ADD: tasks.find(add)})
    bench.execute(bench.commands.publish_tasks("v", published))
    named = producer.send(ADD, 1, b=3)
    assert job(redis, named)["data"] == job(redis, producer.submit(add, 1, b=3))["data"]
    assert producer.cancel("default", [named.id, "nothing"]) == [named.id]


def test_many_are_sent_in_pieces(
    producer: Any, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "CHUNK_JOBS", 3)
    calls = [1, (2, 3), {"a": 4}, 5, 6, 7, 8]
    handles = producer.submit_many(add, calls)
    assert [each.id.encode() for each in handles] == redis.lrange(KEYS.queue("default"), 0, -1)
    assert producer.submit_many(add, []) == []
    with pytest.raises(InvalidArguments) as refusal:
        producer.submit_many(add, [1, 2, "x"])
    assert refusal.value.__notes__ == ["in call 2 of submit_many; none was sent"]
    with pytest.raises(ValueError, match="key is for one job"):
        producer.options(key="k").submit_many(add, [1])
    assert redis.llen(KEYS.queue("default")) == len(calls)


def test_the_next_piece_is_made_ready_while_the_server_is_at_the_last(
    producer: Any, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "CHUNK_JOBS", 3)
    enqueue, made_ready, there = Commands.enqueue, [], []

    def watched(commands: Commands, queue: str, jobs: list[NewJob], **options: Any) -> Any:
        made_ready.append([job.id for job in jobs])
        return enqueue(commands, queue, jobs, **options)

    def go_on() -> None:
        until(lambda: len(made_ready) == 2)
        there.append(redis.llen(KEYS.queue("default")))
        redis.client_unpause()

    monkeypatch.setattr(Commands, "enqueue", watched)
    redis.client_pause(60_000, all=False)  # milliseconds; no script runs
    observer = threading.Thread(target=go_on)
    observer.start()
    try:
        handles = producer.submit_many(add, range(7))
    finally:
        observer.join()
    ids = [each.id for each in handles]
    assert there == [0]
    assert made_ready == [ids[:3], ids[3:6], ids[6:]]
    assert [each.decode() for each in redis.lrange(KEYS.queue("default"), 0, -1)] == ids


def test_what_makes_no_sense_is_refused_and_nothing_is_sent(
    kind: str, redis_url: str, redis: Any
) -> None:
    settings = Settings(redis_url=redis_url, max_payload=1000)
    with Either.made(kind, redis_url, settings=settings) as producer:
        calls: list[tuple[type[Exception], Callable[[], Any]]] = [
            (InvalidArguments, lambda: producer.submit(add, "x")),
            (UnknownTask, lambda: producer.submit(protocol_tasks.plain, 1)),
            (UnknownTask, lambda: producer.send(ADD, 1)),
            (TypeError, lambda: producer.send(add, 1)),
            (PayloadTooLarge, lambda: producer.submit(protocol_tasks.unlock, "x" * 1000)),
            (ValueError, lambda: producer.options(delay=1, at=datetime.now(UTC))),
            (TypeError, lambda: producer.options(nothing=1)),
        ]
        for error, call in calls:
            with pytest.raises(error):
                call()
    with pytest.raises(ValueError, match="full_timeout"):
        Either.made(kind, redis_url, full_timeout=-1).__enter__()
    assert redis.keys("*") == []


def test_a_full_queue_refuses_drops_or_makes_wait(
    kind: str, redis_url: str, redis: Any, bench: Bench
) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 2})
    with Either.made(kind, redis_url, settings=settings, when_full="reject") as producer:
        first = producer.submit(add, 1)
        with pytest.raises(QueueFull) as full:
            producer.submit_many(add, range(3))
        assert (full.value.taken, full.value.depth, full.value.limit) == (1, 2, 2)
        assert [each.id.encode() for each in full.value.sent] == redis.lrange(
            KEYS.queue("default"), 1, -1
        )
        assert producer.options(when_full="drop_oldest").submit(add, 2).status() == "queued"
        assert first.status() == "failed"
        with pytest.raises(QueueFull, match=r"there was no room for 0\.05 s"):
            producer.options(when_full="block", full_timeout=0.05).submit(add, 3)
        assert redis.zcard(KEYS.waiting_producers("default")) == 0
        waiter = threading.Thread(target=make_room_for_one_who_waits, args=(redis,))
        waiter.start()
        try:
            assert producer.options(when_full="block").submit(add, 4).status() == "queued"
        finally:
            waiter.join()


def test_flows_are_sent_awaited_and_cancelled(
    producer: Any, consume: Callable[..., Consumer], redis: Any
) -> None:
    line = producer.submit_flow(chain(double.s(1), double.s(), on_failure=handle.s()))
    both = producer.submit_flow(group([double.s(1), double.s(2)]))
    fan = producer.submit_flow(group([double.s(1), double.s(2)], then=total.s()))
    bad = producer.submit_flow(chain(fails_without.s(1, "/no"), double.s(), on_failure=handle.s()))
    later = producer.options(delay="1h")
    waiting = later.submit_flow(group([double.s(1), double.s(2)], then=total.s()))
    assert [each.status() for each in waiting.handles] == ["scheduled", "scheduled", "deferred"]
    for flow in (waiting, later.submit_flow(group([double.s(1), double.s(2)]))):
        with pytest.raises(TimeoutError, match=r"ended after 0\.01 s"):
            flow.result(0.01)
    assert waiting.cancel() == 3
    assert {each.status() for each in waiting.handles} == {"canceled"}
    with pytest.raises(TypeError, match="lacks its first argument"):
        producer.submit_flow(double.s())
    with pytest.raises(ValueError, match="key is for one job"):
        producer.options(key="k").submit_flow(double.s(1))
    with pytest.raises(InvalidArguments):
        producer.submit_flow(chain(double.s(1), double.s(), fails_without.s("/no", 1)))  # type: ignore[call-overload]
    full = producer.options(queue="full", when_full="reject")
    redis.hset(KEYS.bound("full"), "limit", 1)
    with pytest.raises(QueueFull):
        full.submit_flow(group([double.s(1), double.s(2)], then=total.s()))
    assert redis.zcard(KEYS.deferred("full")) == 0, "what waits is cancelled"
    consume(HEORI_TASKS="tests.tasks.flow_tasks").ready()
    assert line.result(60) == 4
    assert both.result(60) == [2, 4]
    assert both.result(0) == [2, 4]
    assert fan.result(60) == 6
    [failure] = bad.handles[-1].result(60)
    assert failure.job_id == bad.handles[0].id
    last = f"job {bad.handles[1].id}"
    with pytest.raises(JobCanceled, match=f"^{last} was canceled: after {failure.job_id}, which"):
        bad.result(60)
    assert str(JobCanceled("a")) == "job a was canceled"


def test_without_a_server_it_says_so(kind: str, nowhere: int) -> None:
    with Either.made(kind, f"redis://127.0.0.1:{nowhere}/0") as producer:
        calls: list[Callable[[], Any]] = [
            lambda: producer.submit(add, 1),
            lambda: producer.cancel("default", ["a"]),
        ]
        for call in calls:
            with pytest.raises(RedisUnavailable, match=f"127.0.0.1:{nowhere}"):
                call()


def test_results_are_awaited_until_the_time_is_over(
    producer: Any, redis: Any, tmp_path: Path, consume: Callable[..., Consumer]
) -> None:
    waiting = producer.submit(add, 1)
    for timeout in (0, 0.05, -1):
        with pytest.raises(TimeoutError, match=rf"after {timeout} s; it is queued"):
            waiting.result(timeout)
    consume().ready()
    assert waiting.result(60) == 3
    assert waiting.result(0) == 3
    assert waiting.result() == 3
    with pytest.raises(JobFailed, match="ValueError: no"):
        producer.submit(sample_tasks.fail, "no").result(60)
    gone, canceled = producer.submit_many(add, [1, 2])
    canceled = producer.options(delay=60).submit(add, 1)
    assert canceled.cancel()
    with pytest.raises(JobCanceled):
        canceled.result(60)
    assert gone.result(60) == 3
    redis.delete(KEYS.job(gone.id), KEYS.results(gone.id))
    with pytest.raises(JobNotFound):
        gone.status()
    with pytest.raises(JobNotFound):
        gone.result(60)
    gate = tmp_path / "gate"
    begun = producer.submit(sample_tasks.wait_for_file, str(gate))
    until(begun.running)
    assert (begun.status(), begun.cancel(), begun.progress()) == ("started", False, None)
    gate.touch()
    assert begun.result(60)

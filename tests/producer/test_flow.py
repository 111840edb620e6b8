"""Flows: jobs that wait for others, and get what these return."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.job import Job as RqJob

from heori import (
    FlowFailure,
    FlowHandle,
    InvalidArguments,
    JobCanceled,
    JobFailed,
    Producer,
    QueueFull,
    Settings,
    chain,
    group,
)
from heori_common.protocol.commands import Commands
from heori_common.redis.client import RedisClient
from tests.rigs.consumers import Consumer
from tests.rigs.proxy import proxy
from tests.rigs.waiting import until
from tests.tasks.flow_tasks import (
    begin,
    count,
    double,
    fails_without,
    handle,
    handle_and_count,
    join,
    move,
    nothing,
    tell,
    total,
)

TASKS = "tests.tasks.flow_tasks"


def look_again(url: str, *queues: str) -> int:
    """Look for jobs that need not wait; returns how many do not any more."""
    with RedisClient(url) as client:
        return sum(client.execute(Commands().start_waiting(each)).number for each in queues)


def test_results_are_handed_on_by_their_types(
    producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    line = producer.submit_flow(chain(begin.s(1), move.s(2, twice=True), move.s(days=1), tell.s()))
    fan = producer.submit_flow(
        group([chain(begin.s(n), tell.s()) for n in range(3)], then=join.s())
    )
    many = producer.submit_flow(group([double.s(n) for n in range(1200)], then=total.s(more=1)))
    inner = producer.submit_flow(
        chain(double.s(2), group([double.s(), double.s()], then=total.s()), double.s())
    )
    plain = producer.submit_flow(group([double.s(1), double.s(2)]))
    empty = producer.submit_flow(group([nothing.s(), nothing.s()], then=count.s()))
    handles = producer.submit_many(double, [5, 6])
    kept = producer.submit_flow(group(producer.submit_many(begin, [1]), then=nothing.s()))
    assert len(line) == 4
    last = RqJob.fetch(line.handles[-1].id, connection=redis)
    assert last.get_status() == "deferred"
    assert RqJob.fetch(line.handles[-2].id, connection=redis).dependent_ids == [last.id]
    after = producer.options(after=[line.handles[-1], handles[0].id]).submit(double, 4)
    assert after.status() == "deferred"
    consume("--queue", "default", "--queue", "elsewhere", HEORI_TASKS=TASKS).ready()
    assert line.result(120) == "03 3"
    assert fan.result(120) == "28 0,28 1,28 2"
    assert many.result(120) == 2 * sum(range(1200)) + 1
    assert inner.result(120) == 2 * (8 + 8)
    assert empty.result(120) == 2
    assert kept.result(120) is None
    until(lambda: redis.zcard("rq:deferred:default") == 0)
    assert plain is not None
    del after


def test_a_failed_step_cancels_the_rest_and_its_replay_goes_on(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, tmp_path: Path
) -> None:
    path = tmp_path / "there"
    flow = producer.submit_flow(
        chain(
            group([fails_without.s(1, str(path)), fails_without.s(2, "/")], then=total.s()),
            double.s(),
            fails_without.s("/"),
        )
    )
    failing, well, fan_in, *rest = flow.handles
    consume(HEORI_TASKS=TASKS).ready()
    with pytest.raises(JobFailed, match="FileNotFoundError"):
        failing.result(120)
    assert well.result(120) == 2
    until(lambda: {each.status() for each in (fan_in, *rest)} == {"canceled"})
    with pytest.raises(JobCanceled, match=f"after {failing.id}, which has failed"):
        flow.result(120)
    late = producer.options(after=failing).submit(double, 1)
    with pytest.raises(JobCanceled):
        late.result(120)
    path.touch()
    RqJob.fetch(failing.id, connection=redis).requeue()
    until(lambda: rest[-1].status() == "finished")
    assert flow.result(120) == 6
    until(lambda: late.status() == "finished" or redis.exists(f"rq:job:{late.id}") == 0)


def test_failures_are_handled_once_by_one_job_and_only_those_of_its_part_of_a_flow(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "there"

    def fails(number: int = 1) -> Any:
        return fails_without.s(number, str(path))

    def sent(flow: Any) -> FlowHandle[Any]:
        return producer.submit_flow(flow)

    line = sent(
        chain(
            double.s(1),
            fails_without.s(str(path)),
            on_failure=handle_and_count.s(redis_url, "line"),
        )
    )
    fan = sent(group([fails(1), double.s(2), fails(3)], then=total.s(), on_failure=handle.s()))
    inner = sent(
        chain(
            fails(),
            chain(double.s(), double.s(), on_failure=handle_and_count.s(redis_url, "inner")),
            on_failure=chain(handle.s(), nothing.s()),
        )
    )
    outer = sent(
        chain(
            chain(double.s(1), fails_without.s(str(path)), on_failure=nothing.s()),
            double.s(),
            on_failure=handle.s(),
        )
    )
    before = producer.submit_many(fails_without, [(1, str(path)), (2, "/")])
    of_sent = sent(group(before, on_failure=handle.s()))
    well = sent(group([double.s(1)], then=total.s(), on_failure=chain(handle.s(), nothing.s())))
    unhandled = sent(chain(chain(double.s(1), on_failure=handle.s()), double.s(), double.s()))
    consume(HEORI_TASKS=TASKS).ready()

    def failure(of: Any, number: int) -> FlowFailure:
        job_id = of.handles[number].id
        where = f"No such file or directory: '{path}'"
        return FlowFailure(
            job_id,
            "tests.tasks.flow_tasks.fails_without",
            "failed",
            f"FileNotFoundError: [Errno 2] {where}",
        )

    assert line.handles[-1].result(120) == [failure(line, 1)]
    assert fan.handles[-1].result(120) == [failure(fan, 0), failure(fan, 2)]
    assert inner.handles[-1].result(120) is None
    assert inner.handles[-2].result(120) == [failure(inner, 0)]
    until(lambda: inner.handles[3].status() == "canceled")
    with pytest.raises(JobCanceled, match=f"after {inner.handles[0].id}, which has failed"):
        inner.handles[3].result(120)
    assert outer.handles[2].result(120) is None
    assert outer.handles[-1].result(120) == [failure(outer, 1)]
    [one] = of_sent.handles[-1].result(120)
    assert (one.job_id, one.status) == (before[0].id, "failed")
    assert well.result(120) == 2
    assert unhandled.result(120) == 8
    for unused in (*well.handles[-2:], unhandled.handles[1]):
        until(lambda unused=unused: unused.status() == "canceled")  # type: ignore[misc]
        assert redis.ttl(f"rq:job:{unused.id}") <= 500
        assert redis.ttl(f"rq:heori:inputs:{unused.id}") <= 500
    with pytest.raises(JobCanceled, match="nothing before it has failed"):
        unhandled.handles[1].result(120)

    # It is one job, whatever fails again; and what goes on once it was handled, goes on.
    for failed in (line.handles[1], inner.handles[0]):
        RqJob.fetch(failed.id, connection=redis).requeue()
        until(lambda failed=failed: failed.status() == "failed")  # type: ignore[misc]
    path.touch()
    for failed in (line.handles[1], inner.handles[0], fan.handles[0], fan.handles[2]):
        RqJob.fetch(failed.id, connection=redis).requeue()
    until(lambda: inner.handles[2].status() == fan.handles[-2].status() == "finished")
    assert inner.result(120) == 4
    until(lambda: redis.zcard("rq:deferred:default") == 0)
    assert redis.get("line") == b"1"
    assert redis.get("inner") is None


def test_what_is_looked_at_before_it_is_told_of_an_end_is_kept_no_longer(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    flow = producer.options(delay="1h").submit_flow(chain(double.s(1), double.s()))
    assert flow.handles[0].cancel()
    redis.delete("rq:heori:ended")
    redis.expire(f"rq:job:{flow.handles[0].id}", 100)
    assert look_again(redis_url, "default") == 1
    assert flow.handles[1].status() == "canceled"
    kept = (f"rq:job:{flow.handles[1].id}", f"rq:heori:inputs:{flow.handles[1].id}")
    assert all(0 < redis.ttl(key) <= 100 for key in kept)
    # The word of that end comes late.
    redis.zadd("rq:heori:ended", {f"canceled 500 {flow.handles[0].id}": 1})
    with RedisClient(redis_url) as client:
        client.execute(Commands().settle_dependents())
    assert all(0 < redis.ttl(key) <= 100 for key in kept)


def test_who_handles_failures_hears_of_what_was_cancelled_stopped_or_is_gone(
    producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    later = producer.options(delay="1h")
    canceled = later.submit_flow(chain(double.s(1), double.s(), on_failure=handle.s()))
    gone = later.submit_flow(chain(double.s(1), double.s(), on_failure=handle.s()))
    both = later.submit_flow(
        group([double.s(1), double.s(2)], then=total.s(), on_failure=handle.s())
    )
    assert canceled.handles[0].cancel()
    RqJob.fetch(gone.handles[0].id, connection=redis).delete()
    assert both.cancel() == 4
    consume(HEORI_TASKS=TASKS).ready()
    [failure] = canceled.handles[-1].result(120)
    assert (failure.job_id, failure.status) == (canceled.handles[0].id, "canceled")
    assert failure.task == "tests.tasks.flow_tasks.double"
    assert {each.status() for each in both.handles} == {"canceled"}


def test_what_is_too_late_is_handled_however_late_that_is(
    producer: Producer, consume: Callable[..., Consumer]
) -> None:
    sender = producer.options(expires=0.001)
    line = sender.submit_flow(
        chain(double.s(1), double.s(), on_failure=chain(handle.s(), nothing.s()))
    )
    # The same task on both sides, so that only what it is for tells them apart.
    fan = sender.submit_flow(group([nothing.s(), nothing.s()], on_failure=nothing.s()))
    consume(HEORI_TASKS=TASKS).ready()
    assert line.handles[-1].result(120) is None
    [failure] = line.handles[-2].result(120)
    assert (failure.job_id, failure.status) == (line.handles[0].id, "canceled")
    assert failure.error.startswith("expired: it was to begin before ")
    assert fan.handles[-1].result(120) is None


SEND_FLOW = """
import sys
from heori import Producer, Settings, group
from tests.tasks.flow_tasks import double, total
with Producer(settings=Settings(redis_url=sys.argv[1], queue_limits={"default": 1})) as producer:
    producer.submit_flow(group([double.s(n) for n in range(3)], then=total.s()))
"""


def test_what_was_sent_of_a_flow_by_a_producer_that_was_killed_is_cancelled(
    redis: Any, redis_url: str
) -> None:
    with subprocess.Popen([sys.executable, "-c", SEND_FLOW, redis_url]) as sending:
        try:
            until(lambda: redis.zcard("rq:heori:line:default"))
        finally:
            sending.kill()
    [total_id] = redis.zrange("rq:deferred:default", 0, -1)
    assert look_again(redis_url, "default") == 0
    assert redis.hget(b"rq:job:" + total_id, "status") == b"deferred", "it may still come"
    redis.hincrby(b"rq:heori:inputs:" + total_id, "sent", -600)
    assert look_again(redis_url, "default") == 1
    job = redis.hgetall(b"rq:job:" + total_id)
    assert job[b"status"] == b"canceled"
    assert job[b"heori_reason"] == b"its producer has not sent all of its flow"
    assert redis.zcard("rq:deferred:default") == 0
    assert all(redis.ttl(key) > 0 for key in redis.keys(b"*" + total_id + b"*"))


def test_a_flow_goes_on_whose_producer_took_very_long(
    consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 1}, full_timeout=120)
    with Producer(settings=settings) as producer, ThreadPoolExecutor(1) as thread:
        flow = group([double.s(n) for n in range(3)], then=total.s())
        sending = thread.submit(producer.submit_flow, flow)
        until(lambda: redis.zcard("rq:heori:line:default"))
        [total_id] = redis.zrange("rq:deferred:default", 0, -1)
        redis.hincrby(b"rq:heori:inputs:" + total_id, "sent", -600)
        assert look_again(redis_url, "default") == 1
        assert redis.hget(b"rq:job:" + total_id, "status") == b"canceled"
        consume(HEORI_TASKS=TASKS).ready()
        last = sending.result(60).handles[-1]
        until(lambda: last.status() == "finished")
        assert last.result(60) == 6


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_a_step_goes_back_to_its_queue_when_redis_is_away_that_has_what_it_gets(
    producer: Producer, consume: Callable[..., Consumer], redis: Any, model: str
) -> None:
    port = int(redis.connection_pool.connection_kwargs["port"])
    with proxy(port) as link:
        url = f"redis://127.0.0.1:{link.port}"
        consumer = consume("--model", model, HEORI_TASKS=TASKS, HEORI_REDIS_URL=url).ready()
        link.vanishes = True  # from the first time that a worker asks
        link.lose = b"\r\nrq:heori:inputs:"  # as an argument, and not within a script
        flow = producer.submit_flow(
            chain(
                fails_without.s(1, "/"), double.s(), fails_without.s("/no"), on_failure=handle.s()
            )
        )
        consumer.wait_for("a job goes back to its queue")
        link.lead_to(port)
        [failure] = flow.handles[-1].result(60)
        assert failure.job_id == flow.handles[2].id
        assert redis.hget(f"rq:job:{flow.handles[1].id}", "heori_deliveries") == b"1"
        assert consumer.stop() == 0


def test_a_flow_that_is_cancelled_does_not_begin(producer: Producer, redis: Any) -> None:
    flow = producer.submit_flow(group([double.s(1), double.s(2)], then=total.s()))
    assert flow.cancel() == 3
    assert redis.llen("rq:queue:default") == 0
    assert {each.status() for each in flow.handles} == {"canceled"}


def test_nothing_is_sent_of_a_flow_that_makes_no_sense(producer: Producer, redis: Any) -> None:
    with pytest.raises(TypeError, match="lacks its first argument, and nothing is before it"):
        producer.submit_flow(chain(double.s(), double.s()))  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="days: "):
        producer.submit_flow(chain(begin.s(1), move.s("x")))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="too many positional arguments"):
        begin.s(1, 2)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="no call of a task"):
        chain(begin.s(1), 2)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="delay says when"):
        producer.options(after="a", delay=1)
    assert redis.keys("rq:job:*") == []


def test_who_looks_for_jobs_that_need_not_wait_leaves_flows_as_they_are(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    later = producer.options(delay="1h")
    line = later.submit_flow(chain(begin.s(1), tell.s()))
    fan = later.submit_flow(group([double.s(1), double.s(2)], then=total.s()))

    def stands() -> dict[bytes, Any]:
        keys = sorted(redis.keys("rq:job:*") + redis.keys("rq:heori:inputs:*"))
        return {key: redis.dump(key) for key in keys}

    def look() -> int:
        return look_again(redis_url, "default", "elsewhere")

    before = stands()
    assert look() + look() == 0
    assert stands() == before
    redis.delete(f"rq:job:{line.handles[0].id}")
    look()
    assert line.handles[1].status() == "canceled"
    assert fan.handles[-1].status() == "deferred"


def test_a_key_holds_for_a_job_that_waits_for_others(producer: Producer, redis: Any) -> None:
    first = producer.options(delay="1h").submit(double, 1)
    waiting = producer.options(after=first, key="order-17")
    second = waiting.submit(double, 2)
    assert waiting.submit(double, 2).id == second.id
    assert second.cancel()
    assert redis.keys("rq:heori:inputs:*") != []
    assert [key for key in redis.keys("rq:heori:inputs:*") if redis.ttl(key) == -1] == []


def test_a_flow_that_is_sent_first_has_the_limits_of_the_settings_written(
    redis: Any, redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 2})
    with Producer(settings=settings) as producer, pytest.raises(QueueFull):
        producer.options(when_full="reject").submit_flow(group([double.s(n) for n in range(3)]))
    assert redis.llen("rq:queue:default") == 0, "what was sent of it is cancelled"


def test_what_comes_after_a_job_that_was_cancelled_is_kept_no_longer_than_that(
    producer: Producer, redis: Any
) -> None:
    first = producer.options(delay="1h").submit(double, 1)
    assert first.cancel()
    after = producer.options(after=first).submit(double, 2)
    assert after.status() == "canceled"
    for key in (f"rq:job:{first.id}:dependents", f"rq:job:{after.id}"):
        assert 0 < redis.ttl(key) <= redis.ttl(f"rq:job:{first.id}") + 1


def test_what_waits_for_a_job_that_was_deleted_does_not_wait_for_ever(
    producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    later = producer.options(delay="1h")
    deleted, emptied, kept = (later.submit(double, n) for n in range(3))
    after = producer.options(after=[deleted, emptied]).submit(double, 4)
    still = producer.options(after=[deleted, kept]).submit(double, 5)
    line = later.submit_flow(chain(double.s(1), double.s(), double.s()))
    fan = later.submit_flow(group([double.s(1), double.s(2)], then=total.s()))
    many = [producer.options(after=deleted).submit(double, n) for n in range(300)]
    theirs = Queue(connection=redis).enqueue(len, "a", depends_on=deleted.id)
    for each in (deleted, line.handles[0]):
        RqJob.fetch(each.id, connection=redis).delete()
    Queue("default", connection=redis).scheduled_job_registry.remove(emptied.id, delete_job=True)
    Queue("default", connection=redis).scheduled_job_registry.remove(
        fan.handles[0].id, delete_job=True
    )
    consume(HEORI_TASKS=TASKS).ready()
    assert after.result(120) == 8
    assert [each.result(120) for each in many] == [2 * n for n in range(300)]
    for each in (line.handles[1], line.handles[2]):
        with pytest.raises(JobCanceled, match=f"after {line.handles[0].id}, which is gone"):
            each.result(120)
    assert still.status() == "deferred"
    assert fan.handles[2].status() == "deferred", "the other has not ended"
    assert theirs.get_status() == "deferred", "as rq leaves it"


def test_a_full_queue_takes_what_waits_for_others_and_does_not_go_there_yet(
    redis: Any, redis_url: str
) -> None:
    settings = Settings(redis_url=redis_url, queue_limits={"default": 2}, when_full="reject")
    with Producer(settings=settings) as rejects:
        _send_to_a_full_queue(rejects, redis)


def _send_to_a_full_queue(rejects: Producer, redis: Any) -> None:
    first, second = rejects.submit_many(double, [1, 2])
    waiting = rejects.options(after=first).submit(double, 3)
    both = rejects.options(after=[first, second, "never-was"]).submit_many(double, [4, 5])
    assert [each.status() for each in (waiting, *both)] == ["deferred"] * 3
    with pytest.raises(QueueFull):
        rejects.submit(double, 6)
    with pytest.raises(QueueFull):
        rejects.options(after="never-was").submit(double, 7)
    assert first.cancel()
    rejects.submit(double, 8)
    assert redis.llen("rq:queue:default") == 2
    canceled = rejects.options(after=first).submit(double, 9)
    assert canceled.status() == "canceled"
    with pytest.raises(QueueFull):
        rejects.options(after="never-was").submit_many(double, [1, 2])

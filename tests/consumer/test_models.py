"""One conformance suite for every execution model: what becomes of jobs, whoever runs them.

Its other half is `tests/consumer/test_models_ending.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from heori import JobFailed, Producer, group
from tests.rigs.consumers import MODELS, Consumer, run_short_jobs
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


@pytest.fixture
def consumer(shared: Consumer) -> Consumer:
    return shared


def test_jobs_run_and_return_what_their_type_says(consumer: Consumer, producer: Producer) -> None:
    handles = producer.submit_many(sample_tasks.add, [(n, 1) for n in range(300)])
    assert [handle.result(60) for handle in handles] == list(range(1, 301))
    assert producer.submit(sample_tasks.add_later, 1, b=2).result(60) == 3
    assert producer.submit(sample_tasks.fail, "x").status() in ("queued", "started", "failed")
    failed = {"outcome": "failed", "task": "tests.tasks.sample_tasks.fail"}
    until(lambda: consumer.metric("heori_jobs_total", **failed) == 1)
    assert consumer.metric("heori_jobs_total", outcome="succeeded") == 301
    assert consumer.metric("heori_job_run_seconds_count") == 302
    assert consumer.metric("heori_job_queue_seconds_count") == 302


@pytest.mark.usefixtures("consumer")
def test_a_failed_job_keeps_its_traceback(producer: Producer) -> None:
    with pytest.raises(JobFailed, match="ValueError: because") as failure:
        producer.submit(sample_tasks.fail, "because").result(60)
    assert "raise ValueError(text)" in failure.value.traceback
    assert "heori_consumer" not in failure.value.traceback


BAD_ENDS: list[tuple[Callable[..., object], tuple[object, ...], str]] = [
    (sample_tasks.leave, ("SystemExit",), "SystemExit: 3"),
    (sample_tasks.leave, ("KeyboardInterrupt",), "KeyboardInterrupt"),
    (sample_tasks.unserialisable, (), "no JSON form"),
    (sample_tasks.wrong_type, (), "valid integer"),
    (sample_tasks.large, (2_000_000,), "over the limit"),
    (sample_tasks.spin_limited, (30.0,), "longer than its timeout of 1 s"),
    (sample_tasks.wait_limited, (30.0,), "longer than its timeout of 1 s"),
    (sample_tasks.sleep_limited, (3600.0,), "longer than its timeout of 1 s"),
]


@pytest.mark.usefixtures("consumer")
def test_a_bad_end_fails_that_job_and_not_its_neighbours(producer: Producer) -> None:
    bad = []
    good = []
    for function, arguments, _ in BAD_ENDS:
        good += producer.submit_many(sample_tasks.add, [(n, 0) for n in range(10)])
        bad.append(producer.submit(function, *arguments))
    good += producer.submit_many(sample_tasks.add, [(n, 0) for n in range(10)])
    for handle, (_, _, message) in zip(bad, BAD_ENDS, strict=True):
        with pytest.raises(JobFailed, match=message):
            handle.result(60)
    assert [handle.result(60) for handle in good] == [*range(10)] * (len(BAD_ENDS) + 1)


def test_failures_are_retried_as_declared(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    back = producer.submit(sample_tasks.fail_at_first, redis_url, "back", 2)
    too_often = producer.submit(sample_tasks.fail_at_first, redis_url, "often", 3)
    given_up = producer.submit(sample_tasks.fail_at_first, redis_url, "up", 1, how="KeyError")
    assert back.result(60) == 3
    with pytest.raises(JobFailed, match="run 3"):
        too_often.result(60)
    with pytest.raises(JobFailed, match="run 1"):
        given_up.result(60)
    assert redis.hget(f"rq:job:{back.id}", "retries_left") == b"0"
    until(lambda: consumer.metric("heori_jobs_held") == 0)
    assert consumer.metric("heori_jobs_total", outcome="retried") == 4
    assert redis.zcard("rq:scheduled:default") == 0


def test_a_job_that_had_to_be_killed_for_its_timeout_is_retried_as_declared(
    consumer: Consumer, producer: Producer, redis_url: str
) -> None:
    handle = producer.submit(sample_tasks.hang_at_first, redis_url, "hang")
    assert handle.result(60) == 2
    name = "tests.tasks.sample_tasks.hang_at_first"
    until(lambda: consumer.metric("heori_jobs_total", task=name, outcome="succeeded") == 1)
    assert consumer.metric("heori_jobs_total", task=name, outcome="retried") == 1
    assert consumer.metric("heori_worker_restarts_total", reason="timeout") == 1


@pytest.mark.usefixtures("consumer")
def test_a_task_can_ask_what_job_it_is_and_tell_how_far(
    producer: Producer, redis: Any, redis_url: str
) -> None:
    handle = producer.submit(sample_tasks.about_itself, redis_url, "self")
    assert redis.blpop(["self:running"], timeout=60)
    until(lambda: handle.progress() == (0.5, "half of it"))
    redis.rpush("self:go", "now")
    for each in (handle, producer.submit(sample_tasks.about_itself_later)):
        about = each.result(60)
        assert 0 < about.pop("left") <= 600  # type: ignore[operator]
        name = about.pop("task")
        assert name in (
            "tests.tasks.sample_tasks.about_itself",
            "tests.tasks.sample_tasks.about_itself_later",
        )
        assert about == {"id": each.id, "queue": "default", "delivery": 1, "lease_lost": False}


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("run", [sample_tasks.go_on_from_meta, sample_tasks.go_on_from_meta_later])
def test_a_task_keeps_what_it_has_done_in_its_meta_and_its_next_try_goes_on_from_there(
    run: Any, producer: Producer, redis: Any
) -> None:
    options = producer.options(meta={"customer": "acme"})
    handles = options.submit_many(run, [(500,)] * 20)
    for handle in handles:
        assert handle.result(60) == [0, 250]
        saved = Job.fetch(handle.id, redis, serializer=JSONSerializer).meta
        assert saved == {"customer": "acme", "began": [0, 250], "done": 500}


@pytest.mark.usefixtures("consumer")
def test_meta_that_is_too_large_or_no_json_is_refused_and_the_saved_one_stays(
    producer: Producer, redis: Any
) -> None:
    for of, told in (("large", "over the limit of 16384; store"), ("none", "has no JSON form")):
        handle = producer.submit(sample_tasks.save_bad_meta, of)
        assert told in handle.result(60)
        assert redis.hget(f"rq:job:{handle.id}", "meta") == b'{"kept": 1}'


@pytest.mark.usefixtures("consumer")
def test_meta_of_a_job_that_rq_has_pickled_is_saved_as_rq_reads_it(redis: Any) -> None:
    queue = Queue("default", connection=redis)
    job = queue.enqueue(sample_tasks.go_on_from_meta, 500, meta={"customer": "acme"})
    until(lambda: job.get_status(refresh=True) == "finished")
    saved = Job.fetch(job.id, redis).meta
    assert saved == {"customer": "acme", "began": [0, 250], "done": 500}


@pytest.mark.parametrize("model", MODELS)
def test_a_job_is_told_that_its_lease_is_lost(
    model: str,
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
) -> None:
    consumer = consume(*MODELS[model], HEORI_LEASE="1").ready()
    producer.submit(sample_tasks.report_when_lost, redis_url, "lost")
    assert redis.blpop(["lost:running"], timeout=60)
    redis.delete("rq:wip:default")
    assert redis.blpop(["lost:lost"], timeout=60)
    until(lambda: consumer.metric("heori_results_refused_total") == 1)


def test_a_task_can_clean_up_when_its_time_is_over(
    consumer: Consumer, producer: Producer, tmp_path: Path
) -> None:
    def cleans_up() -> bool:
        handle = producer.submit(sample_tasks.clean_up_at_timeout, str(tmp_path))
        try:
            assert handle.result(60) == f"{handle.id} had 1 s"
        except JobFailed:
            return False
        return True

    # A worker that stands still for a second then is killed as one that cannot be interrupted.
    tries = next(number for number in range(1, 6) if cleans_up())
    assert consumer.metric("heori_worker_restarts_total") == tries - 1


def test_rq_stops_a_job_that_runs_and_one_that_nothing_interrupts(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    slots = int(consumer.metric("heori_slots"))
    beside = [producer.submit(sample_tasks.hold, redis_url, "beside") for _ in range(slots - 1)]
    for _ in beside:
        assert redis.blpop(["beside:running"], timeout=60)
    for function, argument in ((sample_tasks.spin, 3600.0), (sample_tasks.nap, 3600.0)):
        handle = producer.submit(function, argument)
        until(lambda: consumer.metric("heori_slots_running") == slots)
        send_stop_job_command(redis, handle.id, serializer=JSONSerializer)
        with pytest.raises(JobFailed, match="was stopped by request"):
            handle.result(60)
        assert handle.status() == "stopped"
        assert redis.zscore("rq:failed:default", handle.id) is not None
    until(lambda: consumer.metric("heori_jobs_total", outcome="stopped") == 2)
    for _ in beside:  # they were given back with their worker, at the latest by the second
        redis.rpush("beside:go", "now", "now")
    assert [handle.result(60) for handle in beside] == ["beside"] * (slots - 1)


@pytest.mark.parametrize("model", MODELS)
def test_a_job_that_is_cancelled_while_it_waits_in_a_worker_does_not_run(
    model: str,
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("heori_producer.recall.ANSWER_S", 60.0)  # a busy machine's answers are late
    consumer = consume(*MODELS[model], program="tests.rigs.patient").ready()
    slots = int(consumer.metric("heori_slots"))
    run_short_jobs(producer)
    # All workers have the same room then, so that each slot gets one of these.
    until(lambda: consumer.metric("heori_jobs_held") == 0)
    before = [producer.submit(sample_tasks.hold, redis_url, "before") for _ in range(slots)]
    until(lambda: consumer.metric("heori_slots_running") == slots)
    handles = producer.submit_many(sample_tasks.count_run, [(redis_url, "ran", "once")] * 10)
    until(lambda: consumer.metric("heori_jobs_held") > slots)
    # Claimed, and begun by no slot: whoever sent it may have it back.
    claimed = next(each for each in handles if each.status() == "started")
    others = [each for each in handles if each is not claimed]
    assert not claimed.running()
    assert all(each.running() for each in before)
    assert claimed.cancel()
    assert group(others[4:]).cancel() == 5
    assert group(before).cancel() == 0
    for each in others[:4]:
        Job.fetch(each.id, redis, serializer=JSONSerializer).cancel()
    until(lambda: consumer.metric("heori_jobs_held") == slots)
    redis.rpush("before:go", *["now"] * slots)
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert not redis.exists("ran")
    assert {each.status() for each in handles} == {"canceled"}
    until(lambda: redis.zcard("rq:wip:default") == 0)

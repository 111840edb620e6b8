"""One conformance suite for every execution model: how workers and consumers end.

Real consumers, real processes, real signals. Its other half is `tests/consumer/test_models.py`.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from heori import JobFailed, Producer
from tests.rigs.consumers import IN_PROCESSES, MODELS, SHORT_JOBS, Consumer, run_short_jobs
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

FINISHED = "rq:finished:default"


@pytest.mark.parametrize("consumer", IN_PROCESSES, indirect=True)
def test_jobs_that_kill_their_worker_become_dead_letters_and_the_rest_is_done(
    consumer: Consumer, producer: Producer
) -> None:
    ways = ["kill", "segfault", "os._exit", "close files"]
    bad = [producer.submit(sample_tasks.leave, how) for how in ways]
    good = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(200)])
    for handle in bad:
        with pytest.raises(JobFailed, match="delivered 3 times without an end; the last worker"):
            handle.result(60)
    assert [handle.result(60) for handle in good] == list(range(200))
    until(lambda: consumer.metric("heori_jobs_dead_total") == len(ways))
    # Two of them may die in one worker of several slots, so that there are fewer deaths.
    assert 3 <= consumer.metric("heori_worker_restarts_total") <= 3 * len(ways)


@pytest.mark.parametrize("model", IN_PROCESSES)
def test_a_job_of_a_killed_worker_runs_again_and_not_when_its_lease_is_over(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*MODELS[model], HEORI_LEASE="600").ready()
    slots = consumer.metric("heori_slots")
    handle = producer.submit(sample_tasks.hold, redis_url, "again")
    _, first = redis.blpop(["again:running"], timeout=60)
    os.kill(int(first), signal.SIGKILL)
    _, second = redis.blpop(["again:running"], timeout=60)
    assert second != first, "in a new process"
    # The suspect has a process of its own: it counts among those that run, with its slot.
    until(lambda: consumer.metric("heori_slots_running") == 1)
    until(lambda: consumer.metric("heori_slots") == slots + 1)
    redis.rpush("again:go", "now")
    assert handle.result(60) == "again"
    assert consumer.metric("heori_worker_restarts_total", reason="SIGKILL") == 1
    assert consumer.metric("heori_jobs_redelivered_total") >= 1


def test_sigterm_lets_running_jobs_finish_and_gives_back_the_others_in_order(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    slots = int(consumer.metric("heori_slots"))
    running = [producer.submit(sample_tasks.hold, redis_url, "drain") for _ in range(slots)]
    for _ in range(slots):
        assert redis.blpop(["drain:running"], timeout=60)
    waiting = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(50)])
    consumer.process.send_signal(signal.SIGTERM)
    consumer.wait_for("draining")
    # An offer that crossed a hand-over may have brought it one of them, which is given back, too.
    until(lambda: redis.llen("rq:queue:default") == len(waiting))
    for _ in range(slots):
        redis.rpush("drain:go", "now")
    assert consumer.join() == 0
    assert [handle.result(60) for handle in running] == ["drain"] * slots
    ids = [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)]
    assert ids == [handle.id for handle in waiting]
    assert {handle.status() for handle in waiting} == {"queued"}
    assert redis.zcard("rq:wip:default") == 0
    assert not redis.smembers("rq:workers")


def test_after_the_grace_what_still_runs_is_given_back(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(HEORI_GRACE="0.5").ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "grace")
    assert redis.blpop(["grace:running"], timeout=60)
    assert consumer.stop() == 0
    assert handle.status() == "queued"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"0"
    assert redis.zcard("rq:wip:default") == 0


def test_a_second_sigterm_stops_at_once_with_leases_released(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    handle = producer.submit(sample_tasks.hold, redis_url, "hurry")
    assert redis.blpop(["hurry:running"], timeout=60)
    consumer.process.send_signal(signal.SIGTERM)
    consumer.wait_for("draining")

    def has_ended() -> bool:
        consumer.process.send_signal(signal.SIGTERM)
        return consumer.process.poll() is not None

    until(has_ended)  # again and again, as what comes at the same moment is taken for one
    assert consumer.join() == 0
    assert handle.status() == "queued"
    assert redis.zcard("rq:wip:default") == 0


def test_short_jobs_do_not_wait_behind_a_long_one_that_came_first(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    """Prefetched jobs go back when a slot is taken for long: a consumer does not hoard."""
    slots = int(consumer.metric("heori_slots"))
    run_short_jobs(producer)
    holds = [producer.submit(sample_tasks.hold, redis_url, "long") for _ in range(slots)]
    short = producer.submit_many(sample_tasks.add, [(n, 0) for n in range(100)])
    for _ in range(slots):
        assert redis.blpop(["long:running"], timeout=60)
    # Some may have run in a slot that was free while a long one was with another worker.
    until(lambda: redis.llen("rq:queue:default") + redis.zcard(FINISHED) == SHORT_JOBS + len(short))
    until(lambda: consumer.metric("heori_jobs_held") == slots)
    redis.rpush("long:go", *["now"] * slots)
    assert [handle.result(60) for handle in holds] == ["long"] * slots
    assert [handle.result(60) for handle in short] == list(range(100))


def test_who_was_beside_a_killer_is_not_killed_again(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    """Suspects run in processes of their own, so that only the guilty one goes on dying."""
    consumer = consume("--slots", "4").ready()
    innocent = [producer.submit(sample_tasks.hold, redis_url, "beside") for _ in range(3)]
    for _ in innocent:
        assert redis.blpop(["beside:running"], timeout=60)
    guilty = producer.submit(sample_tasks.leave, "kill")
    with pytest.raises(JobFailed, match="delivered 3 times"):
        guilty.result(60)
    places = {int(redis.blpop(["beside:running"], timeout=60)[1]) for _ in innocent}
    assert len(places) == 3  # three processes
    redis.rpush("beside:go", "now", "now", "now")
    assert [handle.result(60) for handle in innocent] == ["beside"] * 3
    deliveries = [redis.hget(f"rq:job:{handle.id}", "heori_deliveries") for handle in innocent]
    assert deliveries == [b"2", b"2", b"2"]
    assert consumer.metric("heori_worker_restarts_total") == 3
    until(lambda: len(consumer.workers) == 1)  # the processes of the innocent have ended
    assert consumer.stop() == 0


def test_a_suspect_whose_process_dies_leaves_its_turn_to_the_next(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    """With nothing else going on in the consumer: no other worker wakes it."""
    first = consume("--slots", "2", HEORI_LEASE="1").ready()
    suspects = [producer.submit(sample_tasks.hold, redis_url, "suspect") for _ in range(2)]
    for _ in suspects:
        assert redis.blpop(["suspect:running"], timeout=60)
    first.process.kill()
    first.join()
    consume("--model", "processes", "--processes", "1", HEORI_LEASE="1").ready()
    _, pid = redis.blpop(["suspect:running"], timeout=60)
    until(lambda: redis.llen("rq:queue:default") == 0)  # the other waits for its turn
    os.kill(int(pid), signal.SIGKILL)
    redis.rpush("suspect:go", *["now"] * 4)
    assert [handle.result(60) for handle in suspects] == ["suspect"] * 2

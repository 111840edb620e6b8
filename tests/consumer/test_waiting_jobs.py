"""Jobs that wait for other jobs: they end in time, and their slots are lent meanwhile."""

import random
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer

from heori import JobFailed, Producer
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks, waiting_tasks

ONE_SLOT = {
    "threads": ["--model", "threads", "--slots", "1"],
    "processes": ["--model", "processes", "--processes", "1"],
    "hybrid": ["--model", "hybrid", "--processes", "1", "--slots", "1"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "1"],
    "inline": ["--model", "inline"],
}
TASKS = {"HEORI_TASKS": "tests.tasks.waiting_tasks,tests.tasks.sample_tasks"}
STANDSTILL = (
    "all slots wait for other jobs, of queues that are served here; those run when another "
    "consumer is started, or with more slots to lend (HEORI_LEND_SLOTS)"
)


@pytest.fixture
def start(consume: Callable[..., Consumer]) -> Callable[..., Consumer]:
    """Starts a consumer that has these tasks."""
    return lambda *arguments, **environment: consume(*arguments, **TASKS, **environment).ready()


def flat(said: "subprocess.CompletedProcess[str]") -> str:
    """What a command has printed, as one line."""
    return " ".join(said.stdout.split())


@pytest.mark.parametrize("model", ONE_SLOT)
def test_a_merge_sort_of_depth_5_ends_on_one_slot(
    model: str, start: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = start(*ONE_SLOT[model])
    numbers = [random.randrange(1000) for _ in range(64)]
    for sort in (waiting_tasks.merge_sort, waiting_tasks.merge_sort_later):
        assert producer.submit(sort, numbers, 5).result(60) == sorted(numbers)
    until(lambda: consumer.metric("heori_jobs_held") == 0)
    assert consumer.metric("heori_jobs_total", outcome="succeeded") == 2 * 63
    assert consumer.metric("heori_job_run_seconds_count") == 2 * 63, "each was started once"
    assert consumer.metric("heori_worker_restarts_total") == 0
    until(lambda: consumer.metric("heori_jobs_waiting_for_jobs") == 0)
    assert consumer.metric("heori_slots") == 1


def test_more_parents_than_slots_have_their_children_run_once(
    start: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = start("--model", "threads", "--slots", "8")
    tasks = (waiting_tasks.parent, waiting_tasks.parent_later) * 8
    parents = [producer.submit(task, n, redis_url) for n, task in enumerate(tasks)]
    assert [each.result(60) for each in parents] == [2 * n + 1 for n in range(16)]
    assert redis.get("children") == b"16"
    assert consumer.metric("heori_worker_restarts_total") == 0


@pytest.mark.parametrize(("model", "queue"), [("threads", "low"), ("asyncio", "default")])
def test_as_many_parents_as_slots_can_be_lent_find_one_for_each_child_behind_them(
    model: str, queue: str, start: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = start(*ONE_SLOT[model], "--queue", "low", HEORI_LEND_SLOTS="80")
    calls = [(n, queue) for n in range(40)]
    parents = producer.submit_many(waiting_tasks.parent_of, calls)
    parents += producer.submit_many(waiting_tasks.parent_of_two, calls)
    assert [each.result(60) for each in parents] == [2 * n + 1 for n in range(40)] * 2
    assert consumer.metric("heori_worker_restarts_total") == 0


@pytest.mark.parametrize("model", ["threads", "processes", "asyncio"])
def test_a_job_that_waits_for_jobs_is_ended_by_its_timeout_and_by_a_person(
    model: str, start: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = start(*ONE_SLOT[model], HEORI_QUEUE_LIMITS="full=1")
    ways = list(waiting_tasks.WAITS)

    def are_ended() -> bool:
        """Each as it should be; returns whether no worker had to be killed for it."""
        before = consumer.metric("heori_worker_restarts_total")
        limited = [producer.submit(waiting_tasks.wait_limited, how) for how in ways]
        for handle in limited:
            with pytest.raises(JobFailed, match="longer than its timeout of 1 s"):
                handle.result(60)
        unlimited = [producer.submit(waiting_tasks.wait_unlimited, how) for how in ways]
        until(lambda: consumer.metric("heori_jobs_waiting_for_jobs") == len(ways))
        # What waits takes part in nothing that a slot does.
        until(lambda: consumer.metric("heori_slots_running") == 0)
        assert producer.submit(sample_tasks.add, 1).result(60) == 3
        for how, handle in zip(ways, unlimited, strict=True):
            send_stop_job_command(redis, handle.id, serializer=JSONSerializer)
            with pytest.raises(JobFailed, match="was stopped by request"):
                handle.result(60)
            assert handle.status() == "stopped", how
        return consumer.metric("heori_worker_restarts_total") == before

    # A worker that stands still for a second then is killed as one that cannot be interrupted.
    assert any(are_ended() for _ in range(5))
    assert consumer.metric("heori_jobs_redelivered_total") == 0


def test_a_job_that_fills_its_own_queue_is_not_waited_for_by_itself(
    start: Callable[..., Consumer], producer: Producer
) -> None:
    start(*ONE_SLOT["threads"], HEORI_QUEUE_LIMITS="default=3")
    assert producer.submit(waiting_tasks.fill, list(range(50))).result(60) == 50


def test_threads_that_were_lent_end_when_nothing_waits_any_more(
    start: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = start(*ONE_SLOT["threads"])
    assert producer.submit(waiting_tasks.parent, 1).result(60) == 3  # has its threads made
    [worker] = consumer.workers
    until(lambda: consumer.metric("heori_jobs_waiting_for_jobs") == 0)
    until(lambda: consumer.metric("heori_jobs_held") == 0)
    before = worker.num_threads()
    producer.submit(sample_tasks.hold, redis_url, "gate")
    waiting = [producer.submit(waiting_tasks.wait_for_held, redis_url, "held") for _ in range(5)]
    redis.rpush("gate:go", "now")  # all of them before the first of those that they wait for
    assert redis.blpop(["held:running"], timeout=60)
    until(lambda: consumer.metric("heori_jobs_waiting_for_jobs") == 5)
    assert consumer.metric("heori_slots_running") == 1, "one slot is one slot"
    assert worker.num_threads() >= before + 5
    redis.rpush("held:go", *["now"] * 5)
    assert [each.result(60) for each in waiting] == ["held"] * 5
    until(lambda: worker.num_threads() <= before)


def test_what_a_job_holds_while_it_waits_stays_held(
    start: Callable[..., Consumer], producer: Producer, redis_url: str
) -> None:
    start(*ONE_SLOT["threads"])
    assert producer.submit(waiting_tasks.hold_and_wait, redis_url).result(60) is False


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_a_job_that_waited_is_not_charged_for_the_death_of_its_worker(
    model: str, start: Callable[..., Consumer], producer: Producer, redis_url: str
) -> None:
    consumer = start(*ONE_SLOT[model])
    assert producer.submit(waiting_tasks.outlive, redis_url).result(60) == [2, 1]
    assert consumer.metric("heori_worker_restarts_total") == 1


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_a_worker_that_is_recycled_lets_its_jobs_wait_to_their_end(
    model: str, start: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = start(*ONE_SLOT[model], "--recycle-after", "1")
    handle = producer.submit(waiting_tasks.wait_twice, redis_url, "between")
    assert redis.blpop(["between:running"], timeout=60)
    successor = producer.submit(sample_tasks.process).result(60)  # the only one with a free slot
    redis.rpush("between:go", "now")
    first, own, second = handle.result(60)
    assert first == own != second
    assert successor != own
    assert consumer.metric("heori_jobs_redelivered_total") == 0


def test_a_drain_gives_back_what_waits_when_the_grace_is_over(
    start: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = start(*ONE_SLOT["threads"], HEORI_GRACE="0.5")
    handle = producer.submit(waiting_tasks.wait_for_held, redis_url, "held")
    assert redis.blpop(["held:running"], timeout=60)
    assert consumer.stop(signal.SIGTERM) == 0
    assert handle.status() == "queued"
    assert int(redis.hget(f"rq:job:{handle.id}", "heori_deliveries") or 0) == 0


def test_a_standstill_is_told_everywhere_and_ends_with_another_consumer(
    start: Callable[..., Consumer], producer: Producer, heori: Heori
) -> None:
    consumer = start(*ONE_SLOT["threads"], HEORI_LEND_SLOTS="1")
    handle = producer.submit(waiting_tasks.nest, 3)
    told = consumer.wait_for(STANDSTILL)
    assert (told["queues"], told["waiting"]) == ("default", 2)
    [name] = {line["consumer"] for line in consumer.log if "consumer" in line}
    until(lambda: f"All slots of {name} wait for jobs of default" in flat(heori("status")))
    seen = flat(heori("top", "--once", "--every", "100ms"))
    assert f"All slots of {name} wait for jobs of default" in seen
    assert "0 of 1 +2 wait" in seen
    assert f"all slots of {name} wait for jobs of default" in flat(heori("doctor"))
    start(*ONE_SLOT["threads"])
    assert handle.result(60) == 3
    consumer.wait_for("a slot is free again for the jobs that others wait for")
    until(lambda: "All slots" not in flat(heori("status")))


def test_a_job_that_asks_again_and_again_is_no_riddle(
    start: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = start(*ONE_SLOT["asyncio"])
    handle = producer.submit(waiting_tasks.ask_again_and_again)
    told = consumer.wait_for(STANDSTILL)
    assert (told["queues"], told["waiting"]) == ("default", 0)
    start(*ONE_SLOT["threads"])
    assert handle.result(60) == "finished"

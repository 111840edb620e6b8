"""The model auto: threads and coroutines in one worker, and a pool that changes its size."""

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from heori import Producer
from heori_consumer.auto.size import Size
from heori_consumer.supervisor.options import ConsumerOptions
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import resize_tasks

AUTO = ("--model", "auto", "--advise", "--max-processes", "4", "--max-slots", "16")
TASKS = {"HEORI_TASKS": "tests.tasks.resize_tasks"}


@pytest.fixture
def consumer(consume: Callable[..., Consumer]) -> Consumer:
    one = ("--processes", "1", "--slots", "1")
    return consume(*AUTO, *one, program="tests.rigs.resized", **TASKS).ready()


def resize(redis: Any, *size: int, waits: bool = True) -> None:
    """Tell a consumer its size, and wait until it knows it, or has it."""
    said = " ".join(map(str, size))
    redis.delete("sized", "settled")
    redis.rpush("size", said)
    [_, told] = redis.blpop(["settled" if waits else "sized"], 60)
    assert told.decode() == said


def keep_apart(redis: Any, most: int, *tasks: str) -> None:
    """Tell a consumer of which tasks one job is to run at a time, and how many may stand aside."""
    redis.delete("sized")
    redis.rpush("apart", " ".join([str(most), *tasks]))
    assert redis.blpop(["sized"], 60)


def begun(redis: Any, key: str, jobs: int) -> list[int]:
    """Wait until so many jobs have begun; returns the processes in which they run."""
    return [int(redis.blpop([f"{key}:running"], 60)[1]) for _ in range(jobs)]


def report(consumer: Consumer) -> dict[str, Any]:
    with urllib.request.urlopen(f"{consumer.url}/slots", timeout=60) as answer:
        said: dict[str, Any] = json.loads(answer.read())
        return said


def returned(redis: Any) -> int:
    """How many deliveries were given back."""
    return int(redis.get("returned"))


def test_threads_come_and_go_while_jobs_run(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    handles = producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * 4)
    [first] = begun(redis, "k", 1)
    until(lambda: report(consumer)["slots"] == 1)
    resize(redis, 1, 4, 1)
    assert begun(redis, "k", 3) == [first] * 3
    assert report(consumer)["slots"] == 4
    threads = psutil.Process(first).num_threads()
    resize(redis, 1, 2, 1)
    assert report(consumer)["running"] == 4, "none is ended for it"
    redis.rpush("k:go", 1, 1, 1, 1)
    assert [handle.result(60) for handle in handles] == [first] * 4
    until(lambda: psutil.Process(first).num_threads() == threads - 2)
    producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * 2)
    assert begun(redis, "k", 2) == [first] * 2
    assert report(consumer)["slots"] == 2
    redis.rpush("k:go", 1, 1)


def test_processes_come_and_go_and_each_finishes_what_it_has(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 3, 1, 1)
    assert report(consumer)["processes"] == 3
    handles = producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * 3)
    processes = set(begun(redis, "k", 3))
    assert len(processes) == 3
    resize(redis, 1, 1, 1)
    assert report(consumer)["processes"] == 1
    assert len(consumer.workers) == 3
    redis.rpush("k:go", 1, 1, 1)
    assert {handle.result(60) for handle in handles} == processes
    until(lambda: len(consumer.workers) == 1)
    assert producer.submit(resize_tasks.process).result(60) in processes
    assert consumer.metric("heori_worker_restarts_total") == 0


def test_jobs_that_are_kept_apart_run_one_at_a_time_in_their_order_and_leave_slots_to_others(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 1, 2, 1)
    keep_apart(redis, 2, "tests.tasks.resize_tasks.hold")
    handles = [producer.submit(resize_tasks.hold, redis_url, f"k{n}") for n in range(3)]
    [process] = begun(redis, "k0", 1)
    others = producer.submit_many(resize_tasks.process, [()] * 20)
    assert [handle.result(60) for handle in others] == [process] * 20
    # One that is to stand aside has a slot for as long as it takes to read it.
    until(lambda: report(consumer)["running"] == 1)
    for n, handle in enumerate(handles):
        assert n == 0 or begun(redis, f"k{n}", 1) == [process]
        waiting = [f"k{m}:running" for m in range(n + 1, 3)]
        assert not (waiting and redis.exists(*waiting)), "it begins when the one before has ended"
        redis.rpush(f"k{n}:go", 1)
        assert handle.result(60) == process


def test_jobs_that_stand_aside_run_at_once_when_they_are_not_kept_apart_any_more(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 1, 3, 1)
    keep_apart(redis, 3, "tests.tasks.resize_tasks.hold")
    handles = producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * 3)
    begun(redis, "k", 1)
    until(lambda: report(consumer)["prefetched"] == 2)
    keep_apart(redis, 0)
    begun(redis, "k", 2)
    redis.rpush("k:go", 1, 1, 1)
    assert len([handle.result(60) for handle in handles]) == 3


def test_what_stands_aside_is_given_back_and_runs_elsewhere(
    consume: Callable[..., Consumer],
    consumer: Consumer,
    producer: Producer,
    redis: Any,
    redis_url: str,
) -> None:
    resize(redis, 1, 2, 1)
    keep_apart(redis, 4, "tests.tasks.resize_tasks.hold")
    handles = [producer.submit(resize_tasks.hold, redis_url, f"k{n}") for n in range(3)]
    begun(redis, "k0", 1)
    # The other thread takes this one up once both stand aside, and none is just being read.
    producer.submit(resize_tasks.process).result(60)
    consumer.process.terminate()
    until(lambda: redis.llen("rq:queue:default") == 2)
    other = consume("--model", "threads", "--slots", "2", **TASKS).ready()
    assert {*begun(redis, "k1", 1), *begun(redis, "k2", 1)} == {other.workers[0].pid}
    for n in range(3):
        redis.rpush(f"k{n}:go", 1)
    assert len({handle.result(60) for handle in handles}) == 2


def test_a_job_that_waits_for_one_that_stands_aside_lets_it_begin(
    consumer: Consumer, producer: Producer, redis: Any
) -> None:
    resize(redis, 1, 2, 1)
    keep_apart(redis, 2, "tests.tasks.resize_tasks.wait_for_plain")
    assert producer.submit(resize_tasks.wait_for_plain, 3).result(60) == 3


def test_async_tasks_run_on_one_loop_of_each_worker_and_so_many_at_once_as_was_said(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 1, 2, 3)
    handles = producer.submit_many(resize_tasks.hold_later, [(redis_url, "k")] * 8)
    begun(redis, "k", 3)
    plain = producer.submit(resize_tasks.thread)
    until(lambda: report(consumer)["running"] == 3)
    resize(redis, 1, 2, 9)  # a loop that is full claims nothing that may be for it
    begun(redis, "k", 5)
    assert plain.result(60) != "loop", "it has a thread, and no coroutine waits for it"
    until(lambda: report(consumer)["running"] == 8)  # nor has it waited for one of these
    redis.rpush("k:go", *[1] * 8)
    assert {handle.result(60) for handle in handles} == {"loop"}


def test_plain_jobs_run_in_threads_while_an_async_one_holds_the_loop(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 1, 2, 8)
    held = producer.submit(resize_tasks.hold_loop, redis_url, "k")
    [process] = begun(redis, "k", 1)  # the next job is taken for one of the loop's
    handles = producer.submit_many(resize_tasks.process, [()] * 4)
    assert [handle.result(40) for handle in handles] == [process] * 4
    assert report(consumer)["running"] == 1
    redis.rpush("k:go", 1)
    assert held.result(60) == process


def test_plain_jobs_that_were_brought_for_a_loop_which_is_full_run_in_threads(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 1, 2, 1)
    brief = producer.submit_many(resize_tasks.wait_for_later, [(0,)] * 50)
    assert [handle.result(60) for handle in brief] == [0] * 50  # so that more are brought ahead
    held = producer.submit(resize_tasks.hold_later, redis_url, "k")
    [process] = begun(redis, "k", 1)
    handles = producer.submit_many(resize_tasks.process, [()] * 4)
    assert [handle.result(40) for handle in handles] == [process] * 4
    redis.rpush("k:go", 1)
    assert held.result(60) == "loop"


def test_what_waits_for_other_jobs_lends_its_thread_or_its_coroutine(
    consumer: Consumer, producer: Producer, redis: Any
) -> None:
    for wait in (resize_tasks.wait_for, resize_tasks.wait_for_later):
        assert producer.submit(wait, 6).result(60) == 6
    assert returned(redis) == 0
    until(lambda: report(consumer)["slots"] == 1)


def test_no_slot_is_missing_until_new_workers_are_there(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    size = ("--processes", "1", "--slots", "4")
    own = {**TASKS, "HEORI_RECORDS": "strict"}  # no job is ahead in a worker, and goes back
    consumer = consume(*AUTO, *size, program="tests.rigs.resized", **own).ready()
    [worker] = consumer.workers
    producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * 12)
    begun(redis, "k", 4)
    starter = consumer.family[0]
    starter.suspend()
    try:
        resize(redis, 2, 2, 1, waits=False)
        redis.rpush("k:go", 1, 1, 1, 1)
        assert begun(redis, "k", 4) == [worker.pid] * 4
    finally:
        starter.resume()
    redis.blpop(["settled"], 60)
    redis.rpush("k:go", 1, 1, 1, 1)
    assert set(begun(redis, "k", 4)) == {each.pid for each in consumer.workers}
    assert returned(redis) == 0
    redis.rpush("k:go", 1, 1, 1, 1)


def test_a_worker_that_is_not_needed_any_more_while_it_starts_goes(
    consumer: Consumer, producer: Producer, redis: Any
) -> None:
    starter = consumer.family[0]
    starter.suspend()
    try:
        resize(redis, 4, 1, 1, waits=False)
        resize(redis, 1, 1, 1)
    finally:
        starter.resume()
    until(lambda: len(consumer.workers) == 1)
    assert producer.submit(resize_tasks.process).result(60) == consumer.workers[0].pid
    resize(redis, 2, 1, 1)
    assert len(consumer.workers) == 2
    assert {line["level"] for line in consumer.log} == {"info"}


def test_a_worker_that_dies_comes_back_with_the_size_of_now(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    resize(redis, 2, 3, 1)
    for worker in consumer.workers:
        worker.kill()
    producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * 6)
    assert len(set(begun(redis, "k", 6))) == 2
    redis.rpush("k:go", *[1] * 6)


def test_a_suspect_is_alone_in_its_process_whatever_kind_of_job_it_is(
    consumer: Consumer, producer: Producer, redis: Any, redis_url: str
) -> None:
    for task in (resize_tasks.hold, resize_tasks.hold_later):
        handle = producer.submit(task, redis_url, "k")
        [first] = begun(redis, "k", 1)
        psutil.Process(first).kill()
        [second] = begun(redis, "k", 1)
        workers = report(consumer)["workers"]
        assert [each["state"] for each in workers if each["pid"] == second] == ["alone"]
        redis.rpush("k:go", 1)
        handle.result(60)
    until(lambda: len(consumer.workers) == 1)


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("threads", {"max_slots": 4}, "the threads model keeps its size"),
        ("hybrid", {"max_memory": 10**9}, "the hybrid model keeps its size"),
        ("auto", {"processes": 3, "max_processes": 2}, "--processes 3 is more than --max-proc"),
        ("auto", {"slots": 9, "max_slots": 8}, "--slots 9 is more than --max-slots 8"),
    ],
)
def test_a_size_that_makes_no_sense_is_refused(
    model: Any, options: dict[str, int], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ConsumerOptions.create(("default",), model, **options)


def test_auto_begins_within_its_bounds() -> None:
    options = ConsumerOptions.create(("default",), "auto", max_processes=1, max_slots=3)
    assert (options.size.processes, options.size.slots) == (1, 3)
    large = ConsumerOptions.create(("default",), "auto", 100, 200)
    assert large.bounds is not None
    assert large.bounds.within(Size(1000, 1000, 10**6)) == Size(100, 200, 1000)
    assert large.bounds.max_memory is None or large.bounds.max_memory > 10**7
    with pytest.raises(ValueError, match="at least one of each"):
        Size(1, 0, 1)

"""A worker whose tasks have left nothing for the next job is replaced, and that job runs again."""

from collections.abc import Callable
from typing import Any

import psutil
import pytest

from heori import JobFailed, Producer
from tests.rigs.cgroups import little_memory
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks, spending_tasks

TASKS = "tests.tasks.spending_tasks"
ONE_WORKER = {
    "threads": ["--model", "threads", "--slots", "4"],
    "processes": ["--model", "processes", "--processes", "1"],
    "asyncio": ["--model", "asyncio", "--processes", "1", "--slots", "4"],
}


@pytest.mark.parametrize("model", ONE_WORKER)
def test_a_worker_without_files_is_replaced_and_no_later_job_fails(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume(*ONE_WORKER[model], HEORI_TASKS=TASKS).ready()
    spent = producer.submit(spending_tasks.leak_all_files).result(60)
    later = [
        producer.submit(task)
        for _ in range(4)
        for task in (spending_tasks.open_file, spending_tasks.open_file_later)
    ]
    later.append(producer.submit(spending_tasks.wrap_failure_to_open))
    for handle in later:
        handle.result(60)
        assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"1"
        assert redis.hget(f"rq:job:{handle.id}", "heori_restarts") in (None, b"1")
    assert consumer.wait_for("recycling a worker")["reason"] == "no files left"
    until(lambda: spent not in {worker.pid for worker in consumer.workers})
    assert consumer.metric("heori_jobs_total", outcome="failed") == 0


def test_a_job_that_needs_too_many_files_itself_fails_by_its_own_error(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consume("--slots", "2", HEORI_TASKS=TASKS).ready()
    handle = producer.submit(spending_tasks.need_all_files)
    with pytest.raises(JobFailed, match="Too many open files"):
        handle.result(60)
    assert redis.hget(f"rq:job:{handle.id}", "heori_earlier") == b"1"
    assert redis.hget(f"rq:job:{handle.id}", "heori_restarts") == b"1"  # then it was alone


def test_a_worker_without_threads_is_replaced_and_the_next_job_runs_again(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--slots", "2", HEORI_TASKS=TASKS).ready()
    spent = producer.submit(spending_tasks.leak_all_threads).result(60)
    assert producer.submit(spending_tasks.start_thread).result(60) != spent
    assert consumer.wait_for("recycling a worker")["reason"] == "no threads left"


@pytest.mark.parametrize(
    ("limit", "task"),
    [("max-files", spending_tasks.leak_files), ("max-threads", spending_tasks.leak_threads)],
)
def test_a_worker_is_recycled_above_so_many_files_or_threads(
    limit: str, task: Any, consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--slots", "2", f"--{limit}", "150", HEORI_TASKS=TASKS).ready()
    before = producer.submit(task, 50).result(60)
    assert producer.submit(task, 200).result(60) == before
    assert consumer.wait_for("recycling a worker")["reason"] == limit
    until(lambda: before not in {worker.pid for worker in consumer.workers})
    assert producer.submit(spending_tasks.open_file).result(60) != before
    assert consumer.metric("heori_worker_restarts_total", reason=limit) == 1


def test_a_dead_letter_tells_that_the_kernel_killed_its_worker_for_memory(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, heori: Heori
) -> None:
    consumer = consume("--slots", "1", HEORI_MAX_DELIVERIES="2").ready()

    def reasons() -> list[str]:
        return [line["reason"] for line in consumer.log if line["event"] == "worker died"]

    with little_memory(200) as members:
        # What it forks from now on is there, too.
        [forkserver] = psutil.Process(consumer.process.pid).children()
        members.write_text(str(forkserver.pid))
        [worker] = consumer.workers
        worker.kill()  # and is replaced by one of the cgroup
        until(lambda: consumer.workers not in ([], [worker]))
        handle = producer.submit(sample_tasks.allocate, 400)
        with pytest.raises(JobFailed, match=r"at least \d{3} MB.*\n.*2 times.*\(an OOM kill\)"):
            handle.result(60)
        until(lambda: len(reasons()) == 3)
        consumer.process.kill()
        consumer.join()
    record = redis.hgetall(f"rq:job:{handle.id}")
    assert 100e6 < int(record[b"heori_peak_memory"]) < 400e6
    assert "out of memory" in heori("dead", "show", handle.id).stdout
    assert reasons() == ["SIGKILL", "OOM kill", "OOM kill"]

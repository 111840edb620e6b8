"""What `--exception-handler` names is called as stock rq calls it."""

from typing import Any

import pytest
import redis as redis_py
from rq import Callback, Queue, Retry, SimpleWorker
from rq.job import Dependency, Job

from heori_common.embedded import EmbeddedValkey
from tests.rigs.bursts import work
from tests.tasks import callback_tasks as does

HANDLERS = [does.handle, does.handle_last, does.handle_never]


def enqueue(queue: Queue) -> list[Job]:
    return [
        queue.enqueue(does.fail, "because"),
        queue.enqueue(does.fail, "again", retry=Retry(max=1)),
        queue.enqueue(does.fail, "x", on_failure=Callback(does.fail_again)),
        queue.enqueue(does.add, 1, 2),
        queue.enqueue(does.add, 1, 2, on_success=Callback(does.complain)),
        queue.enqueue("tests.tasks.callback_tasks.gone", 1),
    ]


def marks(jobs: list[Job]) -> list[Any]:
    return [job.connection.lrange(f"marks:{job.id}", 0, -1) for job in jobs]


def test_they_are_called_as_stock_rq_calls_them(redis: Any, redis_url: str) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as connection,
    ):
        stock = Queue("default", connection=connection)
        jobs = enqueue(stock)
        worker = SimpleWorker([stock], connection=connection, exception_handlers=HANDLERS)
        worker.work(burst=True, logging_level="CRITICAL")
        by_stock = marks(jobs)
    assert by_stock[0] == [b"handled ValueError because True failed ('because',)", b"handled last"]
    jobs = enqueue(Queue("default", connection=redis))
    names = [f"--exception-handler={each.__module__}.{each.__name__}" for each in HANDLERS]
    assert work(redis_url, *names)[0] == 0
    *others, missing = marks(jobs)
    assert others == by_stock[:-1]
    assert missing[-1] == b"handled last"  # its error has another name, see test_refusals


@pytest.mark.usefixtures("redis")
def test_one_that_is_missing_is_told_at_the_start(redis_url: str) -> None:
    code, said = work(redis_url, "--exception-handler", "tests.tasks.callback_tasks.gone")
    assert code == 2
    assert "--exception-handler 'tests.tasks.callback_tasks.gone': ValueError: Invalid" in said


def ends(jobs: list[Job], queue: Queue) -> list[Any]:
    return [
        (
            job.get_status(),
            len(job.results()),
            job in queue.failed_job_registry,
            job.connection.ttl(job.key) > 0,
        )
        for job in jobs
    ]


def fail_and_more(queue: Queue) -> list[Job]:
    failing = queue.enqueue(does.fail, "because", failure_ttl=10)
    return [
        failing,
        queue.enqueue(does.fail, "again", retry=Retry(max=1)),
        queue.enqueue(does.add, 1, depends_on=Dependency(failing, allow_failure=True)),
        queue.enqueue(does.ask_for_more),
    ]


def test_without_the_default_one_a_failure_is_left_to_them(redis: Any, redis_url: str) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as connection,
    ):
        stock = Queue("default", connection=connection)
        jobs = fail_and_more(stock)
        worker = SimpleWorker(
            [stock], connection=connection, disable_default_exception_handler=True
        )
        worker.work(burst=True, logging_level="CRITICAL")
        by_stock = ends(jobs, stock)
    assert by_stock[0] == ("failed", 0, False, False)
    queue = Queue("default", connection=redis)
    jobs = fail_and_more(queue)
    assert work(redis_url, "-d")[0] == 0
    assert ends(jobs, queue) == by_stock

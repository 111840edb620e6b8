"""Callbacks: what stock rq does with a job and around it, Heori does, in each model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import redis as redis_py
from rq import Callback, Queue, Retry, SimpleWorker
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from heori_common.embedded import EmbeddedValkey
from tests.rigs.side_by_side import parameters
from tests.rigs.waiting import until
from tests.tasks import callback_tasks as does
from tests.tasks import sample_tasks

# What rq 2 does with a callback that is a coroutine: nothing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine 'later' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LARGE = {"own": "x" * 1_200_000}
FAILURE = {"on_failure": Callback(does.failed)}

# Which function, with which arguments, and how it is enqueued.
CASES: Mapping[str, tuple[Any, tuple[Any, ...], Mapping[str, Any]]] = {
    "success": (does.add, (1, 2), {"on_success": Callback(does.succeeded)}),
    "by name": (does.add, (1, 2), {"on_success": Callback("tests.tasks.callback_tasks.succeeded")}),
    "asks": (does.add, (1, 2), {"on_success": Callback(does.ask)}),
    "notes": (does.add, (1, 2), {"on_success": Callback(does.note), "meta": {"own": 1}}),
    "large": (does.add, (1, 2), {"on_success": Callback(does.succeeded), "meta": LARGE}),
    "saves": (does.add, (1, 2), {"on_success": Callback(does.save)}),
    "not kept": (does.add, (1, 2), {"on_success": Callback(does.succeeded), "result_ttl": 0}),
    "unserialisable": (does.lose_itself, (), {"on_success": Callback(does.succeeded)}),
    "complains": (does.add, (1, 2), {"on_success": Callback(does.complain)}),
    "complains and fails": (does.add, (1, 2), {"on_success": Callback(does.complain), **FAILURE}),
    "coroutine": (does.add, (1, 2), {"on_success": Callback(does.later)}),
    "missing": (
        does.add,
        (1, 2),
        {"on_success": Callback("tests.tasks.callback_tasks.gone"), **FAILURE},
    ),
    "late": (does.add, (1, 2), {"on_success": Callback(does.dawdle, timeout=1), **FAILURE}),
    "only one is missing": (
        does.add,
        (1, 2),
        {"on_failure": Callback("tests.tasks.callback_tasks.gone")},
    ),
    "failure": (does.fail, ("because",), {"on_success": Callback(does.succeeded), **FAILURE}),
    "fails twice": (does.fail, ("because",), {"on_failure": Callback(does.fail_again)}),
    "each attempt": (does.fail, ("because",), {"retry": Retry(max=2), **FAILURE}),
    "late itself": (does.sleep_on, (), {"job_timeout": 1, **FAILURE}),
    "coroutine task": (sample_tasks.add_later, (1, 2), {"on_success": Callback(does.succeeded)}),
    "returns Retry": (does.ask_for_more, (), {"on_success": Callback(does.succeeded), **FAILURE}),
    "wrong argument": (does.add, ("a", "b", "c"), FAILURE),
}


class End(NamedTuple):
    """What came of a job."""

    status: str
    marks: list[str]
    kept: object  # its result, or the last line of its traceback
    meta: Mapping[str, object]
    description: str | None
    registered: bool  # among the failed


GONE = End("gone", [], None, {}, None, False)


def enqueue(queue: Queue) -> dict[str, Job]:
    return {
        name: queue.enqueue(function, *args, **how) for name, (function, args, how) in CASES.items()
    }


def has_ended(job: Job) -> bool:
    status = job.connection.hget(job.key, "status")  # none is left of one that is not kept
    return status in (None, b"finished", b"failed")


def end_of(job: Job, queue: Queue) -> End:
    marks = [str(each) for each in job.connection.lrange(f"marks:{job.id}", 0, -1)]
    if not job.connection.exists(job.key):
        return GONE._replace(marks=marks)
    job.refresh()  # type: ignore[no-untyped-call]
    result = job.latest_result()
    assert result is not None
    kept = result.exc_string.splitlines()[-1] if result.exc_string else result.return_value
    return End(
        job.get_status().value,
        marks,
        kept,
        job.meta,
        job.description,
        job in queue.failed_job_registry,
    )


@pytest.fixture(scope="module")
def stock_ends() -> dict[str, End]:
    """What comes of each of them in stock rq."""
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as connection,
    ):
        queue = Queue("default", connection=connection, serializer=JSONSerializer)
        jobs = enqueue(queue)
        worker = SimpleWorker([queue], connection=connection, serializer=JSONSerializer)
        worker.work(burst=True, logging_level="CRITICAL")
        return {name: end_of(job, queue) for name, job in jobs.items()}


@pytest.mark.usefixtures("shared")
def test_callbacks_are_run_as_stock_rq_runs_them(redis: Any, stock_ends: dict[str, End]) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    jobs = enqueue(queue)
    until(lambda: all(has_ended(job) for job in jobs.values()))
    ends = {name: end_of(job, queue) for name, job in jobs.items()}
    assert ends == stock_ends


@pytest.mark.parametrize("shared", ["threads"], indirect=True)
@pytest.mark.usefixtures("shared")
def test_a_callback_needs_the_permission_that_a_function_needs(redis: Any) -> None:
    """It is asked before the function runs; a name that leads out of its module is none at all."""
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    refused = "'os.system' is no registered task and under no allowed prefix"
    none = "ValueError: Invalid attribute name: system"
    for name, when, says, runs in [
        ("os.system", "on_success", refused, 0),
        ("os.system", "on_failure", refused, 0),
        ("tests.tasks.callback_tasks.os.system", "on_success", none, 1),
    ]:
        job = queue.enqueue(does.leave_a_mark, **{when: Callback(name)})
        result = job.latest_result(timeout=60)
        assert result is not None
        assert says in str(result.exc_string)
        assert redis.llen(f"marks:{job.id}") == runs


@pytest.mark.usefixtures("shared")
def test_stopped_callbacks_are_run(redis: Any, request: pytest.FixtureRequest) -> None:
    """In stock rq the parent of the work horse runs them: what they see and leave is the same."""
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    well, badly = Callback(does.stopped), Callback(does.stopped_badly, timeout=30)
    cases: list[tuple[Callable[..., object], tuple[object, ...], Callback, bytes]] = [
        (does.say_so_and_sleep_on, (), well, b"stopped []"),
        (does.say_so_and_sleep_on, (), badly, b"stopped badly"),
    ]
    model = parameters(request.node)["shared"]
    if model != "inline":  # there nothing reaches what sleeps in C
        cases.append((does.say_so_and_sleep_in_c, (600.0,), well, b"stopped [600.0]"))
    if model == "threads":  # whose callback takes longer than a job may that is to stop
        cases.append(
            (does.say_so_and_sleep_on, (), Callback(does.stopped_slowly), b"stopped slowly")
        )
    for function, args, callback, mark in cases:
        job = queue.enqueue(function, *args, on_stopped=callback, on_failure=Callback(does.failed))
        assert redis.blpop([f"runs:{job.id}"], 120)
        send_stop_job_command(redis, job.id)
        until(lambda job=job: job.get_status() not in ("started", "queued"))  # type: ignore[misc]
        result = job.latest_result()
        assert result is not None
        assert job.get_status() == "stopped", result.exc_string
        assert result.exc_string == "Job stopped by user, work-horse terminated."
        assert redis.lrange(f"marks:{job.id}", 0, -1) == [mark]
        assert job in queue.failed_job_registry

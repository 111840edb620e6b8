"""Code that changes while consumers run: old and new ones side by side, as in a rolling deploy."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue, Retry
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from heori import Producer
from heori_common.protocol.payload import BadPayload, decode_call
from heori_common.protocol.unpickling import Pickles
from heori_common.tasks import Task
from tests.rigs.commands import Heori
from tests.rigs.consumers import MODELS, Consumer
from tests.rigs.waiting import is_alive, until

OLD = {
    "tasks.py": """
from heori import task

@task(retry=2)
def greet(name: str) -> str:
    return f"hello {name}"
""",
}
NEW = {
    "tasks.py": """
from heori import task

@task(retry=2)
def greet(name: str, politely: bool) -> str:
    return f"good day {name}"

@task
def fresh(number: int) -> str:
    return f"fresh {number}"

def double(number: int) -> int:
    return 2 * number
""",
    "later.py": """
def triple(number: int) -> int:
    return 3 * number
""",
}

Deploy = Callable[..., Consumer]


@pytest.fixture
def deploy(tmp_path: Path, consume: Callable[..., Consumer]) -> Deploy:
    """Start a consumer of one of the two versions of an application."""
    for version, files in {"old": OLD, "new": NEW}.items():
        package = tmp_path / version / "deployed"
        package.mkdir(parents=True)
        for name, text in {"__init__.py": "", **files}.items():
            (package / name).write_text(text)

    def start(version: str, *arguments: str, fresh: bool = False, **environment: str) -> Consumer:
        return consume(
            *arguments,
            fresh=fresh,
            HEORI_TASKS="deployed.tasks",
            HEORI_ALLOW="deployed",
            PYTHONPATH=str(tmp_path / version),
            **environment,
        ).ready()

    return start


@pytest.fixture
def stock(redis: Any) -> Queue:
    return Queue("default", connection=redis, serializer=JSONSerializer)


def waits(job: Job) -> bool:
    """Whether it waits for a consumer whose code knows its task."""
    return bool(job.connection.hexists(job.key, "heori_unknown"))


def result_of(job: Job) -> Any:
    until(job.latest_result, timeout=180)  # several looks, on a machine that is busy
    result = job.latest_result()
    assert result is not None
    assert result.exc_string is None
    return result.return_value


def error_of(job: Job) -> str | None:
    until(job.latest_result, timeout=180)  # several looks, on a machine that is busy
    result = job.latest_result()
    assert result is not None
    return result.exc_string


@pytest.mark.parametrize("model", MODELS)
def test_jobs_of_tasks_that_an_old_consumer_does_not_know_wait_for_a_new_one(
    model: str, deploy: Deploy, stock: Queue, redis: Any, heori: Heori
) -> None:
    old = deploy("old", *MODELS[model])
    jobs = {
        stock.enqueue("deployed.tasks.fresh", 1): "fresh 1",  # a task
        stock.enqueue("deployed.tasks.double", 2): 4,  # of rq's own, in a module that is older
        stock.enqueue("deployed.later.triple", 3): 9,  # in a module that is not there
        stock.enqueue(
            "heori_common.chunks.run_chunk", "deployed.tasks.fresh", [[4], [5]], [None] * 2
        ): [
            ["fresh 4", None],
            ["fresh 5", None],
        ],
        Queue("default@@acme", connection=redis, serializer=JSONSerializer).enqueue(
            "deployed.tasks.fresh", 6
        ): "fresh 6",
    }
    first = next(iter(jobs))
    after = stock.enqueue("deployed.tasks.fresh", 7, depends_on=first)
    unwanted = stock.enqueue("deployed.tasks.fresh", 8)
    refused = stock.enqueue("somewhere.else", 9)
    assert "under no allowed prefix" in (error_of(refused) or ""), "policy needs no waiting"
    for job in (*jobs, unwanted):
        until(lambda job=job: waits(job))  # type: ignore[misc]
        assert job.get_status() in (JobStatus.SCHEDULED, JobStatus.QUEUED, JobStatus.STARTED)
    assert after.get_status() == JobStatus.DEFERRED
    until(lambda: unwanted.get_status() == JobStatus.SCHEDULED)
    unwanted.cancel()
    shown: dict[str, Any] = {}

    def is_shown() -> bool:  # not while the old consumer looks at it once more
        shown.update(json.loads(heori("job", first.id, "--json").stdout))
        return "waits_for" in shown

    until(is_shown)
    assert "deployed.tasks has no function fresh" in shown["waits_for"]
    assert shown["waits_since"]

    deploy("new", "--slots", "2")
    assert {job.id: result_of(job) for job in jobs} == {job.id: told for job, told in jobs.items()}
    assert result_of(after) == "fresh 7"
    assert unwanted.get_status() == JobStatus.CANCELED
    assert {redis.hget(job.key, "heori_deliveries") for job in jobs} == {b"1"}, "uncounted"
    assert old.metric("heori_jobs_unknown_total", fate="put off") >= len(jobs) + 1
    until(lambda: old.metric("heori_jobs_total", outcome="failed") == 1)
    told = [line for line in old.log if line["event"].startswith("a job waits for a consumer")]
    assert len(told) <= 3 * len(old.workers or [old]), "each reason is told once a worker"
    assert old.stop() == 0


def test_a_task_that_no_consumer_knows_is_refused_by_its_name(deploy: Deploy, stock: Queue) -> None:
    consumers = [deploy("old", HEORI_UNKNOWN_WAIT="1") for _ in range(2)]
    job = stock.enqueue("deployed.tasks.fresh", 1, retry=Retry(max=1))
    assert error_of(job) == (
        "deployed.tasks has no function fresh; no consumer of default that has had this job knows "
        "it (HEORI_UNKNOWN_WAIT=1)\n"
    )
    assert job.get_status() == JobStatus.FAILED
    until(
        lambda: (
            sum(each.metric("heori_jobs_unknown_total", fate="given up") for each in consumers) == 2
        )
    )
    job.requeue()
    until(lambda: waits(job))  # it waits anew


def test_arguments_that_the_old_code_does_not_take_are_tried_again_as_the_task_says(
    deploy: Deploy, producer: Producer
) -> None:
    old = deploy("old")

    def greet(name: str, politely: bool) -> str: ...  # type: ignore[empty-body]

    greet.__module__, greet.__qualname__ = "deployed.tasks", "greet"
    task = Task(greet, "default", 180)
    [handle] = producer.send_jobs(task, [producer.encode(task, ("Ada", True), {})])
    line = old.wait_for("job failed")
    assert "argument 2: Unexpected positional argument" in line["error"]
    assert old.stop() == 0
    deploy("new")
    assert handle.result(60) == "good day Ada"


FINE = """
from heori import task

@task
def version() -> int:
    import deployed.helpers
    return VERSION * 10 + deployed.helpers.VERSION
"""


def write(folder: Path, version: int, tail: str = "") -> None:
    """Deploy under a running consumer: its files are other ones from now on."""
    for name, text in {
        "helpers.py": f"VERSION = {version}\n",
        "tasks.py": f"VERSION = {version}\n{FINE}\n{tail}",
    }.items():
        new = folder / f"{name}.new"
        new.write_text(text)
        new.replace(folder / name)  # in one step: a worker may be just importing it


def test_a_recycled_worker_runs_the_files_of_now_and_one_that_cannot_leaves_the_old_one_at_work(
    deploy: Deploy, stock: Queue, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "deployed"
    write(folder, 1)
    consumer = deploy(
        *("new", "--slots", "2", "--recycle-after", "2"), fresh=True, PYTHONDONTWRITEBYTECODE="1"
    )  # files that change within a second look the same to its cache

    def run() -> int:
        return int(result_of(stock.enqueue("deployed.tasks.version")))

    assert run() == 11
    write(folder, 2, "raise RuntimeError('no licence')")
    assert run() == 11, "what a worker has imported stays"
    line = consumer.wait_for("a worker cannot start; it is tried again, less and less often")
    assert "deployed.tasks cannot be imported: RuntimeError: no licence" in line["reason"]
    [worker] = consumer.workers[:1]
    tries = "heori_worker_restarts_total"
    until(lambda: consumer.metric(tries, reason="cannot start") >= 3)
    assert [run() for _ in range(5)] == [11] * 5, "the old one works"
    assert consumer.metric("heori_workers_cannot_start") == 1
    with urllib.request.urlopen(consumer.url + "/readyz", timeout=60) as answer:
        assert "no licence" in json.load(answer)["cannot_start"]
    assert consumer.metric(tries, reason="recycle-after") == 1
    write(folder, 3, "raise RuntimeError('another reason')")
    line = consumer.wait_for("a worker cannot start; it is tried again, less and less often")
    assert "another reason" in line["reason"]
    write(folder, 4)
    consumer.wait_for("workers can start again")
    until(lambda: not is_alive(worker))
    assert run() == 44
    assert consumer.metric("heori_workers_cannot_start") == 0
    said = [line["event"] for line in consumer.log if line["level"] in ("error", "warning")]
    assert said == ["a worker cannot start; it is tried again, less and less often"] * 2
    assert consumer.stop() == 0


def test_a_consumer_whose_workers_cannot_start_again_stops_at_once_and_gives_its_jobs_back(
    deploy: Deploy, stock: Queue, tmp_path: Path, redis: Any
) -> None:
    folder = tmp_path / "new" / "deployed"
    write(folder, 1, "import os\n\n@task\ndef leave() -> None:\n    os._exit(7)\n")
    consumer = deploy("new", "--slots", "2")
    (folder / "tasks.py").write_text("raise RuntimeError('no licence')")
    job = stock.enqueue("deployed.tasks.leave")
    tries = {"reason": "cannot start"}
    until(lambda: consumer.metric("heori_worker_restarts_total", **tries) >= 3)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(consumer.url + "/readyz", timeout=60)
    assert consumer.stop() == 0
    assert redis.lrange("rq:queue:default", 0, -1) == [job.id.encode()]
    assert redis.hget(job.key, "heori_deliveries") == b"1", "only the worker that it has killed"


def test_a_pickle_of_a_class_that_is_not_there_may_be_read_elsewhere() -> None:
    allowed = Pickles(("deployed.", "heori."))
    for data in (b"\x80\x02cdeployed.shapes\nPoint\n.", b"\x80\x02cheori\nPoint\n."):
        with pytest.raises(BadPayload, match="here") as caught:
            decode_call(data, ("json", "pickle"), 1000, allowed)
        assert caught.value.elsewhere
    with pytest.raises(BadPayload, match="is damaged") as caught:
        decode_call(b"\x80\x05garbage", ("json", "pickle"), 1000, allowed)
    assert not caught.value.elsewhere
    assert "deployed" not in sys.modules


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Modules in which something is wrong with the tasks, and one in which nothing is."""
    texts = {
        "empty": "def add(a, b): return a + b\n",
        "twice": "from heori import task\n@task\ndef a(): ...\n@task\ndef a(): ...\n",
        "fine": "from heori import task\n@task\ndef a(): ...\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("fine.py", "there is no module 'fine.py'; name it as an import statement does: fine"),
        ("fine:a", "name it as an import statement does: fine"),
        ("__main__", "move the tasks to a module with a name"),
        ("empty", "has no task: @task stands above no function when it is imported"),
        ("fine,twice", "twice.a is there twice: the tasks at lines 2 and 4 of"),
    ],
)
def test_a_consumer_does_not_start_with_what_cannot_be_meant(
    named: str, told: str, modules: Path, heori: Heori
) -> None:
    two = ("--model", "hybrid", "--processes", "2")
    ended = heori("consume", *two, HEORI_TASKS=named, PYTHONPATH=str(modules))
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("heori: ") == 1
    if "twice" not in named:  # which says where the second one is
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) <= 2


def test_a_module_without_a_task_among_others_is_told_of_once(
    modules: Path, consume: Callable[..., Consumer]
) -> None:
    consumer = consume(
        *("--model", "processes", "--processes", "2"),
        HEORI_TASKS="fine,empty",
        PYTHONPATH=str(modules),
    )
    line = consumer.wait_for("a module of HEORI_TASKS has no task")
    assert "empty.py) has no task" in line["reason"]
    consumer.ready()
    assert consumer.stop() == 0
    assert [each["event"] for each in consumer.log].count(line["event"]) == 1

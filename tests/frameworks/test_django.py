"""A real Django project, its own programs, and a real worker; `project.py` tells of them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from heori import JobFailed, Producer
from heori_common.tasks import Task
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

# In one thread each, which has one connection.
MODELS = {
    "threads": ["--slots", "1"],
    "processes": ["--processes", "1"],
    "hybrid": ["--processes", "1", "--slots", "1"],
    "asyncio": ["--processes", "1", "--slots", "1"],
    "inline": [],
}
EXAMPLE = Path(__file__).parents[2] / "examples/django"

Manage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's, with its tables."""
    made = tmp_path_factory.mktemp("database") / "shop.sqlite3"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--run-syncdb", "--verbosity", "0"],
        cwd=EXAMPLE,
        env={**os.environ, "SHOP_DATABASE": str(made)},
        check=True,
    )
    return made


@pytest.fixture
def environment(redis_url: str, database: Path, tmp_path: Path) -> dict[str, str]:
    """Of the project's programs."""
    shutil.copy(database, tmp_path)
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEORI_")}
    return own | {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "PYTHONPATH": os.pathsep.join(
            [str(EXAMPLE), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "REDIS_URL": redis_url,
        "SHOP_DATABASE": str(tmp_path / "shop.sqlite3"),
    }


@pytest.fixture
def manage(environment: dict[str, str]) -> Manage:
    """Run a command of `manage.py` to its end."""

    def run(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, str(EXAMPLE / "manage.py"), *words],
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """`manage.py heori_worker`, from another directory than the project's; its log."""
    log = tmp_path / "worker.log"
    words = ["heori_worker", "mail", "default", "--name", "packer"]
    with (
        log.open("w") as told,
        subprocess.Popen(
            [sys.executable, str(EXAMPLE / "manage.py"), *words],
            env=environment,
            cwd=tmp_path,
            stderr=told,
        ) as process,
    ):
        try:
            yield log
        finally:
            process.terminate()
    print(log.read_text())  # is shown when the test has failed
    assert process.returncode == 0


def test_a_project_sends_its_tasks_and_reads_what_came_of_them(
    worker: Path, environment: dict[str, str], redis: "redis_py.Redis"
) -> None:
    program = Path(__file__).parent / "project.py"
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    confirmed = {
        "status": "SUCCESSFUL",
        "attempts": 1,
        "value": "confirmed to Ann",
        "errors": [],
        "queue": "mail",
        "args": [1],
        "in order": True,
    }
    assert (seen["sent after a rollback"], seen["sent before the commit"]) == (0, 0)
    assert seen["confirm"] == seen["read by its id"] == confirmed
    assert seen["count"] == confirmed | {
        "value": {"orders": 1, "attempt": 1},
        "queue": "default",
        "args": [],
    }
    assert seen["pack"] == confirmed | {
        "status": "FAILED",
        "attempts": 3,
        "value": None,
        "errors": ["shop.models.Order.DoesNotExist"],
        "queue": "default",
        "args": [0],
    }
    assert seen["later"] == confirmed | {"queue": "default", "not before": True}
    assert seen["waiting"] == ["READY", "READY"]
    assert seen["signals"] == 5
    assert "priority" in seen["priority"]
    assert seen["priority"].startswith("InvalidTask")
    assert "'elsewhere'" in seen["queue"]
    assert seen["queue"].startswith("InvalidTask")
    assert seen["arguments"].startswith("TypeError: ")
    assert seen["unknown id"] == "TaskResultDoesNotExist"
    assert seen["of another"] == "TaskResultMismatch"
    # RQ's and Heori's own tools know each job by the task's own name.
    shown = {redis.hget(key, "description") for key in redis.scan_iter("rq:job:*")}
    assert {b"shop.tasks.confirm(1)", b"shop.tasks.count()", b"shop.tasks.pack(0)"} == shown


def test_a_command_sends_on_commit(manage: Manage, worker: Path, redis: "redis_py.Redis") -> None:
    done = manage("order", "Bob")
    assert (done.stdout, done.stderr) == ("order 1\n", "")
    until(lambda: redis.zcard("rq:finished:mail"), 250)


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["--backend", "none"], {}, "none"),
        (["--nonsense"], {}, "No such option"),
        ([], {"REDIS_URL": "nonsense"}, "redis_url"),
    ],
)
def test_what_does_not_fit_is_told_at_once(
    manage: Manage, words: list[str], more: dict[str, str], said: str
) -> None:
    done = manage("heori_worker", *words, **more)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def sent_one_by_one(producer: Producer, *names: str) -> list[object]:
    """What comes of tasks that are sent once the one before has ended."""

    def task() -> int:
        raise NotImplementedError

    results: list[object] = []
    for name in names:
        sent = Task(task, "default", 180)
        sent.name = f"tests.frameworks.connections.{name}"  # to import it would need Django
        [handle] = producer.send_jobs(sent, [producer.encode(sent, (), {})])
        results.append(handle.result(timeout=250))
    return results


@pytest.mark.parametrize("model", MODELS)
def test_a_closed_connection_does_not_fail_the_next_job(
    model: str, environment: dict[str, str], consume: Callable[..., Consumer], producer: Producer
) -> None:
    own = environment | {
        "HEORI_TASKS": "heori.django.tasks,tests.frameworks.connections",
        "HEORI_MIDDLEWARE": "heori.django.CloseOldConnections",
    }
    consume("--model", model, *MODELS[model], **own).ready()
    assert sent_one_by_one(producer, "leave_closed", "count", "leave_closed", "count") == [0] * 4
    later = ("leave_closed_later", "count_later", "leave_closed_later", "count_later")
    assert sent_one_by_one(producer, *later) == [0] * 4


def test_without_the_middleware_it_does(
    environment: dict[str, str], consume: Callable[..., Consumer], producer: Producer
) -> None:
    own = environment | {"HEORI_TASKS": "heori.django.tasks,tests.frameworks.connections"}
    consume("--model", "threads", *MODELS["threads"], **own).ready()
    for names in (("leave_closed", "count"), ("leave_closed_later", "count_later")):
        with pytest.raises(JobFailed, match="closed database"):
            sent_one_by_one(producer, *names)

"""What jobs leave behind: programs, orphans, output that was not written yet, handlers."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from heori import Handle, JobFailed, Producer
from heori_consumer.worker.chance import draw_anew
from tests.rigs.consumers import IN_PROCESSES, MODELS, Consumer
from tests.rigs.waiting import is_alive, until
from tests.tasks import program_tasks

TASKS = "tests.tasks.program_tasks"


def programs(name: str) -> int:
    """How many of the programs that are called so still run."""
    argument = f"\0{311}.{name}\0".encode()
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found += argument in path.read_bytes()
    return found


@pytest.fixture
def name() -> str:
    """A number that no other test's programs have, as their time has it behind the point."""
    return str(uuid.uuid4().int)[:30]


def told(path: Path) -> dict[str, list[str]]:
    """Which processes have told what, from the start of a worker to its end."""
    told: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        what, process = line.split()
        told.setdefault(process, []).append(what)
    return told


def fate(handle: Handle[Any]) -> str:
    """What it has returned, or why it failed."""
    try:
        return str(handle.result(60))
    except JobFailed as error:
        return str(error)


@pytest.mark.parametrize("model", MODELS)
def test_what_its_jobs_have_started_ends_with_a_worker_and_what_they_wrote_is_there(
    model: str,
    name: str,
    consume: Callable[..., Consumer],
    producer: Producer,
    tmp_path: Path,
) -> None:
    events, file = tmp_path / "events", tmp_path / "file"
    environment = {
        "HEORI_TASKS": TASKS,
        "HEORI_TEST_OUTPUT": str(events),
        "HEORI_MAX_DELIVERIES": "1",
    }
    consumer = consume(*MODELS[model], **environment).ready()

    def late_ones_end_alone() -> bool:
        before = consumer.metric("heori_worker_restarts_total")
        late = [program_tasks.run_program_later, program_tasks.run_program_beside]
        handles = [
            producer.submit(program_tasks.run_program, name),
            *(producer.submit(task, name) for task in late),
        ]
        ends = [fate(handle) for handle in handles]
        until(lambda: programs(name) == 0)
        if consumer.metric("heori_worker_restarts_total") > before:
            return False
        return all("JobTimeout" in end for end in ends)

    # A late job takes its programs along, and its worker lives on, if it does not stand still then.
    assert any(late_ones_end_alone() for _ in range(5))

    if model in IN_PROCESSES:  # a crash would end all
        with pytest.raises(JobFailed, match="SIGKILL"):
            producer.submit(program_tasks.crash_with_programs, name).result(60)
        until(lambda: programs(name) == 0)

    assert producer.submit(program_tasks.fork_children).result(60) == [[0, 1, 4], -signal.SIGTERM]
    producer.submit(program_tasks.print_everywhere, str(file)).result(60)
    if model == "threads":
        use = producer.submit_many(program_tasks.use_what_is_the_modules, [{"at_once": True}] * 2)
        fates = [fate(handle) for handle in use]
        assert sum("bound to a different event loop" in each for each in fates) == 1
        assert sum("run async tasks with --model asyncio" in each for each in fates) == 1
        assert fates.count("used") == 1
    else:
        for _ in range(0 if model == "hybrid" else 3):
            use_it = producer.submit(program_tasks.use_what_is_the_modules, at_once=False)
            assert use_it.result(60) == "used"
    if model == "processes":
        asked = [program_tasks.be_woken, program_tasks.left_of_alarms] * 3
        answers = [producer.submit(each) for each in asked]  # both processes get some of each
        for each, answer in zip(asked, answers, strict=True):
            expected = "woken" if each is program_tasks.be_woken else [0.0, False]
            assert answer.result(60) == expected
    assert producer.submit(program_tasks.leave_programs, name).result(60) == "left"
    until(lambda: programs(name) == len(program_tasks.WAYS))
    consumer.process.send_signal(signal.SIGTERM)
    assert consumer.process.wait(60) == 0
    until(lambda: programs(name) == 0)
    until(consumer.nothing_left)

    if model in IN_PROCESSES:  # else the interpreter does so at its end, which tests cut short
        assert file.read_text(encoding="utf-8") == "to a file"
    assert consumer.process.stdout is not None
    output = consumer.process.stdout.read()
    for part in ("to the standard output", " and the one at the start", " and from C"):
        assert part in output
    lives = told(events)
    assert all(life[0] == "start" for life in lives.values())
    ended = [life for life in lives.values() if life != ["start"]]
    assert ended == [["start", "end", "atexit"]] * len(ended)
    assert len(ended) >= 1


def test_a_hook_that_fails_keeps_a_worker_from_taking_jobs_and_is_told(
    consume: Callable[..., Consumer], tmp_path: Path
) -> None:
    events = tmp_path / "events"
    (tmp_path / "events-fails").touch()
    consumer = consume(HEORI_TASKS=TASKS, HEORI_TEST_OUTPUT=str(events))
    assert consumer.join() == 2
    text = "\n".join(line["event"] for line in consumer.log)
    assert "on_worker_start: tests.tasks.program_tasks.begin has failed" in text
    assert "ConnectionError: no database" in text
    assert "consuming" not in text
    assert [*told(events).values()] == [["atexit"]]


def test_a_recycled_worker_whose_hooks_fail_or_hang_holds_nobody_up(
    consume: Callable[..., Consumer], producer: Producer, tmp_path: Path
) -> None:
    fails, hangs = tmp_path / "events-fails", tmp_path / "events-hangs"
    environment = {"HEORI_TEST_OUTPUT": str(tmp_path / "events"), "HEORI_GRACE": "1"}
    consumer = consume("--recycle-after", "1", HEORI_TASKS=TASKS, **environment).ready()
    fails.touch()
    first: Any = producer.submit(program_tasks.who).result(60)
    line = consumer.wait_for("a worker cannot start; it is tried again, less and less often")
    assert line["reason"] == (
        "on_worker_start: tests.tasks.program_tasks.begin has failed: ConnectionError: no database"
    )
    again: Any = producer.submit(program_tasks.who).result(60)
    assert again["pid"] == first["pid"]  # it goes on
    hangs.touch()
    fails.unlink()
    consumer.wait_for("workers can start again")
    consumer.wait_for("a worker has not ended in time; killing it")
    assert consumer.stop() == 0
    lives = told(tmp_path / "events")
    assert lives[str(first["pid"])] == ["start", "end"]


def test_without_an_init_orphans_are_buried_and_when_all_is_killed_programs_end(
    name: str, consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume(program="tests.rigs.first_process", HEORI_TASKS=TASKS).ready()
    supervisor = psutil.Process(consumer.process.pid)
    forkserver = consumer.family[0]

    def zombies() -> list[psutil.Process]:
        every = supervisor.children(recursive=True)
        return [each for each in every if not is_alive(each)]

    producer.submit(program_tasks.leave_orphans).result(60)
    until(lambda: not zombies())
    forkserver.kill()
    consumer.wait_for("the process that forks the workers has died; they go on")
    producer.submit(program_tasks.leave_orphans).result(60)
    until(lambda: not zombies())
    producer.submit(program_tasks.leave_programs, name).result(60)
    # Nobody is left to kill the worker, which ends by itself.
    supervisor.kill()
    until(lambda: programs(name) == 0)
    until(consumer.nothing_left)


def test_workers_draw_their_own_numbers_and_share_tasks_only_when_told(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--model", "processes", "--processes", "3", "--preload", HEORI_TASKS=TASKS)
    consumer.ready()
    seen: dict[Any, dict[str, Any]] = {}

    def all_seen() -> bool:
        for handle in producer.submit_many(program_tasks.who, [()] * 20):
            about: Any = handle.result(60)
            seen.setdefault(about["pid"], about)
        return len(seen) == 3

    until(all_seen)
    assert {about["hook"] for about in seen.values()} == seen.keys()
    assert all(about["main thread"] for about in seen.values())
    assert len({about["random"] for about in seen.values()}) == 3
    # The first imports them itself, to find out whether they can be; the others share what it had.
    assert len({about["own"] for about in seen.values()}) == 2
    assert seen.keys() & {os.getpid()} == set()


def test_the_generator_of_numpy_is_seeded_anew_as_that_of_python_is() -> None:
    numpy = pytest.importorskip("numpy")
    drawn = set()
    for _ in range(2):
        random.seed(5)
        numpy.random.seed(5)
        draw_anew()
        drawn |= {random.random(), float(numpy.random.random())}
    assert len(drawn) == 4


ENDING = """
import gc, os, sys
from heori_consumer.worker.ending import Inheritance, say_goodbye

before, after = (open(path, "w") for path in sys.argv[1:3])
after.close()
inherited = Inheritance()
inherited.add()
if os.fork() == 0:
    before.write("opened before the fork")
    after = open(sys.argv[2], "w")
    after.write("opened in it")
    if sys.argv[3:]:
        gc.freeze()
    say_goodbye(inherited)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("frozen", [[], ["a task has frozen all"]])
def test_what_was_written_is_there_wherever_its_file_was_opened(
    frozen: list[str], tmp_path: Path
) -> None:
    files = [tmp_path / "before", tmp_path / "after"]
    subprocess.run([sys.executable, "-c", ENDING, *map(str, files), *frozen], check=True)
    assert [each.read_text() for each in files] == ["opened before the fork", "opened in it"]

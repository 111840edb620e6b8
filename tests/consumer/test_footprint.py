"""What processes take of a machine: those of a consumer share what they have in common, and no
process has imported what it does not use.
"""

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from heori import Producer
from heori_common.platform import TELLS_OF_THREADS, below
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

pytestmark = pytest.mark.skipif(
    not TELLS_OF_THREADS, reason="the system tells nothing of threads and memory"
)

# An interpreter that has imported what a consumer needs has written 30 MB and more. One that was
# started, and not forked, shares nothing of that with the process that has started it.
SHARED_KB = 8_000


def shared_kb(process: psutil.Process) -> int:
    """What a process has written, or the one that it is a fork of, and shares with others."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    [found] = [line.split()[1] for line in rollup if line.startswith("Shared_Dirty:")]
    return int(found)


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_all_processes_of_a_consumer_share_what_they_have_imported(
    model: str, consume: Callable[..., Consumer]
) -> None:
    consumer = consume("--model", model, "--processes", "1", fresh=True).ready()
    family = [psutil.Process(consumer.process.pid), *consumer.family]
    assert len(family) == 3
    assert min(map(shared_kb, family)) > SHARED_KB
    assert consumer.stop() == 0


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_python_that_warns_of_everything_has_nothing_to_warn_of(
    model: str, consume: Callable[..., Consumer], producer: Producer
) -> None:
    warns = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
    consumer = consume("--model", model, "--processes", "1", fresh=True, **warns).ready()
    assert producer.submit(sample_tasks.add, 1, 2).result(60) == 3
    assert consumer.stop() == 0
    assert [each for each in consumer.log if "Warning" in json.dumps(each)] == []


def files(pid: int) -> set[Path]:
    """What a process has open."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found.add(each.readlink())
    return found


def test_what_whoever_started_a_consumer_has_open_does_not_reach_its_workers(
    redis_url: str, redis: Any
) -> None:
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "HEORI_TASKS": "tests.tasks.sample_tasks",
        "HEORI_METRICS_PORT": "0",
    }
    reading, writing = os.pipe()
    pipe = Path(f"/proc/self/fd/{writing}").readlink()

    def have_it(pids: list[int]) -> list[int]:
        return [pid for pid in pids if pipe in files(pid)]

    with (
        os.fdopen(reading),
        os.fdopen(writing),
        subprocess.Popen(
            [sys.executable, "-m", "heori", "consume"],
            env=environment,
            pass_fds=[writing],
            stderr=subprocess.PIPE,
            text=True,
        ) as consumer,
    ):
        assert consumer.stderr is not None
        try:
            assert any("consuming" in line for line in consumer.stderr)
            assert have_it([consumer.pid]) == [consumer.pid]
            assert len(below(consumer.pid)) == 2
            assert have_it(below(consumer.pid)) == []
        finally:
            consumer.terminate()
            consumer.stderr.read()
        assert consumer.wait(60) == 0


def test_the_ends_of_a_link_take_little_however_much_has_come_over_it() -> None:
    program = """
from heori_consumer.between.frames import JOBS, pack, unpacker

def written():
    with open("/proc/self/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty:"))

frame = [JOBS, {number: "x" * 1000 for number in range(10)}]
packed = pack(frame)
links = [unpacker() for _ in range(20)]
before = written()
for _ in range(400):  # 4 MB
    for link in links:
        link.feed(packed)
        assert list(link) == [frame]
large = [JOBS, {1: "x" * 3_000_000}]
links[0].feed(pack(large)[:2_000_000])
assert list(links[0]) == []
links[0].feed(pack(large)[2_000_000:])
assert list(links[0]) == [large]
del links[0]
print(written() - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=120
    )
    assert int(ran.stdout) < 19 * 300  # kB


# What takes megabytes, or a twentieth of a second, and is there for what these do not do: to draw,
# to read a command line, to answer a scrape, to send a webhook, to be looked at by rq's tools, to
# use locks, to read what pickles name, to choose a size.
HEAVY = {
    "croniter",
    "email.parser",
    "fastapi",
    "heori_common.locks.lock",
    "heori_common.protocol.pickle_walk",
    "heori_consumer.auto.controller",
    "http.server",
    "jsonschema_rs",
    "logging.config",
    "multiprocessing",
    "pickletools",
    "prometheus_client",
    "pygments",
    "redis",
    "rich",
    "rq",
    "statistics",
    "structlog",
    "textual",
    "typer",
    "urllib.request",
}
TASKS = "from heori import task\n\n\n@task\ndef double(a: int) -> int:\n    return 2 * a\n"


@pytest.mark.parametrize("model", ["threads", "processes", "asyncio"])
def test_no_process_of_a_consumer_has_imported_what_it_does_not_use(
    model: str, consume: Callable[..., Consumer], redis: Any, tmp_path: Path
) -> None:
    (tmp_path / "light_tasks.py").write_text(TASKS)
    told = tmp_path / "told"
    told.mkdir()
    consumer = consume(
        *("--model", model, "--processes", "1"),
        program="tests.rigs.telling_modules",
        fresh=True,
        HEORI_TASKS="light_tasks",
        PYTHONPATH=str(tmp_path),
        HEORI_TEST_MODULES=str(told),
    ).ready()
    [worker] = consumer.workers
    job = Queue(connection=redis, serializer=JSONSerializer).enqueue("light_tasks.double", 4)
    until(lambda: job.get_status() == "finished")
    supervisor = consumer.process.pid
    assert consumer.stop() == 0
    modules = {int(file.name): set(json.loads(file.read_text())) for file in told.iterdir()}
    assert modules.keys() == {supervisor, worker.pid}
    assert "light_tasks" in modules[worker.pid] - modules[supervisor]
    assert [HEAVY & names for names in modules.values()] == [set(), set()]


def test_a_program_that_sends_has_imported_nothing_of_a_consumer_or_the_command_line(
    redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "light_tasks.py").write_text(TASKS)
    program = """
import json, sys
from heori import Producer
from light_tasks import double
with Producer(sys.argv[1]) as producer:
    producer.submit(double, 1)
print(json.dumps(list(sys.modules)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, redis_url],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    modules = set(json.loads(ran.stdout))
    assert "heori_producer" in modules
    unused = HEAVY | {"asyncio", "encodings.idna", "heori_consumer", "pickle", "ssl", "typer"}
    assert unused & modules == set()


@pytest.mark.parametrize(("slots", "least"), [(4, gc.get_threshold()[0]), (5_000, 50_000)])
def test_no_batch_of_jobs_has_garbage_looked_for_among_thousands_that_wait(
    slots: int, least: int, consume: Callable[..., Consumer], redis: Any
) -> None:
    consumer = consume(
        *("--model", "asyncio", "--processes", "1", "--slots", str(slots)),
        fresh=True,
        HEORI_ALLOW="gc",
    )
    job = Queue(connection=redis, serializer=JSONSerializer).enqueue("gc.get_threshold")
    until(lambda: job.get_status() == "finished")
    assert job.return_value() == [least, *gc.get_threshold()[1:]]
    assert consumer.stop() == 0

"""`heori up` as a person runs it: real processes, real files, and nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from heori import JobFailed, Producer
from heori.demo.display import where_heori_is
from heori.demo.tally import ConsumerCounts, Count, JobTally
from heori.examples import corpus, tasks
from heori.inspect.scraper import scrape
from heori_common.platform import TELLS_OF_THREADS
from heori_common.redis.client import RedisClient
from tests.rigs.commands import run_heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.rigs.zygote import Started

Up = Started | subprocess.Popen[str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a run keeps its temporary files. A short path, as sockets may be among them."""
    with tempfile.TemporaryDirectory(prefix="up-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def up(folder: Path) -> Iterator[Callable[..., Up]]:
    """Start `heori up`."""
    started: list[Up] = []

    def start(*arguments: str, customized: Path | None = None) -> Up:
        words = ("tests.rigs.hasty", "up", *arguments)
        # Settings that must not reach its processes, and a proxy that is not there.
        environment = {
            **os.environ,
            "TMPDIR": str(folder),
            "HEORI_ACCEPT": "pickle",
            "RQ_KEY_PREFIX": "other",
            "http_proxy": "http://127.0.0.1:9",
        }
        pipe = subprocess.PIPE
        process: Up
        if customized is None:
            process = Started(*words, env=environment, stdout=pipe, stderr=pipe)
        else:  # only an interpreter of its own reads that
            further = filter(None, (str(customized), environment.get("PYTHONPATH")))
            environment["PYTHONPATH"] = os.pathsep.join(further)
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                env=environment,
                stdout=pipe,
                stderr=pipe,
                text=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                process.terminate()


def running(up: Up) -> list[psutil.Process]:
    """All processes of a run that has got so far as to tell that jobs are done."""
    assert up.stdout is not None
    for line in up.stdout:
        for run, slots in re.findall(r"(\d+) of (\d+) slots run", line):
            assert int(run) <= int(slots)
        if re.search(r"done [1-9]", line):
            return psutil.Process(up.pid).children(recursive=True)
    raise AssertionError(f"it ended before a job was done: {up.communicate()}")


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    except psutil.NoSuchProcess:
        return True


# What has the processes of a run take the files of another folder.
ELSEWHERE = """
from pathlib import Path
from heori.examples import corpus
corpus.ROOT = Path({folder!r})
"""
# A part of the library, as all of it takes long.
SOME = ("asyncio", "encodings", "json", "unittest")


def own_files(root: Path) -> list[Path]:
    """All Python files below a folder that are no other package's."""
    return [
        path
        for path in root.rglob("*.py")
        if not {"site-packages", "dist-packages"} & set(path.parts[len(root.parts) :])
        and not path.is_symlink()
    ]


def test_every_file_of_the_library_can_be_worked_on() -> None:
    expected = own_files(Path(sysconfig.get_path("stdlib")))
    assert len(expected) > 1000
    assert sorted(map(corpus.resolve, corpus.files())) == sorted(expected)


@pytest.mark.parametrize("model", ["threads", "processes"])
def test_every_file_goes_through_every_task_once(
    up: Callable[..., Up], folder: Path, model: str, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    for package in SOME:
        shutil.copytree(Path(sysconfig.get_path("stdlib"), package), some / package)
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE.format(folder=str(some)))
    sizes = [path.stat().st_size for path in own_files(some)]
    assert len(sizes) > 100
    size = ["--slots", "8"] if model == "threads" else ["--processes", "4"]
    process = up("--json", "--model", model, *size, customized=tmp_path)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    told = json.loads(out)
    nothing_wrong = {"failed": 0, "lost": 0, "repeated": 0, "unfinished": 0}
    each = {"sent": len(sizes), "done": len(sizes), **nothing_wrong}
    tokens = told["tasks"]["count_tokens"]["tokens"]
    assert told["tasks"] == {
        "count_tokens": {**each, "tokens": tokens},
        "digest": {**each, "bytes": sum(sizes)},
        "fetch": {**each, "bytes": sum(sizes)},
    }
    assert sum(sizes) / 10 < tokens < sum(sizes)
    everything = {"sent": 3 * len(sizes), "done": 3 * len(sizes), "files": len(sizes)}
    numbers = {"processes": 1, "slots": 8} if model == "threads" else {"processes": 4, "slots": 1}
    expected = {**everything, **nothing_wrong, **numbers, "model": model}
    assert expected.items() <= told.items()
    assert told["agrees"] is True
    assert told["interrupted"] is False
    assert told["seconds"] > 0
    assert list(folder.iterdir()) == []


def test_ctrl_c_drains_and_leaves_nothing(up: Callable[..., Up], folder: Path) -> None:
    process = up("--for", "30s")
    family = running(process)
    commands = [" ".join(each.cmdline()) for each in family]
    for part in (
        "valkey-server",
        "fileserver",
        "heori.demo.producer",
        "heori.demo.consumer",
    ):
        assert any(part in command for command in commands), commands
    if TELLS_OF_THREADS:
        assert not any("forkserver" in command for command in commands), (
            "it is no fork, but started"
        )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert err == ""
    assert "the consumer's own metrics say the same" in out
    everything = re.search(r"^ *all +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)", out, re.MULTILINE)
    assert everything is not None
    sent, done, failed, unfinished, lost, repeated = (
        int(number.replace(",", "")) for number in everything.groups()
    )
    assert unfinished == sent - done
    # How many are left depends on when it was stopped; what there are must be told.
    left = re.findall(r"stopped with ([\d,]+) jobs not done", out)
    assert [int(number.replace(",", "")) for number in left] == [unfinished]
    assert process.returncode == (130 if unfinished else 0)
    assert done > 0
    assert (failed, lost, repeated) == (0, 0, 0)
    until(lambda: all(gone(each) for each in family))
    assert list(folder.iterdir()) == []


def test_it_says_how_to_look_at_it_from_another_terminal(up: Callable[..., Up]) -> None:
    process = up("--forever")
    assert process.stdout is not None
    told = ""
    while "Ctrl-C" not in told:
        line = process.stdout.readline()
        assert line, "it ended early"
        told += line
    assert max(map(len, told.splitlines())) <= 80
    [address] = re.findall(r"export HEORI_REDIS_URL=(\S+)", told)
    assert "heori top" in told
    assert "http://127.0.0.1:8080" in told, "where heori serve has the page unless told otherwise"
    seen = run_heori(address, "status", "--json")
    assert "stdlib" in json.loads(seen.stdout)["queues"], seen.stderr
    [metrics] = re.findall(r"curl (\S+)/metrics", told)
    assert ConsumerCounts.read(scrape(metrics, 60.0)).slots == 8
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    ending = out[out.index("draining") :]
    assert "heori consume" in ending, "it ends with what to do next"
    assert max(map(len, ending.splitlines())) <= 80


def test_killed_it_leaves_no_process(up: Callable[..., Up]) -> None:
    process = up("--forever")
    family = running(process)
    process.kill()
    process.communicate()
    until(lambda: all(gone(each) for each in family))


@pytest.mark.parametrize("moment", ["any", "while it is asked for its metrics"])
def test_a_process_that_dies_ends_the_run_and_is_named(
    up: Callable[..., Up], folder: Path, moment: str
) -> None:
    process = up("--forever")
    family = running(process)
    [consumer] = [
        each
        for each in family
        if "heori.demo.consumer" in each.cmdline() and each.ppid() == process.pid
    ]
    if moment != "any":
        consumer.suspend()
        metrics = {each.laddr for each in consumer.net_connections() if each.status == "LISTEN"}
        until(
            lambda: metrics & {each.raddr for each in psutil.Process(process.pid).net_connections()}
        )
    consumer.kill()
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, "heori: the consumer has ended by signal 9\n")
    until(lambda: all(gone(each) for each in family))
    assert [path for path in folder.iterdir() if path.name.startswith("heori")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "processes", "--slots", "4"], "one slot each"),
        (["--for", "5s", "--forever"], "exclude each other"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    up: Callable[..., Up], arguments: list[str], message: str
) -> None:
    process = up(*arguments)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert message in err


def test_the_tally_counts_each_job_once_and_misses_the_lost_ones(
    consume: Callable[..., Consumer], producer: Producer, redis_url: str, redis: Redis
) -> None:
    consumer = consume(queue=tasks.QUEUE, HEORI_TASKS=tasks.__name__).ready()
    paths = corpus.files()[:20]
    for handle in producer.submit_many(tasks.digest, paths[:10]):
        handle.result(60)
    with RedisClient(redis_url) as client:
        tally = JobTally(client)
        tally.count_and_forget(older=-1)
        assert tally.counts["digest"].done == 10
        assert not redis.exists("rq:finished:stdlib")
        assert not redis.keys("rq:job:*") + redis.keys("rq:results:*")

        counted = producer.submit_many(tasks.count_tokens, paths)
        tokens = sum(handle.result(60).tokens for handle in counted)
        with pytest.raises(JobFailed):
            producer.submit(tasks.digest, "../x.py").result(60)
        # It counts what has ended a moment after whoever waits for it is told.
        until(lambda: consumer.metric("heori_jobs_total", outcome="succeeded") == 30)
        until(lambda: consumer.metric("heori_jobs_total", outcome="failed") == 1)
        metrics = ConsumerCounts.read(scrape(consumer.url, timeout=60))
        consumer.stop()
        producer.submit_many(tasks.digest, paths[:3])
        redis.delete(f"rq:job:{counted[0].id}")
        redis.hset(f"rq:job:{counted[1].id}", "heori_deliveries", 3)
        tally.finish({"count_tokens": 20, "digest": 14, "fetch": 0})
    lost = corpus.files()[0]
    tokens -= tasks.count_tokens(lost).tokens
    size = sum(corpus.resolve(path).stat().st_size for path in paths[:10])
    assert tally.counts == {
        "count_tokens": Count(sent=20, done=19, repeated=2, amount=tokens),
        "digest": Count(sent=14, done=10, failed=1, unfinished=3, amount=size),
        "fetch": Count(),
    }
    assert [tally.counts[name].lost for name in tasks.ALL] == [1, 0, 0]
    assert "leads out of the standard library" in tally.failure
    assert not tally.agrees(metrics, interrupted=False)
    tally.counts["count_tokens"].done += 1
    assert tally.agrees(metrics, interrupted=False)


def test_no_job_reads_outside_the_standard_library() -> None:
    first = corpus.files()[0]
    assert corpus.resolve(first).is_file()
    for path in ("../../../etc/passwd", "/etc/passwd", f"../{first}", "site-packages/x.py", ""):
        with pytest.raises(corpus.OutsideCorpus):
            tasks.digest(path)
    assert tasks.digest("this.py").bytes == corpus.resolve("this.py").stat().st_size


def test_a_shell_that_does_not_find_the_command_is_told_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    [line] = where_heori_is()
    found = subprocess.check_output(["/bin/sh", "-c", f"{line}; command -v heori"], text=True)
    assert Path(found.strip()).parent == Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    assert where_heori_is() == []

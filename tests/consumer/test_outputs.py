"""Whatever becomes of a consumer's standard output and error, its jobs do not feel it."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from prometheus_client.parser import text_string_to_metric_families

from heori import Producer
from heori_common.embedded import free_port
from tests.rigs.consumers import MODELS
from tests.rigs.waiting import until
from tests.rigs.zygote import Started
from tests.tasks import log_tasks

# What only a shell can do to it.
REDIRECTIONS = {"closed": "<&- >&- 2>&-", "error closed": "2>&-"}
CASES = [
    *(("threads", state) for state in ("closed", "full", "left by its reader", "not read")),
    ("hybrid", "error closed"),
    ("processes", "not read"),
    ("asyncio", "not read"),
    *(("inline", state) for state in ("closed", "left by its reader", "not read")),
]
LONG = "x" * 100_000  # with these, 100 lines are more than a consumer keeps


class Unheard:
    """A consumer whose output ends in a pipe of its own, or nowhere.

    Attributes:
        read: the other end of that pipe.
    """

    def __init__(self, url: str, model: str, state: str, *words: str, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.read, write = os.pipe()
        command = ["heori", "consume", *MODELS[model], *words]
        environment = {
            **os.environ,
            "HEORI_REDIS_URL": url,
            "HEORI_TASKS": "tests.tasks.log_tasks",
            "HEORI_METRICS_PORT": str(port),
            "HEORI_METRICS_HOST": "127.0.0.1",
            **environment,
        }
        self.process: Started | subprocess.Popen[bytes]
        if redirection := REDIRECTIONS.get(state, state if ">" in state else ""):
            shell = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m"]
            self.process = subprocess.Popen(
                [*shell, *command], stdout=write, stderr=write, env=environment
            )
        else:
            if state == "full":
                os.close(write)
                write = os.open("/dev/full", os.O_WRONLY)
            self.process = Started(
                *command,
                stdout=write,
                stderr=write,
                env=environment,
            )
        os.close(write)
        if state == "left by its reader":
            os.close(self.read)

    def health(self) -> Any:
        """What /readyz says."""
        with urllib.request.urlopen(self.url + "/readyz", timeout=60) as answer:
            return json.load(answer)

    def counted(self, name: str, **labels: str) -> float:
        """A counter of its metrics."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=60) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def dropped(self, stream: str) -> float:
        """Lines that it says it has dropped."""
        return self.counted("heori_lines_dropped_total", stream=stream)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize(("model", "state"), CASES)
def test_jobs_run_once_and_to_their_end_whatever_becomes_of_their_output(
    model: str, state: str, producer: Producer, redis: redis_py.Redis, redis_url: str
) -> None:
    recycled = ["--recycle-after", "10"] if model == "threads" else []
    with closing(Unheard(redis_url, model, state, *recycled)) as consumer:
        for job in producer.submit_many(log_tasks.tell, [(LONG,)] * 120):
            job.result(60)
        if recycled:
            until(lambda: consumer.counted("heori_worker_restarts_total", reason="recycle-after"))
        if model != "inline":
            producer.submit(log_tasks.tell_past_python).result(60)
        assert not consumer.health()["draining"]
        for stream in ("stdout", "stderr"):
            if state != "error closed" or stream == "stderr":
                until(lambda stream=stream: consumer.dropped(stream) >= 50)  # type: ignore[misc]
        last = producer.submit(log_tasks.tell_and_wait, redis_url, "last")
        assert redis.blpop(["last:running"], timeout=60)
        consumer.process.terminate()
        until(lambda: consumer.health()["draining"])
        redis.rpush("last:end", 1)
        assert consumer.process.wait(60) == 0
        last.result(60)
        assert redis.llen("last:running") == 0  # nobody has run it again


def test_a_reader_that_comes_back_is_told_how_much_it_has_missed(
    producer: Producer, redis_url: str
) -> None:
    with closing(Unheard(redis_url, "threads", "not read")) as consumer:
        for job in producer.submit_many(log_tasks.tell, [(LONG,)] * 120):
            job.result(60)
        until(lambda: consumer.dropped("stdout") >= 50 <= consumer.dropped("stderr"))
        prints = 0
        told = {"stdout": 0, "stderr": 0}
        with open(consumer.read, encoding="utf-8") as lines:  # noqa: PTH123 - a descriptor
            for line in lines:
                prints += line == LONG + "\n"
                if line.startswith("{") and "were dropped" in (said := json.loads(line))["event"]:
                    told[said["stream"]] += said["lines"]
                    if all(told.values()):
                        consumer.process.terminate()  # the rest is written when it ends
        assert consumer.process.wait(60) == 0
        assert prints + told["stdout"] == 120
        assert told["stderr"] >= 50


def test_a_copy_that_an_inline_task_forks_is_heard(producer: Producer, redis_url: str) -> None:
    with closing(Unheard(redis_url, "inline", "2>/dev/null")) as consumer:
        producer.submit(log_tasks.tell, "original").result(60)
        producer.submit(log_tasks.tell_from_copy, "copy").result(60)
        consumer.process.terminate()
        assert consumer.process.wait(60) == 0
        printed = os.read(consumer.read, 1 << 16).decode().splitlines()
        assert sorted(printed) == ["copy", "original"]


def test_a_collector_may_go_and_come_back_while_all_that_is_printed_goes_its_own_way(
    producer: Producer, redis_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    os.mkfifo(log)
    first = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    with closing(Unheard(redis_url, "threads", f"2>{log}")) as consumer:
        producer.submit(log_tasks.tell, "heard").result(60)
        os.close(first)
        producer.submit(log_tasks.tell, "unheard").result(60)
        until(lambda: consumer.dropped("stderr"))
        with log.open() as lines:
            producer.submit(log_tasks.tell, "heard again").result(60)
            while json.loads(next(lines))["event"] != "heard again":
                pass  # what the first has left
            assert "were dropped" in json.loads(next(lines))["event"]
            producer.submit(log_tasks.tell_past_python).result(60)
            consumer.process.terminate()
            assert consumer.process.wait(60) == 0
            assert {"direct\n", "program\n"} < set(lines)
        printed = os.read(consumer.read, 1 << 16).decode().splitlines()
        assert printed == ["heard", "unheard", "heard again", "direct", "program"]

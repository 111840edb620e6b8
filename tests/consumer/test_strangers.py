"""A consumer beside strangers who take all files that there are."""

import contextlib
import resource
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from heori import Producer
from heori_common.protocol.keys import Keys
from heori_consumer.supervisor.endpoint import MOST_FILES
from heori_consumer.supervisor.options import ConsumerOptions
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


def answer(consumer: Consumer, path: str) -> int:
    with urllib.request.urlopen(consumer.url + path, timeout=60) as said:
        return int(said.status)


def test_strangers_at_its_metrics_keep_nobody_out_and_no_file_left_ends_no_role(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume("--model", "hybrid", "--processes", "2", "--slots", "2").ready()
    supervisor = psutil.Process(consumer.process.pid)
    until(lambda: redis.pubsub_channels(Keys().told("*")))  # its last connection
    before = supervisor.num_fds()
    address = urlsplit(consumer.url)
    with contextlib.ExitStack() as stack:
        for number in range(120):
            stranger = stack.enter_context(
                socket.create_connection((address.hostname or "", address.port or 0), timeout=60)
            )
            stranger.sendall(b"GET /metrics HTTP/1.1\r\nHos" if number % 2 else b"")
        assert supervisor.num_fds() <= before + MOST_FILES
        assert answer(consumer, "/readyz") == 200
        assert answer(consumer, "/metrics") == 200
    until(lambda: supervisor.num_fds() < before + 10)

    soft, hard = resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE)

    def no_file_is_left() -> bool:
        """Allow it no higher number than it has, and none is free below."""
        numbers = {int(file.name) for file in Path(f"/proc/{supervisor.pid}/fd").iterdir()}
        lowest = min(set(range(len(numbers) + 1)) - numbers)
        resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, (lowest, hard))
        return any(line["event"].startswith("no open file is left") for line in consumer.log)

    until(no_file_is_left)
    consumer.workers[0].kill()
    consumer.wait_for("a worker cannot start; it is tried again, less and less often")
    jobs = [producer.submit(sample_tasks.add, number) for number in range(6)]
    assert [job.result(60) for job in jobs] == [2, 3, 4, 5, 6, 7]
    resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, (soft, hard))
    consumer.wait_for("workers can start again")
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert answer(consumer, "/readyz") == 200
    assert consumer.stop() == 0


def test_what_a_consumer_needs_of_files_is_told_by_its_workers_and_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 1024
    monkeypatch.setattr("heori_consumer.supervisor.options.files_limit", lambda: limit)
    few = ConsumerOptions.create(("default",), "hybrid", 4, 8)
    assert few.files_short == ""
    assert few.most_alone is not None
    assert few.most_alone >= 50
    many = ConsumerOptions.create(("default",), "asyncio", 1, 2000)
    assert "a worker process of 2000 slots needs 2016 open files" in many.files_short
    with pytest.raises(ValueError, match=r"200 worker processes needs \d+ open files"):
        ConsumerOptions.create(("default",), "processes", 200)

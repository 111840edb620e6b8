"""Where a consumer starts: without a usable place for files, with few of them, beside what others
have put into its environment, and with servers of all kinds.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_py
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from heori import Producer, RedisRefused
from heori_common.embedded import EmbeddedValkey
from heori_common.settings import Settings
from tests.rigs.commands import Heori, run_heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def test_a_consumer_needs_no_place_for_files_and_knows_what_is_no_setting(
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    heori: Heori,
    tmp_path: Path,
) -> None:
    """It serves a queue with a colon in its name, as rq's users have them, and counts each try."""
    long = tmp_path / ("x" * 150)  # longer than the path of a socket may be
    long.mkdir()
    consumer = consume(
        *("--model", "processes", "--processes", "1"),
        queue="app:high",
        TMPDIR=str(long),
        HEORI_METRICS_PORT="tcp://10.0.0.1:9100",
        HEORI_METRICS_SERVICE_HOST="10.0.0.1",
        HEORI_API_PORT="tcp://10.0.0.1:8080",
        HEORI_LEASE="",
        HEORI_KEY_TTL="a producer's own",
    ).ready()
    for tenant in (None, "a"):
        job = producer.options(queue="app:high", tenant=tenant).submit(sample_tasks.add, 1)
        assert job.result(60) == 3
    stock = Queue("app:high", connection=redis, serializer=JSONSerializer)
    failing = stock.enqueue("tests.tasks.sample_tasks.fail", "no", retry=Retry(max=2))
    until(lambda: failing.get_status() == "failed")
    assert "failed after 3 deliveries\n" in heori("dead", "list", "-q", "app:high").stdout
    assert json.loads(heori("job", failing.id, "--json").stdout)["deliveries"] == 3
    told = [line["event"] for line in consumer.log if "HEORI_" in line["event"]]
    assert [event.partition(":")[0] for event in told] == ["HEORI_METRICS_PORT"]
    family = [psutil.Process(consumer.process.pid), *consumer.workers]
    paths = {str(file.readlink()) for each in family for file in open_files(each)}
    assert not [path for path in paths if path.startswith((str(tmp_path), "/dev/shm"))]
    assert list(long.iterdir()) == []
    assert consumer.stop() == 0


def open_files(process: psutil.Process) -> list[Path]:
    folder = Path(f"/proc/{process.pid}/fd")
    return list(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    ("before", "words", "said"),
    [
        (
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))",
            ("consume", "--model", "processes", "--processes", "2"),
            "a consumer with 2 worker processes needs 128 open files at least, and may have 20",
        ),
        (
            "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc/nowhere']",
            ("up",),
            "the embedded Valkey needs a folder for its files, and none can be made",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    before: str, words: tuple[str, ...], said: str
) -> None:
    code = f"{before}; from heori.__main__ import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={**os.environ, "HEORI_TASKS": "tests.tasks.sample_tasks"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (1, 2), ran.stderr
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr


def test_a_server_that_never_answers_is_named_and_delays_no_end(
    consume: Callable[..., Consumer], mute: str
) -> None:
    patience_s = 50
    consumer = consume(HEORI_REDIS_URL=f"{mute}?socket_timeout={patience_s}")
    away = consumer.wait_for("Redis is away; trying again")
    assert away["reason"] == "it does not answer yet"
    asked = time.monotonic()
    consumer.process.send_signal(signal.SIGTERM)
    assert consumer.join(60) == 0
    assert time.monotonic() - asked < patience_s, "it has not waited for an answer"
    ran = run_heori(f"{mute}?socket_timeout=0.2", "status")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is away: it does not answer in time" in ran.stderr


def test_on_a_redis_cluster_one_prefix_is_named_and_works(consume: Callable[..., Consumer]) -> None:
    named = "set RQ_KEY_PREFIX={rq} for all producers and consumers"
    with (
        EmbeddedValkey({"cluster-enabled": "yes"}) as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        cluster: Any = client  # redis-py knows how to read this reply, and has no types for it
        until(lambda: cluster.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        with Producer(server.url) as producer, pytest.raises(RedisRefused, match=named):
            producer.submit(sample_tasks.add, 1)
        consumer = consume(HEORI_REDIS_URL=server.url)
        assert named in consumer.wait_for("Redis is away; trying again")["reason"]
        assert consumer.stop() == 0
        assert "export RQ_KEY_PREFIX='{rq}'" in run_heori(server.url, "doctor").stdout
        consumer = consume(HEORI_REDIS_URL=server.url, RQ_KEY_PREFIX="{rq}").ready()
        settings = Settings(redis_url=server.url, key_prefix="{rq}")
        with Producer(settings=settings) as producer:
            handles = producer.options(tenant="a").submit_many(sample_tasks.add, range(100))
            later = producer.options(delay=0.1).submit(sample_tasks.add, 1)
            assert [handle.result(60) for handle in handles] == [n + 2 for n in range(100)]
            assert later.result(60) == 3
        found = run_heori(server.url, "doctor", RQ_KEY_PREFIX="{rq}").stdout
        assert "CROSSSLOT" not in found
        assert "cluster" not in found
        assert consumer.stop() == 0
        client.config_set("requirepass", "hush")
        consumer = consume(HEORI_REDIS_URL=server.url)
        refused = consumer.wait_for("Redis refuses this login; trying again")
        assert refused["reason"].endswith("NOAUTH it wants a password, and was given none")
        assert consumer.stop() == 0

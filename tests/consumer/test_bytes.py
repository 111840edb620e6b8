"""Large payloads and results: what is bounded by bytes, and not only by number."""

import base64
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_py

from heori import JobFailed, PayloadTooLarge, Producer, Settings, group
from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import large_tasks

MEGABYTE = 1_000_000


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    """A server that other tests do not mind what is done to it."""
    with EmbeddedValkey() as made:
        yield made


def start(consume: Callable[..., Consumer], server: EmbeddedValkey, *words: str) -> Consumer:
    return consume(
        *words, HEORI_REDIS_URL=server.url, HEORI_TASKS="tests.tasks.large_tasks"
    ).ready()


def noise(size: int) -> str:
    """So many characters, of which compression leaves three quarters."""
    return base64.b64encode(random.randbytes(size * 3 // 4)).decode()


def test_a_server_that_holds_and_takes_little_at_a_time_is_never_asked_for_more(
    consume: Callable[..., Consumer], server: EmbeddedValkey
) -> None:
    with redis_py.Redis.from_url(server.url, socket_timeout=None) as client:
        client.config_set("client-output-buffer-limit", "normal 4mb 4mb 0")
        client.config_set("proto-max-bulk-len", "2mb")
    with Producer(server.url) as producer:
        texts = [noise(700_000) for _ in range(30)]
        handles = producer.submit_many(large_tasks.echo, texts)
        start(consume, server, "--slots", "30")
        assert handles[-1].result(60) == texts[-1]
        assert group(handles).results(60) == texts


def test_jobs_with_a_few_arguments_are_kept_compact_unlike_with_the_setting_of_redis(
    consume: Callable[..., Consumer], server: EmbeddedValkey
) -> None:
    with (
        Producer(server.url) as producer,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):

        def encoding(job: str) -> bytes:
            encoding: bytes = client.object("encoding", f"rq:job:{job}")
            return encoding

        text = noise(300)
        compact = producer.submit(large_tasks.echo, text)
        client.config_set("hash-max-listpack-value", 64)
        loose = producer.submit(large_tasks.echo, text)
        client.config_set("hash-max-listpack-value", 1024)
        jobs = compact.id, loose.id
        assert [encoding(job) for job in jobs] == [b"listpack", b"hashtable"]
        start(consume, server)
        assert [handle.result(60) for handle in (compact, loose)] == [text, text]
        assert [encoding(job) for job in jobs] == [b"listpack", b"hashtable"]


def test_a_supervisor_holds_so_many_results_and_gives_their_memory_back(
    consume: Callable[..., Consumer], server: EmbeddedValkey, tmp_path: Path
) -> None:
    jobs = 150
    gate = tmp_path / "gate"
    with (
        Producer(server.url) as producer,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        consumer = start(consume, server, "--slots", str(jobs))
        supervisor = psutil.Process(consumer.process.pid)
        before = supervisor.memory_info().rss
        sent: list[Any] = [(str(gate), MEGABYTE - 2)] * jobs
        handles = producer.submit_many(large_tasks.make_when, sent)
        until(lambda: consumer.metric("heori_slots_running") == jobs)
        valkey = psutil.Process(client.info("server")["process_id"])
        valkey.suspend()
        try:
            gate.touch()
            until(lambda: consumer.metric("heori_slots_running") == 0)
            until(lambda: consumer.metric("heori_results_held_bytes") >= 64 * MEGABYTE)
            held = supervisor.memory_info().rss - before
            assert consumer.metric("heori_results_held_bytes") < 70 * MEGABYTE
        finally:
            valkey.resume()
        assert held < 100 * MEGABYTE, "of 200 that there are"
        assert {len(result) for result in group(handles).results(60)} == {MEGABYTE - 2}
        until(lambda: supervisor.memory_info().rss - before < 20 * MEGABYTE)
        until(lambda: consumer.metric("heori_results_held_bytes") == 0)
        assert consumer.metric("heori_jobs_total", outcome="succeeded") == jobs
        assert consumer.metric("heori_jobs_redelivered_total") == 0


def test_a_worker_that_does_not_read_gets_few_large_jobs_and_another_gets_the_rest(
    consume: Callable[..., Consumer], server: EmbeddedValkey
) -> None:
    words = ("--model", "hybrid", "--processes", "2", "--slots", "30")
    consumer = start(consume, server, *words)
    stopped = consumer.workers[0]
    with (
        Producer(server.url) as producer,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        stopped.suspend()
        try:
            handles = producer.submit_many(large_tasks.echo, [noise(400_000)] * 60)
            until(lambda: client.zcard("rq:finished:default") >= 45)
        finally:
            stopped.resume()
        assert len(group(handles).results(60)) == 60


def test_arguments_larger_than_the_server_takes_are_refused_in_one_sentence(
    server: EmbeddedValkey,
) -> None:
    with redis_py.Redis.from_url(server.url, socket_timeout=None) as client:
        client.config_set("proto-max-bulk-len", "1mb")
        settings = Settings(redis_url=server.url, max_payload=50 * MEGABYTE)
        with Producer(settings=settings) as producer:
            for size in (1_500_000, 15_000_000):
                with pytest.raises(PayloadTooLarge, match=r"take \d+ bytes.*proto-max-bulk-len"):
                    producer.submit(large_tasks.echo, noise(size))
            assert client.dbsize() == 0
            producer.submit(large_tasks.echo, "small")
            assert client.llen("rq:queue:default") == 1


def test_a_result_larger_than_the_server_takes_fails_its_job_and_no_other(
    consume: Callable[..., Consumer], server: EmbeddedValkey, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    consumer = consume(
        *("--slots", "4"),
        HEORI_REDIS_URL=server.url,
        HEORI_TASKS="tests.tasks.large_tasks",
        HEORI_MAX_PAYLOAD=str(50 * MEGABYTE),
    ).ready()
    with (
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        Producer(server.url) as producer,
    ):
        client.config_set("proto-max-bulk-len", "1mb")
        sizes = [10, 2 * MEGABYTE, 20, 20 * MEGABYTE]
        handles = producer.submit_many(large_tasks.make_when, [(str(gate), n) for n in sizes])
        until(lambda: consumer.metric("heori_slots_running") == 4)
        gate.touch()
        assert [len(handles[n].result(60)) for n in (0, 2)] == [10, 20]
        for n in (1, 3):
            with pytest.raises(JobFailed, match="is more than this server takes in one piece"):
                handles[n].result(60)
        counted = ("heori_deliveries", "heori_earlier")  # of this try; of those that have failed
        deliveries = [client.hmget(f"rq:job:{each.id}", counted) for each in handles]
        assert deliveries == [[b"1", None], [b"0", b"1"]] * 2
        assert client.zcard("rq:failed:default") == 2
    assert "Redis is away; trying again" not in [line["event"] for line in consumer.log]


def test_what_is_far_too_large_is_neither_written_down_nor_compressed(
    producer: Producer,
) -> None:
    text = "x" * 20 * MEGABYTE
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge, match="20000000 bytes at least, over the limit"):
            producer.submit(large_tasks.echo, text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEGABYTE

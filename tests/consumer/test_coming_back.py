"""Redis, a consumer or all of them stand still for longer than a lease, and come back."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_py

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import LEASE_MARGIN_S
from heori_common.protocol.commands.delivery import UNWATCHED_INTERVALS
from heori_common.protocol.keys import Keys
from heori_consumer.supervisor.leadership import REAP_EVERY_S
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks

THREADS = ("--model", "threads", "--slots", "8")
PROCESSES = ("--model", "processes", "--processes", "5")
ASYNCIO = ("--model", "asyncio", "--processes", "1", "--slots", "8")
HYBRID = ("--model", "hybrid", "--processes", "2", "--slots", "4")

# The lease, rounded up to RQ's whole seconds, and the time after which nobody has looked.
LEASE_S = 8  # a consumer that stands still for a while, and another not, keeps what it has
OUTAGE_S = max(LEASE_S + 1, UNWATCHED_INTERVALS * REAP_EVERY_S) + 0.5
JOBS = 4
KEYS = Keys()
ENVIRONMENT = {
    "HEORI_LEASE": str(LEASE_S),
    "HEORI_TASKS": "tests.tasks.sample_tasks,tests.tasks.lock_tasks",
}


def leases_s(client: Any) -> list[float]:
    """For how long each lease lasts yet, by the server's clock; negative when it has run out."""
    seconds, _ = client.time()
    entries = client.zrange(KEYS.wip("default"), 0, -1, withscores=True)
    return [score - LEASE_MARGIN_S - seconds for _, score in entries]


class Longer:
    """Jobs that run until they are let go, and each time note that they have begun."""

    def __init__(self, client: Any, producer: Producer, folder: Path) -> None:
        self.client = client
        self._producer = producer
        self._begun, self._gate = folder / "begun", folder / "gate"
        self._begun.touch()
        self._calls = [(str(self._begun), str(self._gate), n) for n in range(JOBS)]

    def begin(self) -> None:
        """Send them, and wait until they run, and the consumer has said that it has them.

        A hand-over that nobody confirms in time is taken back, though its jobs may have begun.
        """
        self._handles = self._producer.submit_many(sample_tasks.record_and_wait, self._calls)
        until(lambda: len(self._begun.read_bytes().split()) == JOBS)
        until(lambda: not [*self.client.scan_iter(KEYS.handed("*"))])

    def wait_until_leases_are_over(self) -> None:
        """And until nobody can have looked for them lately."""
        watched = KEYS.watched("default")
        until(lambda: not self.client.exists(watched) and max(leases_s(self.client), default=0) < 0)

    def end(self) -> None:
        """Let them go once they are safe, and see that each has begun once."""
        until(lambda: [left > 0 for left in leases_s(self.client)] == [True] * JOBS)
        assert self._producer.submit(sample_tasks.add, 1).result(60) == 3, "a free slot takes jobs"
        self._gate.touch()
        assert [handle.result(60) for handle in self._handles] == list(range(JOBS))
        assert sorted(self._begun.read_bytes().split()) == [b"%d" % n for n in range(JOBS)]
        for handle in self._handles:
            assert self.client.hget(KEYS.job(handle.id), "heori_deliveries") == b"1"


@contextlib.contextmanager
def frozen(server: EmbeddedValkey) -> Iterator[None]:
    """A server that stands still: whoever is connected stays so, and nobody answers."""
    with redis_py.Redis.from_url(server.url, socket_timeout=None) as client:
        process = psutil.Process(int(client.info("server")["process_id"]))
    process.suspend()
    yield
    process.resume()


@contextlib.contextmanager
def restarted(server: EmbeddedValkey) -> Iterator[None]:
    """A server that ends, and begins again with what is on its disk."""
    server.stop()
    yield
    server.start()


@pytest.mark.parametrize(
    ("outage", "models"),
    [
        (frozen, [HYBRID]),
        (frozen, [THREADS, ASYNCIO]),
        (restarted, [THREADS]),
        (restarted, [PROCESSES, PROCESSES]),
    ],
    ids=["frozen-1", "frozen-2", "restarted-1", "restarted-2"],
)
def test_jobs_outlive_an_outage_that_is_longer_than_their_lease(
    outage: Callable[[EmbeddedValkey], contextlib.AbstractContextManager[None]],
    models: list[tuple[str, ...]],
    consume: Callable[..., Consumer],
    tmp_path: Path,
) -> None:
    persistent = {"appendonly": "yes", "appendfsync": "always"}
    with (
        EmbeddedValkey(persistent) as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        at = {"HEORI_REDIS_URL": server.url, **ENVIRONMENT}
        consumers = [consume(*model, **at).ready() for model in models]
        with Producer(server.url) as producer:
            jobs = Longer(client, producer, tmp_path)
            jobs.begin()
            with outage(server):
                time.sleep(OUTAGE_S)
            newcomer = consume(*THREADS, **at).ready()  # has nothing to extend before it reaps
            jobs.end()
        for consumer in (*consumers, newcomer):
            assert consumer.metric("heori_leases_lost_total") == 0
            assert consumer.metric("heori_jobs_redelivered_total") == 0
            assert consumer.stop() == 0


@pytest.mark.parametrize("model", [THREADS, PROCESSES, ASYNCIO], ids=lambda model: model[1])
def test_a_consumer_that_was_paused_keeps_what_nobody_has_taken(
    model: tuple[str, ...],
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    tmp_path: Path,
) -> None:
    # Long enough that its reaper would be due before its keeper of leases.
    consumer = consume(*model, **ENVIRONMENT | {"HEORI_LEASE": "5"}).ready()
    if model is ASYNCIO:  # that somebody looks after another queue makes no difference
        consume("--model", "threads", queue="others", **ENVIRONMENT).ready()
    jobs = Longer(redis, producer, tmp_path)
    jobs.begin()
    family = [psutil.Process(consumer.process.pid)]
    if model is not THREADS:  # of that one, the supervisor alone
        family += consumer.workers
    for process in family:
        process.suspend()
    jobs.wait_until_leases_are_over()
    for process in reversed(family):
        process.resume()
    jobs.end()
    assert consumer.metric("heori_jobs_redelivered_total") == 0
    assert consumer.metric("heori_results_refused_total") == 0
    assert consumer.stop() == 0


def test_jobs_keep_the_locks_that_they_declare_through_an_outage(
    consume: Callable[..., Consumer],
) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        at = {"HEORI_REDIS_URL": server.url, **ENVIRONMENT}
        consumers = [consume(*THREADS, **at).ready() for _ in range(2)]
        with Producer(server.url) as producer:
            first = producer.submit(lock_tasks.hold_account, server.url, 1, "first")
            assert client.blpop(["first:running"], timeout=60)
            second = producer.submit(lock_tasks.hold_account, server.url, 1, "second")
            until(lambda: client.zcard(KEYS.parked("default")) == 1)
            with frozen(server):
                time.sleep(OUTAGE_S)
            third = producer.submit(lock_tasks.hold_account, server.url, 1, "third")
            until(lambda: client.zcard(KEYS.parked("default")) == 2)
            until(lambda: [left > 0 for left in leases_s(client)] == [True])
            assert not client.exists("first:running", "second:running", "third:running")
            for name in ("first", "second", "third"):  # one after the other
                client.rpush(f"{name}:go", "now")
            assert first.result(60) == "first"
            assert second.result(60) == "second"
            assert third.result(60) == "third"
        for consumer in consumers:
            assert consumer.metric("heori_locks_lost_total") == 0
            assert consumer.stop() == 0

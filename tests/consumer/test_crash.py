"""Nothing is lost: workers, consumers and Redis are killed for real, and jobs are counted."""

import collections
import contextlib
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_py

from heori import Producer
from heori_common.embedded import EmbeddedValkey
from heori_common.protocol.commands import LEASE_MARGIN_S, Commands
from heori_common.protocol.scripts import script
from tests.rigs.consumers import Consumer
from tests.rigs.proxy import proxy
from tests.rigs.waiting import is_alive, until
from tests.tasks import sample_tasks

JOBS = 8_000
KILLS = 20  # `make chaos` does it for longer


def runs(path: Path) -> "collections.Counter[int]":
    """How often each number ran."""
    return collections.Counter(int(line.split()[0]) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize(
    "model",
    [["--model", "threads", "--slots", "4"], ["--model", "processes", "--processes", "2"]],
    ids=["threads", "processes"],
)
def test_killed_workers_lose_no_job_and_repeat_only_what_was_in_flight(
    model: list[str],
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    tmp_path: Path,
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    path = tmp_path / "runs"
    path.touch()
    # What dies comes first again: kills in quick succession would make dead letters of it.
    consumer = consume(*model, HEORI_MAX_DELIVERIES=str(JOBS)).ready()

    def deaths() -> list[int]:
        """How many jobs each worker held that died."""
        return [line["jobs"] for line in list(consumer.log) if line["event"] == "worker died"]

    struck: set[int] = set()

    def strike() -> bool:
        """Kill whoever ran a job last and has not been killed yet, unless that has shown."""
        if len(deaths()) > killed:
            return False
        for line in reversed(path.read_bytes().splitlines()):
            pid = int(line.split()[1])
            if pid not in struck:
                struck.add(pid)
                with contextlib.suppress(psutil.NoSuchProcess):  # it ran a suspect alone, and ended
                    psutil.Process(pid).kill()
                break
        return True

    killed = 0
    for first in range(0, JOBS, JOBS // KILLS):
        killed = len(deaths())
        numbers = range(first, first + JOBS // KILLS)
        producer.submit_many(sample_tasks.record_process, [(str(path), n) for n in numbers])
        most = chance.randrange(len(numbers) // 2)
        until(lambda new=set(numbers), most=most: len(runs(path).keys() & new) > most)  # type: ignore[misc]
        until(lambda: not strike())

    def finished() -> int:
        assert consumer.process.poll() is None, "the consumer itself has died"
        return int(redis.zcard("rq:finished:default"))

    until(lambda: finished() + redis.zcard("rq:failed:default") == JOBS)
    # A death is counted before it is told.
    until(lambda: consumer.metric("heori_worker_restarts_total", reason="SIGKILL") == len(deaths()))
    ran = runs(path)
    again = sum(ran.values()) - len(ran)
    in_flight = sum(deaths())
    print(f"jobs {JOBS}, run {len(ran)}, lost {JOBS - len(ran)}, again {again} of {in_flight}")
    assert set(ran) == set(range(JOBS))
    assert again <= in_flight
    assert redis.zcard("rq:failed:default") == 0
    assert redis.zcard("rq:wip:default") == 0
    assert len(deaths()) >= KILLS
    assert consumer.stop() == 0


def test_a_killed_consumer_takes_its_workers_along_and_another_gets_its_jobs(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    first = consume(HEORI_LEASE="1").ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "machine")
    assert redis.blpop(["machine:running"], timeout=60)
    [(_, ends)] = redis.zrange("rq:wip:default", 0, -1, withscores=True)
    assert ends - LEASE_MARGIN_S - redis.time()[0] <= 3, "a lease of a second, not of thirty"
    workers = first.workers
    second = consume(HEORI_LEASE="1").ready()
    first.process.kill()
    until(lambda: not any(is_alive(worker) for worker in workers))
    assert redis.blpop(["machine:running"], timeout=60)
    redis.rpush("machine:go", "now")
    assert handle.result(60) == "machine"
    assert second.metric("heori_jobs_redelivered_total") == 1
    first.join()


def test_a_stopped_consumer_whose_lease_ran_out_has_its_result_refused(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    first = consume(HEORI_LEASE="1").ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "pause")
    assert redis.blpop(["pause:running"], timeout=60)
    first.process.send_signal(signal.SIGSTOP)
    second = consume(HEORI_LEASE="1").ready()
    assert redis.blpop(["pause:running"], timeout=60)  # the second delivery
    redis.rpush("pause:go", "first", "second")
    assert handle.result(60) == "pause"
    first.process.send_signal(signal.SIGCONT)
    until(lambda: first.metric("heori_results_refused_total") == 1)
    assert first.metric("heori_jobs_total", outcome="lost") == 1
    assert first.metric("heori_jobs_total") == 1
    assert redis.xlen(f"rq:results:{handle.id}") == 1
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"1", "the first lives"
    assert second.stop() == 0


def test_a_restart_of_redis_loses_nothing(consume: Callable[..., Consumer], tmp_path: Path) -> None:
    jobs = 3000
    path, gate = tmp_path / "runs", tmp_path / "gate"
    path.touch()
    with EmbeddedValkey({"appendonly": "yes", "appendfsync": "always"}) as server:
        consumer = consume(HEORI_REDIS_URL=server.url).ready()
        with (
            Producer(server.url) as producer,
            redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
        ):
            held = producer.submit(sample_tasks.wait_for_file, str(gate))
            until(lambda: consumer.metric("heori_slots_running") == 1)
            producer.submit_many(sample_tasks.record, [(str(path), n) for n in range(jobs)])
            until(lambda: len(runs(path)) > jobs / 4)
            server.stop()
            consumer.wait_for("Redis is away; trying again")
            before = len(runs(path))
            gate.touch()  # this job ends while there is no Redis to tell
            until(lambda: consumer.metric("heori_slots_running") == 0)
            server.start()
            consumer.wait_for("Redis is back")
            assert held.result(60) is True
            finished = Commands().keys.finished("default")
            until(lambda: client.zcard(finished) == jobs + 1)
            assert client.hget(f"rq:job:{held.id}", "heori_deliveries") == b"1"
            ran = runs(path)
            again = sum(ran.values()) - len(ran)
            print(f"jobs {jobs}, before {before}, lost {jobs - len(ran)}, run twice {again}")
            assert set(ran) == set(range(jobs))
            assert client.zcard(Commands().keys.wip("default")) == 0
        assert consumer.stop() == 0


@pytest.mark.parametrize("name", ["claim", "ack"])
def test_a_lost_reply_loses_no_job_and_runs_none_twice(
    name: str,
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs"
    path.touch()
    with proxy(int(redis.connection_pool.connection_kwargs["port"])) as link:
        url = f"redis://127.0.0.1:{link.port}/0"
        consumer = consume(HEORI_REDIS_URL=url, HEORI_LEASE="300").ready()
        producer.submit(sample_tasks.add, 1).result(60)  # the server knows the scripts now
        link.lose = script(name).digest.encode()
        handles = producer.submit_many(sample_tasks.record, [(str(path), n) for n in range(200)])
        # And not after the lease.
        assert [handle.result(60) for handle in handles] == list(range(200))
        assert link.lost == 1
        assert set(runs(path).values()) == {1}
        until(lambda: consumer.metric("heori_jobs_held") == 0)
        assert redis.zcard("rq:wip:default") == 0
        assert consumer.metric("heori_results_refused_total") == 0, "it was accepted, at first"
        assert consumer.metric("heori_jobs_total", outcome="succeeded") == 201
        assert consumer.stop() == 0


def test_a_redis_that_refuses_writes_is_waited_out(consume: Callable[..., Consumer]) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as client,
    ):
        consumer = consume(HEORI_REDIS_URL=server.url).ready()
        client.config_set("min-replicas-to-write", 1)
        consumer.wait_for("Redis refuses; trying again")
        client.config_set("min-replicas-to-write", 0)
        with Producer(server.url) as producer:
            assert producer.submit(sample_tasks.add, 1).result(60) == 3
        assert consumer.stop() == 0


def test_no_wait_gives_up_when_redis_is_away(
    consume: Callable[..., Consumer],
) -> None:
    consumer = consume("--no-wait", HEORI_REDIS_URL="redis://127.0.0.1:1/0")
    assert consumer.join(60) == 2
    assert "Redis at 127.0.0.1:1 is away" in str(consumer.log)


def test_a_consumer_waits_for_a_redis_that_comes_later(
    consume: Callable[..., Consumer],
) -> None:
    with EmbeddedValkey() as server:
        server.stop()
        consumer = consume(HEORI_REDIS_URL=server.url)
        away = consumer.wait_for("Redis is away; trying again")
        assert server.url.split("/")[2] in away["reason"]
        server.start()
        consumer.ready()
        assert consumer.stop() == 0


def test_tasks_that_cannot_be_imported_are_told_at_the_start(
    consume: Callable[..., Consumer],
) -> None:
    consumer = consume(HEORI_TASKS="tests.no_such_module")
    assert consumer.join(60) == 2
    assert "there is no module 'tests.no_such_module'" in consumer.log[-1]["event"]

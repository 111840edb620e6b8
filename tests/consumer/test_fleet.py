"""Several idle consumers: one job concerns one of them, whatever becomes of that one."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from heori import Producer
from heori_common.protocol.keys import Keys, service_of
from tests.rigs.consumers import Consumer
from tests.rigs.stock_rq import enqueue
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

SLOTS = ("--model", "threads", "--slots", "4")
LONG = {"HEORI_LEASE": "600"}  # seconds: what is lost is not found by a lease that has run out
OFFERS = Keys().offers(service_of(["default"]))
JOBS = 60


def commands(redis: Any) -> Counter[str]:
    """All commands that the server has executed, those inside of scripts included, by name."""
    return Counter(
        {
            name.removeprefix("cmdstat_"): of["calls"]
            for name, of in redis.info("commandstats").items()
        }
    )


def line(redis: Any) -> list[str]:
    """The names of the consumers that wait, longest first."""
    return [msgpack.unpackb(offer, raw=True)[0].decode() for offer in redis.zrange(OFFERS, 0, -1)]


def who(redis: Any, job_id: str) -> str:
    """Who had a job last."""
    name: bytes = redis.hget(f"rq:job:{job_id}", "worker_name")
    return name.decode()


@pytest.fixture
def fleet(consume: Callable[..., Consumer], redis: Any) -> Callable[[int], list[Consumer]]:
    """Start so many consumers and wait until all are idle."""

    def start(number: int) -> list[Consumer]:
        idle = len(line(redis))
        consumers = [consume(*SLOTS, **LONG) for _ in range(number)]
        for consumer in consumers:
            consumer.ready()
        until(lambda: len(line(redis)) == idle + number)
        return consumers

    return start


def test_idle_consumers_get_jobs_in_turns_and_the_others_do_nothing(
    fleet: Callable[[int], list[Consumer]], redis: Any, producer: Producer
) -> None:
    consumers: list[Consumer] = []

    def claims_a_job() -> float:
        def claims() -> float:
            name = "heori_redis_call_seconds_count"
            return sum(consumer.metric(name, command="claim") for consumer in consumers)

        before, began = claims(), time.monotonic()
        for n in range(JOBS):
            until(lambda: len(line(redis)) == len(consumers))
            assert producer.submit(sample_tasks.add, n, 1).result(60) == n + 1
        # Each looks every ten seconds, whatever comes.
        looks = len(consumers) * (1 + (time.monotonic() - began) / 10)
        return (claims() - before - looks) / JOBS

    consumers += fleet(1)
    alone = claims_a_job()
    redis.delete(*redis.keys("rq:job:*"))
    consumers += fleet(3)
    assert claims_a_job() <= alone + 0.2, "whoever gets no job does not look"
    shares = Counter(who(redis, key.decode()[7:]) for key in redis.keys("rq:job:*"))
    assert len(shares) == 4
    # Who looks, as each does every ten seconds, goes to the end of the line.
    assert min(shares.values()) >= JOBS / 4 / 3


def test_a_job_of_rqs_wakes_one_consumer(
    fleet: Callable[[int], list[Consumer]], redis: Any
) -> None:
    fleet(3)
    before, began = commands(redis), time.monotonic()
    for n in range(20):
        # Who is not back in the line yet finds the next job by itself, and needs no word.
        until(lambda: len(line(redis)) == 3)
        [job] = enqueue(redis, "add", [n, 1])
        until(lambda job=job: job.get_status(refresh=True) == "finished")  # type: ignore[misc]
    told = (commands(redis) - before)["publish"]
    # So does who looks, as each does every ten seconds, whatever comes.
    looks = 3 * (1 + (time.monotonic() - began) / 10)
    assert 20 - looks <= told < 3 * 20, "a second one at most, where the first is not heard of soon"


@pytest.mark.parametrize("fate", ["frozen", "killed"])
def test_a_hand_over_that_nobody_receives_goes_to_the_next_and_counts_no_delivery(
    fate: str,
    fleet: Callable[[int], list[Consumer]],
    redis: Any,
    producer: Producer,
    tmp_path: Path,
) -> None:
    consumers = {consumer.process.pid: consumer for consumer in fleet(3)}
    leads = Keys().leader(service_of(["default"]))
    # Who is ready may ask for the lead a moment later.
    until(lambda: redis.exists(leads) and len(line(redis)) == 3)
    # The first in the line is not the leader, who takes back: were it struck, another would lead.
    while line(redis)[0] in redis.get(leads).decode():
        producer.submit(sample_tasks.add, 1, 1).result(60)
        until(lambda: len(line(redis)) == 3)
    first = int(line(redis)[0].split("-")[-2])
    path = tmp_path / "runs"
    os.kill(first, signal.SIGSTOP)
    [job] = producer.submit_many(sample_tasks.record, [(str(path), 1)])
    if fate == "killed":
        os.killpg(first, signal.SIGKILL)
    assert job.result(60) == 1
    assert path.read_text().split() == ["1"]
    other = who(redis, job.id)
    assert redis.hget(f"rq:job:{job.id}", "heori_deliveries") == b"1"
    if fate == "frozen":
        assert str(first) not in other
        os.kill(first, signal.SIGCONT)
        # It finds what it was told, and that it is another's by now.
        until(lambda: any(str(first) in name for name in line(redis)))
        assert path.read_text().split() == ["1"]
    if fate == "killed":
        consumers.pop(first).join()
    for consumer in consumers.values():
        assert consumer.stop() == 0
    assert redis.zcard(Keys().handed(service_of(["default"]))) == 0

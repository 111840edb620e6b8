"""Queues with a limit: what producers do there, and that it holds for any number of them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rq import Queue
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from heori import JobFailed, Producer, QueueFull
from heori_common.protocol.commands import KEPT_DROPPED, Bound, Commands
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from heori_producer.sending import CHUNK_JOBS
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

COMMANDS = Commands()


@pytest.fixture
def limited(redis_url: str) -> Iterator[Callable[..., Producer]]:
    """Makes producers for whom ten jobs may wait."""
    made: list[Producer] = []

    def make(limit: int = 10, **options: Any) -> Producer:
        settings = Settings(redis_url=redis_url, queue_limits={"default": limit})
        made.append(Producer(settings=settings, **options))
        return made[-1]

    yield make
    for producer in made:
        producer.close()


def depth(redis: Any) -> int:
    return int(redis.llen("rq:queue:default"))


def line(redis: Any) -> list[str]:
    return [ticket.decode() for ticket in redis.zrange("rq:heori:line:default", 0, -1)]


def queued(redis: Any) -> list[int]:
    """The argument of each job that waits."""
    jobs = Queue("default", connection=redis, serializer=JSONSerializer).get_jobs()
    return [job.args[0] for job in jobs]


def bound(url: str) -> Bound:
    with RedisClient(url) as client:
        return client.execute(COMMANDS.bound("default"))


class Sending(threading.Thread):
    """Sends in a thread of its own, and has the handles or what was raised."""

    def __init__(self, send: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._send = send
        self.sent: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.sent = self._send()
        except BaseException as error:
            self.error = error

    def end(self, timeout: float = 60.0) -> Any:
        self.join(timeout)
        assert not self.is_alive(), "it still waits"
        if self.error is not None:
            raise self.error
        return self.sent


# reject


def test_a_full_queue_rejects_with_what_there_is_to_know(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    producer = limited(when_full="reject")
    for number in range(10):
        producer.submit(sample_tasks.add, number)
    with pytest.raises(QueueFull, match="default is full: 10 of 10 jobs wait; no job leaves") as no:
        producer.submit(sample_tasks.add, 10)
    assert (no.value.queue, no.value.depth, no.value.limit) == ("default", 10, 10)
    assert (no.value.retry_after, no.value.taken, no.value.sent) == (None, 0, [])
    assert depth(redis) == len(redis.keys("rq:job:*")) == 10
    assert bound(redis_url) == Bound(10, sent=10, blocked=0, rejected=1, dropped=0)


def now(redis: Any) -> float:
    """By the server's clock."""
    seconds, micros = redis.time()
    return float(seconds + micros / 1e6)


def test_the_time_to_try_again_follows_from_how_fast_jobs_leave(
    limited: Callable[..., Producer], redis: Any
) -> None:
    producer = limited(when_full="reject")
    producer.submit_many(sample_tasks.add, range(10))
    # As if it had been looked at two seconds ago, and four jobs had left since.
    looked_at = now(redis) - 2
    redis.hset("rq:heori:bound:default", mapping={"seen_at": looked_at, "sent": 14})
    with pytest.raises(QueueFull, match=r"try again in \d\.\d s") as caught:
        producer.submit(sample_tasks.add, 10)
    assert caught.value.retry_after is not None
    assert 0.99 * 2 / 4 <= caught.value.retry_after <= 1.01 * (now(redis) - looked_at) / 4


def test_of_many_jobs_those_are_sent_that_fit_and_the_rest_is_told(
    limited: Callable[..., Producer], redis: Any
) -> None:
    producer = limited(CHUNK_JOBS + 5)
    with pytest.raises(QueueFull) as caught:
        producer.options(when_full="reject").submit_many(sample_tasks.add, range(2 * CHUNK_JOBS))
    assert [handle.status() for handle in caught.value.sent] == ["queued"] * (CHUNK_JOBS + 5)
    assert queued(redis) == list(range(CHUNK_JOBS + 5))


def test_what_is_sent_for_later_is_not_limited_nor_when_it_is_due(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    producer = limited(1, when_full="reject")
    producer.submit(sample_tasks.add, 1)
    later = producer.options(delay=60).submit_many(sample_tasks.add, range(5))
    assert {handle.status() for handle in later} == {"scheduled"}
    for handle in later:
        redis.zadd("rq:scheduled:default", {handle.id: 1})
    with RedisClient(redis_url) as client:
        command = COMMANDS.enqueue_due(["default"], consumer="me", lock_ttl=5, batch=10)
        assert client.execute(command).jobs == 5
    assert depth(redis) == 6


def test_what_a_consumer_gives_back_is_never_refused(
    limited: Callable[..., Producer], consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    producer = limited(5, when_full="reject")
    consumer = consume("--slots", "1", HEORI_GRACE="0").ready()
    held = producer.submit(sample_tasks.hold, redis_url, "back")
    assert redis.blpop(["back:running"], timeout=60)
    producer.submit_many(sample_tasks.add, range(5))
    until(lambda: depth(redis) <= 5)
    with pytest.raises(QueueFull):
        while True:  # as its consumer may have some ahead, at any moment
            producer.submit(sample_tasks.add, 9)
    assert consumer.stop() == 0
    assert held.status() == "queued"
    assert depth(redis) > 5


# drop_oldest


def test_the_oldest_is_dropped_and_says_why(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    producer = limited(3, when_full="drop_oldest")
    handles = [producer.submit(sample_tasks.add, number) for number in range(5)]
    assert queued(redis) == [2, 3, 4]
    for handle in handles[:2]:
        with pytest.raises(JobFailed, match="dropped to make room: its queue was at its limit"):
            handle.result(60)
        job = RqJob.fetch(handle.id, connection=redis, serializer=JSONSerializer)
        assert job.get_status() == "failed"
        latest = job.latest_result()
        assert latest is not None
        assert latest.exc_string is not None
        assert latest.exc_string.startswith("dropped to make room")
        assert handle.id in job.failed_job_registry
    assert bound(redis_url) == Bound(3, sent=5, blocked=0, rejected=0, dropped=2)


def test_more_jobs_than_the_limit_leave_the_latest(
    limited: Callable[..., Producer], redis: Any
) -> None:
    limited(3, when_full="drop_oldest").submit_many(sample_tasks.add, range(CHUNK_JOBS + 10))
    assert queued(redis) == [CHUNK_JOBS + 7, CHUNK_JOBS + 8, CHUNK_JOBS + 9]


def test_only_the_latest_dropped_jobs_are_kept_so_that_a_flood_fills_nothing(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    producer = limited(1, when_full="drop_oldest")
    sent = KEPT_DROPPED + 300
    handles = producer.submit_many(sample_tasks.add, range(sent))
    assert bound(redis_url).dropped == sent - 1
    assert redis.zcard("rq:failed:default") == redis.llen("rq:heori:dropped:default") == 1000
    assert len(redis.keys("rq:job:*")) == 1001
    assert len(redis.keys("rq:results:*")) == 1000
    assert handles[-2].status() == "failed"


def test_a_dropped_job_that_was_replayed_is_not_cleared_away(
    limited: Callable[..., Producer], redis: Any, heori: Heori
) -> None:
    producer = limited(1, when_full="drop_oldest")
    first = producer.submit(sample_tasks.add, 1)
    producer.submit(sample_tasks.add, 2)
    assert heori("dead", "replay", first.id).returncode == 0
    for _ in range(3):
        producer.submit_many(sample_tasks.add, range(CHUNK_JOBS))
    # It was dropped once more meanwhile, among the first: cleared away like any other.
    assert redis.llen("rq:heori:dropped:default") == KEPT_DROPPED
    assert not redis.exists(f"rq:job:{first.id}")


def test_a_cancelled_job_makes_room_and_is_no_dead_letter(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    producer = limited(2, when_full="drop_oldest")
    first = producer.submit(sample_tasks.add, 0)
    producer.submit(sample_tasks.add, 1)
    redis.hset(f"rq:job:{first.id}", "status", "canceled")  # and its id is still in the list
    producer.submit(sample_tasks.add, 2)
    assert queued(redis) == [1, 2]
    assert bound(redis_url).dropped == 0
    assert first.status() == "canceled"


# block


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is woken, or waits for ever; its place in the line stays as long."""
    monkeypatch.setattr("heori_producer.backpressure.LOOK_EVERY_S", 1000.0)
    monkeypatch.setattr("heori_common.protocol.commands.sending.PLACE_LEASE_S", 3000.0)


@pytest.mark.usefixtures("nobody_looks")
def test_a_producer_waits_until_there_is_room_and_is_woken(
    limited: Callable[..., Producer], redis: Any
) -> None:
    producer = limited(2)
    producer.submit_many(sample_tasks.add, range(2))
    sending = Sending(lambda: producer.submit(sample_tasks.add, 2))
    until(lambda: line(redis))
    sending.join(0.1)
    assert sending.is_alive()
    assert depth(redis) == 2
    redis.lpop("rq:queue:default")
    handle = sending.end()
    assert handle.status() == "queued"
    assert line(redis) == redis.keys("rq:heori:line:*") == []


def test_many_jobs_go_in_as_there_is_room_and_never_more(
    limited: Callable[..., Producer], redis: Any
) -> None:
    producer = limited(7)
    sending = Sending(lambda: producer.submit_many(sample_tasks.add, range(CHUNK_JOBS + 100)))
    taken: list[int] = []
    while len(taken) < CHUNK_JOBS + 100:
        until(lambda: depth(redis) > 0)
        assert depth(redis) <= 7
        taken += queued(redis)[:1]
        redis.lpop("rq:queue:default")
    assert taken == list(range(CHUNK_JOBS + 100))
    assert len(sending.end()) == CHUNK_JOBS + 100


@pytest.mark.usefixtures("nobody_looks")
def test_producers_are_let_in_in_the_order_in_which_they_came(
    limited: Callable[..., Producer], redis: Any
) -> None:
    producer = limited(1)
    producer.submit(sample_tasks.add, 0)
    sendings = []
    for number in range(1, 9):
        sendings.append(Sending(lambda number=number: producer.submit(sample_tasks.add, number)))  # type: ignore[misc]
        until(lambda number=number: len(line(redis)) == number)  # type: ignore[misc]
    order = []
    for number in range(9):
        until(lambda: depth(redis) == 1)
        order += queued(redis)
        redis.lpop("rq:queue:default")
        if number < 8:
            sendings[number].end()
    assert order == list(range(9))


def test_nobody_overtakes_those_who_wait(limited: Callable[..., Producer], redis: Any) -> None:
    producer = limited(1)
    producer.submit(sample_tasks.add, 0)
    waiting = Sending(lambda: producer.submit_many(sample_tasks.add, [1, 2]))
    until(lambda: line(redis))
    redis.lpop("rq:queue:default")
    until(lambda: queued(redis) == [1])
    with pytest.raises(QueueFull):
        producer.options(when_full="reject").submit(sample_tasks.add, 9)
    redis.lpop("rq:queue:default")
    waiting.end()
    assert queued(redis) == [2]


@pytest.mark.usefixtures("nobody_looks")
def test_after_its_time_a_producer_gives_up_and_leaves_its_place(
    limited: Callable[..., Producer], redis: Any
) -> None:
    producer = limited(1, full_timeout=0.2)
    producer.submit(sample_tasks.add, 0)
    began = time.monotonic()
    with pytest.raises(QueueFull, match=r"there was no room for 0.2 s; no job leaves it"):
        producer.submit(sample_tasks.add, 1)
    assert 0.2 <= time.monotonic() - began < 60
    assert redis.keys("rq:heori:line:*") == []
    with pytest.raises(QueueFull, match="no room for 0 s"):
        producer.options(full_timeout=0).submit(sample_tasks.add, 1)


SENDER = """
import sys
from heori_common.settings import Settings
from heori import Producer
from tests.tasks import sample_tasks
with Producer(sys.argv[1]) as producer:
    producer.submit(sample_tasks.add, int(sys.argv[2]))
"""


def test_a_producer_that_is_killed_while_it_waits_blocks_nobody(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    producer = limited(1)
    producer.submit(sample_tasks.add, 0)
    killed = subprocess.Popen([sys.executable, "-c", SENDER, redis_url, "1"])
    until(lambda: len(line(redis)) == 1)
    behind = Sending(lambda: producer.submit(sample_tasks.add, 2))
    until(lambda: len(line(redis)) == 2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    redis.lpop("rq:queue:default")
    behind.end()
    assert queued(redis) == [2]
    assert redis.keys("rq:heori:line:*") == []


def test_when_all_who_waited_are_gone_no_trace_of_them_stays(
    limited: Callable[..., Producer], redis: Any, redis_url: str
) -> None:
    limited(1).submit(sample_tasks.add, 0)
    killed = subprocess.Popen([sys.executable, "-c", SENDER, redis_url, "1"])
    until(lambda: line(redis))
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    until(lambda: not redis.keys("rq:heori:line:*"))


def test_the_bound_holds_for_many_producers_and_a_real_consumer(
    limited: Callable[..., Producer], consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    producers = [limited(20) for _ in range(4)]
    sendings = [
        Sending(lambda each=each: each.submit_many(sample_tasks.add, range(300)))  # type: ignore[misc]
        for each in producers
    ]
    until(lambda: len(line(redis)) == 4)
    highest = depth(redis)
    consume().ready()
    while any(sending.is_alive() for sending in sendings):
        highest = max(highest, depth(redis))
    assert highest == 20
    for sending in sendings:
        assert [handle.result(60) for handle in sending.end()] == list(range(2, 302))
    assert bound(redis_url).sent == 1200


# The limit itself


def test_a_limit_that_is_lifted_lets_those_in_who_wait(
    limited: Callable[..., Producer], redis: Any, heori: Heori
) -> None:
    producer = limited(1)
    producer.submit(sample_tasks.add, 0)
    waiting = Sending(lambda: producer.submit_many(sample_tasks.add, range(400)))
    until(lambda: line(redis))
    shown = json.loads(heori("status", "--json").stdout)["queues"]["default"]
    assert (shown["waiting"], shown["limit"], shown["blocked"]) == (1, 1, 1)
    table = heori("status").stdout
    assert "1 of 1" in table
    assert "blocked" in table
    assert heori("limit", "default", "200").stdout == "default: 200 jobs may wait\n"
    until(lambda: depth(redis) == 200)
    assert heori("limit", "default", "none").stdout == "default: no limit\n"
    waiting.end()
    assert depth(redis) == 401
    assert heori("limit", "default").stdout == "default: no limit\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("default", "0"), "a number of jobs from 1 up is needed, or none"),
        (("default", "many"), "a number of jobs from 1 up is needed, or none"),
        (("a,b", "5"), "without commas"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    heori: Heori, words: tuple[str, ...], reason: str
) -> None:
    ran = heori("limit", *words)
    assert ran.returncode == 2
    assert reason in ran.stderr


def test_the_latest_producer_to_start_sets_the_limit_for_all(
    limited: Callable[..., Producer], redis_url: str
) -> None:
    first, second = limited(5), limited(7)
    first.submit(sample_tasks.add, 0)
    second.submit(sample_tasks.add, 0)
    first.submit(sample_tasks.add, 0)
    assert bound(redis_url).limit == 7


@pytest.mark.parametrize(
    ("text", "reason"),
    [("orders", "QUEUE=JOBS is needed"), ("orders=0", "greater than"), ("a@@b=3", "without @@")],
)
def test_a_setting_that_makes_no_sense_is_named(heori: Heori, text: str, reason: str) -> None:
    ran = heori("send", "tests.tasks.sample_tasks.add", HEORI_QUEUE_LIMITS=text)
    assert ran.returncode == 2
    assert "HEORI_QUEUE_LIMITS" in ran.stderr
    assert reason in ran.stderr


def test_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEORI_QUEUE_LIMITS", "orders=10000, mail=5")
    monkeypatch.setenv("HEORI_WHEN_FULL", "reject")
    settings = Settings()
    assert settings.queue_limits == {"orders": 10000, "mail": 5}
    assert settings.when_full == "reject"


def test_an_unknown_policy_is_refused_and_nothing_is_sent(
    limited: Callable[..., Producer], redis: Any
) -> None:
    with pytest.raises(ValueError, match="when_full='drop': one of block, reject, drop_oldest"):
        limited().options(when_full="drop")  # type: ignore[arg-type]
    assert depth(redis) == 0


def test_a_bound_that_is_no_hash_is_told_and_nothing_is_sent(
    producer: Producer, redis: Any
) -> None:
    redis.set("rq:heori:bound:default", "text")
    with pytest.raises(Exception, match="WRONGTYPE"):
        producer.submit(sample_tasks.add, 1)
    assert redis.keys("rq:job:*") == []

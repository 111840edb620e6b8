"""Claimed jobs that are asked back: cancelled only if no slot has begun them."""

import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from heori import Producer
from heori_common.protocol.commands import Begun
from heori_common.protocol.job import RETURNED, Outcome, begun_and_returned
from heori_producer.recall import ANSWER_S
from tests.rigs.script_bench import ME, Bench
from tests.rigs.waiting import about
from tests.tasks import sample_tasks


@pytest.fixture
def told(bench: Bench) -> Iterator[Any]:
    """What the consumer is told, as if it were there."""
    with bench.redis.pubsub() as listening:
        listening.subscribe(f"rq:heori:told:{ME}")
        assert listening.get_message(timeout=60)["type"] == "subscribe"
        yield listening


def ask(bench: Bench, *ids: str, recalls: bool = True) -> list[int]:
    asked = bench.execute(bench.commands.ask_consumers("default", ids, recalls=recalls))
    return sorted(asked)


def test_its_consumer_is_told_and_what_it_gives_back_unbegun_is_cancelled(
    bench: Bench, told: Any
) -> None:
    bench.send("a", "b", "waits")
    a, b = bench.claim(count=2)
    assert ask(bench, "a", "b", "waits", "gone") == [0, 1]
    message = told.get_message(timeout=60)["data"]
    assert msgpack.unpackb(message) == ["asked", ["a", "b"], True]
    assert bench.give_back((a, Outcome(RETURNED)), (b, begun_and_returned())) == ["gone", "queued"]
    assert bench.queue() == ["b", "waits"], "what has begun is no more than put back"
    assert (bench.wip(), bench.field("a", "status")) == ({}, "canceled")
    assert bench.redis.zscore("rq:canceled:default", "a") - bench.now() == about(500)
    assert 0 < bench.redis.ttl("rq:job:a") <= 500
    assert bench.execute(bench.commands.end_recall(["a", "b"])) == [0]
    assert [claim.job_id for claim in bench.claim()] == ["b", "waits"]


def test_what_was_not_given_back_in_time_goes_on(bench: Bench, told: Any) -> None:
    bench.send("a")
    [claim] = bench.claim()
    assert ask(bench, "a") == [0]
    assert bench.execute(bench.commands.end_recall(["a"])) == []
    assert bench.give_back((claim, Outcome(RETURNED))) == ["queued"]
    assert ask(bench, "a") == [], "it waits: there is nobody to ask"
    [again] = bench.claim()
    assert ask(bench, "a") == [0]
    assert bench.release(again, counted=True) == ["queued"], "its worker has died with it"
    [last] = bench.claim()
    assert bench.give_back((last, Outcome(RETURNED))) == ["queued"], "that was of another delivery"


def test_whether_it_has_begun_is_answered_for_this_delivery(bench: Bench, told: Any) -> None:
    def known() -> Begun:
        return bench.execute(bench.commands.begun("a"))

    bench.send("a")
    assert known() == ("queued", None)
    [claim] = bench.claim()
    assert ask(bench, "a", recalls=False) == [0]
    assert known() == ("started", None)
    assert bench.execute(bench.commands.tell_begun([(claim, False)])) == 1
    assert known() == ("started", False)
    assert ask(bench, "a", recalls=False) == [0], "it may have begun since"
    assert known() == ("started", None)
    bench.execute(bench.commands.tell_begun([(claim, True)]))
    assert known() == ("started", True)
    assert ask(bench, "a", recalls=False) == [], "it is known"
    bench.give_back((claim, begun_and_returned()))
    assert bench.execute(bench.commands.tell_begun([(claim, True)])) == 0
    bench.claim()
    assert known() == ("started", False)
    assert ask(bench, "a", recalls=False) == [0]


def test_nobody_is_asked_who_is_not_there_or_is_a_stock_worker(bench: Bench) -> None:
    bench.send("a", "b")
    bench.claim(count=1)
    assert ask(bench, "a", "b") == []
    assert bench.field("a", "heori_recalled") is None
    bench.redis.hset("rq:job:b", mapping={"status": "started", "worker_name": "rq's"})
    bench.redis.set("rq:job:c", "text")
    assert ask(bench, "b", "c") == []
    assert bench.execute(bench.commands.end_recall(["b", "c"])) == []


def test_a_consumer_that_does_not_answer_is_waited_for_no_longer_than_that(
    bench: Bench, told: Any, producer: Producer
) -> None:
    handle = producer.submit(sample_tasks.add, 1)
    [claim] = bench.claim()
    assert handle.status() == "started"
    began = time.monotonic()
    assert not handle.cancel()
    assert time.monotonic() - began >= ANSWER_S
    assert told.get_message(timeout=60)["type"] == "message"
    assert bench.give_back((claim, Outcome(RETURNED))) == ["queued"], "it was said to go on"
    assert handle.cancel()

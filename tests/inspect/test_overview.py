"""What `heori top` and the page tell of a consumer that was asked to drain."""

from collections.abc import Callable
from typing import Any

from heori import Producer
from heori.inspect.consumers import drain
from heori.inspect.overview import compare, take_reading
from heori.inspect.reader import RedisReader
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


def test_a_consumer_drains_until_it_holds_nothing_and_then_is_drained(
    consume: Callable[..., Consumer],
    producer: Producer,
    reader: RedisReader,
    redis: Any,
    redis_url: str,
) -> None:
    consumer = consume().ready()

    def state() -> str:
        now = take_reading(reader)
        [row] = compare(now, now).consumers
        return row.state if row.answers else ""

    held = producer.submit(sample_tasks.hold, redis_url, "k")
    redis.blpop("k:running", 60)
    until(lambda: state() == "busy")
    drain(reader, consumer.name, drains=True)
    until(lambda: state() == "draining")
    redis.rpush("k:go", 1)
    assert held.result(60) == "k"
    until(lambda: state() == "drained")
    drain(reader, consumer.name, drains=False)
    until(lambda: state() == "idle")

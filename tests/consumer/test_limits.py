"""Limits that a team sets, kept by real consumers."""

import time
from collections.abc import Callable

from heori import Producer
from tests.rigs.consumers import Consumer
from tests.tasks import limited_tasks

RATE, BURST = 200, 5


def test_two_consumers_keep_a_rate_together_and_nothing_else_waits(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    for _ in range(2):
        consume("--model", "threads", "--slots", "4", HEORI_TASKS="tests.tasks.limited_tasks")
    numbers = range(60)
    sent = time.time()
    rated = producer.submit_many(limited_tasks.call, [("acme", n) for n in numbers])
    others = producer.submit_many(limited_tasks.call, [("other", n) for n in numbers])
    assert producer.submit(limited_tasks.plain, 7).result(60) == 7
    for handles in (rated, others):
        began = [handle.result(60) for handle in handles]
        assert [number for number, _ in began] == list(numbers)
        assert max(when for _, when in began) - sent >= (len(numbers) - BURST) / RATE

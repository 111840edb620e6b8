"""One consumer that serves many queues, of which claims ask some, and others later."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heori import Handle, Producer
from heori_common.protocol.commands import Claimed, Commands
from heori_common.protocol.commands.pausing import Pause
from heori_consumer.supervisor.hand_overs import now
from heori_consumer.supervisor.queue_window import FEW, QueueWindow
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import Bench, ids
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

MANY = 12 * FEW
NAMES = tuple(f"q{number:03}" for number in range(MANY))
LONG = 1e6  # seconds from now, by which a look from the first queue on is not due in a test


class Asking:
    """Claims as a consumer does."""

    def __init__(self, bench: Bench, queues: int = MANY) -> None:
        self.bench = bench
        self.window = QueueWindow()
        self.names = NAMES[:queues]
        self.asked = range(0)

    def claim(self, count: int, *, is_due: bool = False) -> Claimed:
        """Claim once.

        Args:
            is_due: whether the next claim is to look from the first queue on.
        """
        self.asked = self.window.next(len(self.names))
        names = self.names[self.asked.start : self.asked.stop]
        claimed = self.bench.look(*names, count=count, shares=[count])
        sent = now() + (-LONG if is_due else LONG)
        self.window.asked(self.asked, claimed.through, sent=sent, took=0.0, empty=claimed.empty)
        return claimed


@pytest.mark.parametrize(
    ("count", "through"), [(1, 65), (2, 65), (3, 80), (4, 80), (5, 100)],
    ids=["some of a queue", "all of it", "some of the next", "all of both", "more than there are"],
)  # fmt: skip
def test_a_claim_tells_how_many_queues_from_the_first_on_have_nothing_more(
    bench: Bench, count: int, through: int
) -> None:
    bench.send("a", "b", queue=NAMES[65])
    bench.send("c", "d", queue=NAMES[80])
    claimed = bench.look(*NAMES[:100], count=count)
    assert (len(claimed.claims), claimed.through) == (min(count, 4), through)


def test_what_has_nothing_for_a_claim_is_not_asked_again_and_what_is_left_is(bench: Bench) -> None:
    bench.redis.set("rq:queue:broken", "text")
    bench.send("paused", queue="paused")
    bench.execute(bench.commands.pause(Pause("queue", "paused")))
    bench.send("a", queue="a@@tenant")
    bench.send("b", queue="a@@tenant")
    bench.send("large", queue="b")
    queues = ("broken", "paused", "a", "b")
    assert bench.look(*queues, count=1).through == 2, "a tenant has another"
    claimed = bench.look(*queues, count=2)
    assert (ids(claimed.claims), claimed.through) == (["b", "large"], 3)
    assert bench.look(*queues, count=2).through == 4
    bench.send("c", queue="a")
    by_share = bench.look(*queues, count=1, shares=[0, 0, 0, 1])
    assert (ids(by_share.claims), by_share.through) == (["c"], 2)


@given(
    st.lists(st.tuples(st.integers(0, MANY - 1), st.integers(1, 9)), max_size=12),
    st.integers(1, 12),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_jobs_of_many_queues_come_in_their_order_and_all_of_them(
    bench: Bench, jobs: list[tuple[int, int]], count: int
) -> None:
    bench.redis.flushdb()
    expected: list[tuple[int, str]] = []
    for place, (queue, number) in enumerate(jobs):
        for job in range(number):
            bench.send(f"{place}-{job}", queue=NAMES[queue])
            expected.append((queue, f"{place}-{job}"))
    asking, came = Asking(bench), []
    while not (claimed := asking.claim(count)).empty or len(asking.asked) < MANY:
        came += ids(claimed.claims)
    assert came == [job for _, job in sorted(expected, key=lambda each: each[0])]


def test_what_comes_to_an_earlier_queue_waits_until_they_are_looked_at_again(bench: Bench) -> None:
    asking = Asking(bench)
    bench.send("a", "b", "c", "d", queue=NAMES[500])
    assert ids(asking.claim(1).claims) == ["a"]
    bench.send("early", queue=NAMES[1])
    assert ids(asking.claim(1).claims) == ["b"]
    assert asking.asked.start == 500
    assert len(asking.asked) < MANY
    asking = Asking(bench)
    bench.send("late", queue=NAMES[2])
    assert ids(asking.claim(1, is_due=True).claims) == ["early"]
    assert ids(asking.claim(1, is_due=True).claims) == ["late"]
    assert asking.claim(1).empty, "none of a part has any"
    assert ids(asking.claim(1, is_due=True).claims) == ["c"]
    bench.send("first", queue=NAMES[0])
    assert ids(asking.claim(1).claims) == ["first"]


def test_few_queues_are_asked_each_time(bench: Bench) -> None:
    asking = Asking(bench, FEW)
    bench.send("a", "b", queue=NAMES[FEW - 1])
    assert ids(asking.claim(1).claims) == ["a"]
    bench.send("early", queue=NAMES[0])
    assert ids(asking.claim(1).claims) == ["early"]


@pytest.mark.parametrize(("took", "first"), [(0.0, 0), (LONG, 500)], ids=["soon", "slow"])
def test_looking_from_the_first_queue_on_takes_a_tenth_of_the_time_at_most(
    took: float, first: int
) -> None:
    window = QueueWindow()
    asked = window.next(MANY)
    window.asked(asked, 500, sent=now() - LONG, took=took, empty=False)
    assert window.next(MANY).start == first


def test_queues_that_are_not_served_any_more_change_nothing(bench: Bench) -> None:
    asking = Asking(bench)
    bench.send("a", "b", queue=NAMES[700])
    assert ids(asking.claim(1).claims) == ["a"]
    asking.names = NAMES[600:]
    assert ids(asking.claim(1).claims) == ["b"]


def test_a_consumer_serves_many_queues_and_then_waits(
    consume: Callable[..., Consumer], redis: Any, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    path.touch()

    def runs() -> list[int]:
        return [int(line) for line in path.read_bytes().split()]

    def send(producer: Producer, number: int) -> Handle[int]:
        sender = producer.options(queue=NAMES[number])
        return sender.submit(sample_tasks.record, str(path), number)

    arguments = ["--slots", "1", "--batch", "8"]
    for name in NAMES[1:]:
        arguments += ["--queue", name]
    with_jobs = range(0, MANY, 3)
    with Producer(redis_url) as producer:
        for number in with_jobs:
            for _ in range(3):
                send(producer, number)
        consumer = consume(*arguments, queue=NAMES[0]).ready()
        until(lambda: len(runs()) == MANY)
        assert Counter(runs()) == dict.fromkeys(with_jobs, 3)
        finished = [Commands().keys.finished(NAMES[number]) for number in with_jobs]
        until(lambda: all(redis.zcard(key) == 3 for key in finished))
        for number in (MANY - 1, 0):  # by a hand-over
            send(producer, number).result(60)
    assert runs()[MANY:] == [MANY - 1, 0]
    assert consumer.stop() == 0

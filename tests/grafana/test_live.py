"""A real Prometheus over real consumers: every panel and rule gets an answer."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from producer import Producer
from tests.conftest import Consumer, until
from tests.grafana import load
from tests.grafana.boards import BOARDS, expressions, names, selectors
from tests.grafana.prometheus import RATE_INTERVAL, Prometheus, program

# What panels and rules are made for and no consumer exports so far. Whatever has data must go.
STILL_TO_COME = {
    "heori_jobs_dropped_total",
    "heori_jobs_rejected_total",
    "heori_producers_blocked",
    "heori_queue_limit",
}


@pytest.fixture
def prometheus(
    consume: Callable[..., Consumer], redis_url: str, tmp_path: Path
) -> Iterator[Prometheus]:
    """Scrapes consumers of three models, that have every kind of work until the test ends."""
    program("prometheus")  # before anything is started for nothing
    tasks = {"HEORI_TASKS": "tests.grafana.load"}
    estimate = {"HEORI_GIL_SOURCE": "estimate"}  # as where /proc cannot be read
    consumers = [
        consume("--model", "threads", "--slots", "4", queue="busy", **tasks),
        consume("--model", "processes", "--processes", "2", queue="busy", **tasks, **estimate),
        consume("--model", "asyncio", "--processes", "1", queue="loop", **tasks),
    ]
    over = threading.Event()
    feeder = threading.Thread(target=feed, args=(redis_url, over))
    with Prometheus(tmp_path, [consumer.ready().url for consumer in consumers]) as running:
        feeder.start()
        yield running
        over.set()
        feeder.join()


def feed(redis_url: str, over: threading.Event) -> None:
    """Work of every kind, a little more than the consumers get done."""
    with Producer(redis_url) as producer:
        while not over.wait(0.2):
            producer.submit_many(load.count, [(0.01,)] * 10)
            producer.submit_many(load.nap, [(0.02,)] * 10)
            producer.submit_many(load.nap_in_loop, [(0.02,)] * 10)
            producer.submit_many(load.digest, [()] * 5)
            producer.submit(load.nap_beside_loop, 0.01)
            producer.submit(load.fail)
            producer.submit(load.die)
            producer.submit_many(load.transfer, [(5,)] * 2)
            producer.submit(load.enter, 5)
            producer.submit(load.nap, 0.01, delay=0.1)


def concrete(expression: str) -> str:
    """As Grafana asks it with all variables on All."""
    expression = expression.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1m")
    return re.sub(r'"\$\w+"', '".*"', expression)


def test_every_expression_has_data_and_every_metric_a_use(prometheus: Prometheus) -> None:
    """Of alerts, what they look at has data: they themselves have some only when they fire."""
    asked = {
        f"{name}, {title}: {expression}": concrete(expression)
        for name, board in BOARDS.items()
        for title, expression in expressions(board)
    }
    rules = prometheus.rules()
    asked |= {rule["name"]: rule["query"] for rule in rules if rule["type"] == "recording"}
    asked |= {
        each: each
        for expression in [*asked.values(), *(rule["query"] for rule in rules)]
        for each in selectors(expression)
    }
    waiting = {each.partition("{")[0] for each in STILL_TO_COME}
    waiting |= {
        rule["name"]
        for rule in rules
        if rule["type"] == "recording" and names([rule["query"]]) & waiting
    }
    empty = {
        where: expression
        for where, expression in asked.items()
        if not any(name in expression for name in waiting)
    }

    def all_have_data() -> bool:
        for where, expression in list(empty.items()):
            if prometheus.values(expression):
                del empty[where]
        return not empty

    try:
        until(all_have_data, timeout=30)
    except AssertionError:
        raise AssertionError("no data for\n" + "\n".join(empty)) from None
    until(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()))
    assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []
    used = names(asked.values())
    exported = names(prometheus.ask("label/__name__/values"))
    assert used - exported <= waiting, "nobody exports these"
    assert exported - used == set(), "nothing shows these"
    assert [each for each in STILL_TO_COME if prometheus.values(each)] == []

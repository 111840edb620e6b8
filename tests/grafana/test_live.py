"""A real Prometheus over real consumers: every panel and rule gets an answer."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from producer import Producer
from tests.conftest import Consumer, until
from tests.grafana import load
from tests.grafana.boards import BOARDS, expressions, selectors
from tests.grafana.prometheus import RATE_INTERVAL, Prometheus

# Metrics that panels and rules are made for and that no consumer exports so far.
STILL_TO_COME: set[str] = set()


@pytest.fixture
def prometheus(
    consume: Callable[..., Consumer], redis_url: str, tmp_path: Path
) -> Iterator[Prometheus]:
    """Scrapes consumers of three models, that have every kind of work until the test ends."""
    tasks = {"HEORI_TASKS": "tests.grafana.load"}
    consumers = [
        consume("--model", "threads", "--slots", "4", queue="busy", **tasks),
        consume("--model", "processes", "--processes", "2", queue="busy", **tasks),
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
            producer.submit(load.nap, 0.01, delay=0.1)


def everything_asked() -> dict[str, str]:
    """Each expression of a panel, and what each rule selects, by where it stands."""
    asked = {
        f"{name}, {title}: {expression}": expression
        for name, board in BOARDS.items()
        for title, expression in expressions(board)
    }
    return asked


def concrete(expression: str) -> str:
    """As Grafana asks it with all variables on All."""
    expression = expression.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1m")
    return re.sub(r'"\$\w+"', '".*"', expression)


def test_every_expression_of_every_panel_and_rule_has_data(prometheus: Prometheus) -> None:
    asked = everything_asked()
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["type"] == "recording":
            asked[f"{rule['name']}: {rule['query']}"] = rule["query"]
        else:  # it has data when it fires: here it is enough that what it looks at is there
            asked |= {f"{rule['name']}: {each}": each for each in selectors(rule["query"])}
    excepted = {
        where: expression
        for where, expression in asked.items()
        if any(re.search(rf"\b{name}", expression) for name in STILL_TO_COME)
    }
    empty = {where: expression for where, expression in asked.items() if where not in excepted}

    def all_have_data() -> bool:
        for where, expression in list(empty.items()):
            if prometheus.values(concrete(expression)):
                del empty[where]
        return not empty

    try:
        until(all_have_data, timeout=30)
    except AssertionError:
        raise AssertionError("no data for\n" + "\n".join(empty)) from None
    assert not [rule for rule in rules if rule["health"] != "ok" or rule.get("lastError")]

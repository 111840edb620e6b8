"""A real Prometheus over real consumers: every panel and rule gets an answer."""

import contextlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from heori import Producer, QueueFull
from heori_common.protocol.commands import Commands, WhenFull
from heori_common.protocol.commands.pausing import Pause
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from tests.grafana import load
from tests.grafana.boards import BOARDS, expressions, names, selectors
from tests.grafana.prometheus import RATE_INTERVAL, Prometheus, program
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import Service, serving
from tests.rigs.waiting import until


@pytest.fixture
def prometheus(
    consume: Callable[..., Consumer], redis_url: str, tmp_path: Path
) -> Iterator[Prometheus]:
    """Scrapes a service and three models of consumers, which have every kind of work meanwhile."""
    program("prometheus")  # before anything is started for nothing
    tasks = {"HEORI_TASKS": "tests.grafana.load"}
    estimate = {"HEORI_GIL_SOURCE": "estimate"}  # as where /proc cannot be read
    consumers = [
        consume("--model", "threads", "--slots", "4", queue="busy", **tasks),
        consume("--model", "processes", "--processes", "2", queue="busy", **tasks, **estimate),
        consume("--model", "asyncio", "--processes", "1", queue="loop", **tasks),
        consume("--slots", "1", "--queue", "held", queue="narrow", **tasks),
        consume("--model", "auto", queue="deep", **tasks),
    ]
    with RedisClient(redis_url) as client:
        for what in (
            Pause.of_queue("held"),
            Pause.of_queue("busy", "acme"),
            Pause("task", "tests.grafana.load.none"),
        ):
            client.execute(Commands().pause(what))
    over = threading.Event()
    with serving(redis_url, **tasks) as service:
        urls = [service.url, *(consumer.ready().url for consumer in consumers)]
        working = [
            threading.Thread(target=work, args=(where, over))
            for work, where in ((feed, redis_url), (press, redis_url), (call, service))
        ]
        with Prometheus(tmp_path, urls) as running:
            for each in working:
                each.start()
            yield running
            over.set()
            for each in working:
                each.join()


def feed(redis_url: str, over: threading.Event) -> None:
    """Rounds of work of every kind; each begins when the locks of the one before have been had.

    So on a busy machine no kind of work waits behind a backlog. A worker dies in few of
    the rounds, so that others live long enough to be seen.
    """
    with Producer(redis_url) as producer:
        producer.options(tenant="acme").submit(load.nap, 0.01)  # which is paused
        producer.options(queue="deep").submit_many(load.nap, [(0.2,)] * 5_000)
        for turn in itertools.count():
            producer.submit_many(load.count, [(0.01,)] * 10)
            producer.submit_many(load.nap, [(0.02,)] * 10)
            producer.submit_many(load.nap_in_loop, [(0.02,)] * 10)
            producer.submit_many(load.digest, [()] * 5)
            producer.submit(load.nap_beside_loop, 0.01)
            producer.submit(load.fail)
            if turn % 10 == 0:
                producer.submit(load.die)
            producer.options(delay=0.1).submit(load.nap, 0.01)
            last = [
                *producer.submit_many(load.transfer, [(5,)] * 2),
                producer.submit(load.enter, 5),
            ]
            while any(handle.status() not in {"finished", "failed"} for handle in last):
                if over.wait(0.05):
                    return
            if over.wait(0.2):
                return


def call(service: Service, over: threading.Event) -> None:
    """Work that is sent and looked at over HTTP."""
    while not over.wait(0.2):
        sent = service.ask("POST", "/v1/tasks/tests.grafana.load.nap", [0.02])
        service.ask("GET", f"/v1/jobs/{sent.body['id']}?wait=5")


def press(redis_url: str, over: threading.Event) -> None:
    """More than a queue with a limit takes: the producer waits, is refused, and drops jobs."""
    settings = Settings(redis_url=redis_url, queue_limits={"narrow": 5}, full_timeout=0.5)
    policies = itertools.cycle(get_args(WhenFull))
    with Producer(settings=settings) as producer:
        while not over.is_set():
            with contextlib.suppress(QueueFull):
                calls = [(0.1,)] * 10
                producer.options(when_full=next(policies)).submit_many(load.squeeze, calls)


def concrete(expression: str) -> str:
    """As Grafana asks it with all variables on All."""
    expression = expression.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1m")
    return re.sub(r'"\$\w+"', '".*"', expression)


@pytest.mark.timeout(600)  # on a busy machine, to start all of it takes minutes
def test_every_expression_has_data_and_every_metric_a_use(prometheus: Prometheus) -> None:
    """Of alerts, what they look at has data: they themselves have some only when they fire."""
    asked = {
        f"{name}, {title}: {expression}": concrete(expression)
        for name, board in BOARDS.items()
        if name != "notes"  # tests/compose/test_lab.py has what they are of
        for title, expression in expressions(board)
        if title != "Take"  # test_expressions.py has both models busy enough to be compared
    }
    rules = prometheus.rules()
    asked |= {rule["name"]: rule["query"] for rule in rules if rule["type"] == "recording"}
    asked |= {
        each: each
        for expression in [*asked.values(), *(rule["query"] for rule in rules)]
        for each in selectors(expression)
    }
    empty = asked.copy()

    def all_have_data() -> bool:
        for where, expression in list(empty.items()):
            if prometheus.values(expression):
                del empty[where]
        return not empty

    try:
        until(all_have_data, timeout=240)
    except AssertionError:
        raise AssertionError("no data for\n" + "\n".join(empty)) from None
    until(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()))
    assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []
    used = names(asked.values())
    exported = names(prometheus.ask("label/__name__/values"))
    assert used - exported == set(), "nobody exports these"
    assert exported - used == set(), "nothing shows these"
    for share in {each for each in asked.values() if each.startswith("clamp_max(")}:
        assert max(prometheus.values(share), default=0.0) <= 1
    for each in (
        "heori_producers_blocked",
        "heori_jobs_rejected_total",
        "heori_jobs_dropped_total",
    ):
        until(lambda each=each: prometheus.values(f"{each} > 0"))  # type: ignore[misc]

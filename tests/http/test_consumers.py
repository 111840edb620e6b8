"""Consumers: over HTTP and on the page, with what their slots run; drained, and resumed."""

import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from heori import Producer
from tests.rigs.browser import Browser, unsafe
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import Service
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

HOLD = "tests.tasks.sample_tasks.hold"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def register(redis: Any, name: str, **record: str) -> None:
    redis.hset(f"rq:worker:{name}", mapping={"birth": "2030-01-01T00:00:00Z", **record})
    redis.expire(f"rq:worker:{name}", 50)
    redis.sadd("rq:workers", f"rq:worker:{name}")


def test_a_slot_is_seen_and_its_consumer_drained_and_resumed(
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
    service: Service,
) -> None:
    consumer = consume("--slots", "2").ready()
    job = producer.submit(sample_tasks.hold, redis_url, "k")
    pid = int(redis.blpop("k:running", 60)[1])
    path = f"/v1/consumers/{quote(consumer.name, safe='')}"
    page = f"/consumers/{quote(consumer.name, safe='')}"
    browser = Browser(service)

    def one() -> dict[str, Any]:
        found: dict[str, Any] = service.ask("GET", path).body
        return found

    until(lambda: one()["running"] == 1)
    until(lambda: one()["workers"] and one()["workers"][0]["jobs"][0]["job"] == job.id)
    until(lambda: service.ask("GET", "/v1/consumers").body["consumers"][0]["running"] == 1)
    until(lambda: job.id in browser.get(page).text)
    until(lambda: str(pid) in browser.get(page).text)
    until(lambda: HOLD in browser.get(page).text)
    assert consumer.name in browser.get("/consumers").text

    drained = service.ask("POST", f"{path}/drain")
    assert (drained.status, drained.body) == (200, {"consumer": consumer.name, "drains": True})
    until(lambda: one()["state"] == "draining")
    redis.rpush("k:go", 1)
    assert job.result(60) == "k"
    until(lambda: one()["state"] == "drained")
    until(lambda: "drained" in browser.get("/consumers").text)
    assert service.ask("POST", f"{path}/resume").status == 200
    until(lambda: one()["state"] == "idle")
    assert browser.post(f"{page}/drain").status == 303
    until(lambda: one()["state"] == "drained")
    assert browser.post(f"{page}/resume").status == 303
    assert producer.submit(sample_tasks.add, 1, 1).result(60) == 2


def test_what_cannot_be_drained_is_said(redis: Any, service: Service) -> None:
    register(redis, "stock", state="idle")
    refused = service.ask("POST", "/v1/consumers/stock/drain")
    assert (refused.status, "rq suspend" in refused.body["detail"]) == (409, True)
    for method, path in (("GET", ""), ("POST", "/drain"), ("POST", "/resume")):
        assert service.ask(method, f"/v1/consumers/nobody{path}").status == 404
    browser = Browser(service)
    assert browser.post("/consumers/stock/drain").status == 409
    assert browser.post("/consumers/nobody/drain").status == 404
    assert browser.get("/consumers/nobody").status == 404


def test_one_that_hangs_is_shown_by_its_record_and_what_is_hostile_is_shown_as_text(
    redis: Any, service: Service, silent: str
) -> None:
    register(redis, "hung", heori_metrics=silent, state="busy", queues=HOSTILE, hostname=HOSTILE)
    register(redis, HOSTILE, heori_metrics=HOSTILE, state=HOSTILE, queues=HOSTILE)
    [_, hung] = sorted(
        service.ask("GET", "/v1/consumers").body["consumers"], key=lambda each: each["name"]
    )
    assert (hung["name"], hung["answers"], hung["slots"]) == ("hung", False, None)
    browser = Browser(service)
    for path in ("/consumers", "/consumers/hung", f"/consumers/{quote(HOSTILE, safe='')}"):
        shown = browser.get(path)
        assert shown.status == 200
        assert HOSTILE not in shown.text
        assert unsafe(shown.text) == []

"""Consumers: over HTTP and on the page, with what their slots run; drained, and resumed."""

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

from heori import Producer
from tests.rigs.browser import Browser, unsafe
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import JOB, Service
from tests.rigs.waiting import until
from tests.tasks import sample_tasks

HOLD = "tests.tasks.sample_tasks.hold"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def says() -> Iterator[Callable[[Any], str]]:
    """Has something at an address that answers with this, until it is told another; returns it."""
    said: list[Any] = [None]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said[0]).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    def say(what: Any) -> str:
        said[0] = what
        return f"http://127.0.0.1:{server.server_port}"

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield say
        server.shutdown()


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

    def running() -> list[str]:
        """None where it is too late with its answer."""
        return [slot["job"] for each in one().get("workers", ()) for slot in each["jobs"]]

    until(lambda: one()["running"] == 1)
    until(lambda: job.id in running())
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


def test_of_a_job_its_slot_its_cpu_and_its_waits_for_the_gil_are_told(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, service: Service
) -> None:
    consume("--model", "threads", "--slots", "2").ready()
    job, other = (producer.submit(sample_tasks.spin, 600.0) for _ in range(2))
    browser = Browser(service)

    def told(query: str = "?now=true") -> dict[str, Any]:
        found: dict[str, Any] = service.ask("GET", f"{JOB}{job.id}{query}").body
        return found

    answers: list[dict[str, Any]] = []

    def has_waited() -> bool:
        answers.append(told())  # its consumer may be too late with the next
        cpu, gil = (answers[-1].get(name, 0) for name in ("cpu", "gil"))
        return "now" in answers[-1] and min(cpu, gil) > 0.2

    until(has_waited)
    now = answers[-1]["now"]
    assert (now["worker"], now["slot"] in (0, 1), now["in_line"]) == ("0", True, [])
    assert "now" not in told(""), "its consumer is asked only for those who want to know"
    until(lambda: "of worker 0, process" in browser.get(f"/jobs/{job.id}").text)
    assert service.ask("POST", f"{JOB}{job.id}/stop").status == 200
    until(lambda: told()["status"] == "stopped")
    ended = told()
    assert ended["gil"] > 0.2 < ended["cpu"] < ended["ran"]
    assert (ended["tries"][0]["cpu"], "now" in ended) == (ended["cpu"], False)
    shown = browser.get(f"/jobs/{job.id}").text
    assert "Waited for the GIL" in shown
    assert "of worker 0, process" not in shown
    until(lambda: service.ask("POST", f"{JOB}{other.id}/stop").status == 200)
    until(lambda: service.ask("GET", JOB + other.id).body["status"] == "stopped")


SLOT = {
    "slot": 1, "job": "j", "task": "t", "queue": "q", "delivery": 1, "seconds": 1.0,
    "cpu_seconds": 1.0, "gil_seconds": 0.5, "thread_state": "running", "lent": False,
    "locks": [], "in_line": [{"kind": "mutex", "name": "held-up", "seconds": 2.0}],
}  # fmt: skip
WORKER = {
    "worker": "0", "pid": 1, "seconds": 1.0, "state": "ready", "slots": 2, "lent": 0,
    "finished": 1, "gil_loss": 0.1, "gil_source": "external", "thread_seconds": {"running": 1.0},
    "jobs": [SLOT],
}  # fmt: skip
SAID = {
    "consumer": "odd", "version": "1", "model": "threads", "processes": 1, "slots": 2,
    "running": 1, "waiting": 0, "executed": 5, "state": "busy", "workers": [WORKER], "left_out": 0,
}  # fmt: skip
MOVE = {
    "ago": 9.0, "before": {"processes": 2, "slots": 8, "coroutines": 100},
    "size": {"processes": 4, "slots": 2, "coroutines": 100}, "cause": "threads wait for the GIL",
    "reason": "2 × 8 → 4 × 2: threads wait for the GIL 61% of their time", "outcome": "kept",
    "gain": 1.74, "came_of": "+74% jobs/s since",
}  # fmt: skip
AUTO = {
    "wanted": MOVE["size"], "estimates": {"processes-1": 0.9, "slots+1": 1.02},
    "apart": "jobs of myapp.spin run one at a time in each process",
    "held_up": "75% of the jobs stand in line for mutex ledger (myapp.pay)",
    "moves": [MOVE | {"outcome": "undone", "gain": 0.9}, MOVE],
}  # fmt: skip
NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -1, 10**400, [])
NONSENSE: tuple[Any, ...] = (math.nan, [], HOSTILE)


def spoilt() -> Iterator[Any]:
    """What it says, with one thing of it spoilt."""
    yield from ([], "x", 1, {}, None)
    for name in ("slots", "running", "executed", "workers", "consumer", "left_out"):
        yield from ({**SAID, name: value} for value in NUMBERS)
    for name in ("pid", "seconds", "gil_loss", "slots", "thread_seconds", "jobs"):
        yield from ({**SAID, "workers": [{**WORKER, name: value}]} for value in NUMBERS)
    for name in AUTO:
        yield from ({**SAID, "auto": {**AUTO, name: value}} for value in NONSENSE)
    for name in MOVE:
        for value in NONSENSE:
            yield {**SAID, "auto": {**AUTO, "moves": [{**MOVE, name: value}]}}
    for name in SLOT:
        for value in NUMBERS:
            slot = {**SLOT, name: value}
            yield {**SAID, "workers": [{**WORKER, "jobs": [slot]}]}
    for value in NUMBERS:
        waits = {"kind": HOSTILE, "name": HOSTILE, "seconds": value}
        yield {**SAID, "workers": [{**WORKER, "jobs": [{**SLOT, "in_line": [waits]}]}]}


def test_whatever_a_consumer_says_the_pages_are_there(
    redis: Any, service: Service, says: Callable[[Any], str]
) -> None:
    register(redis, "odd", heori_metrics=says(SAID), state="busy", queues="q")
    redis.hset("rq:job:j", mapping={"status": "started", "origin": "q", "worker_name": "odd"})
    browser = Browser(service)
    paths = ("/consumers/odd", "/jobs/j")
    until(lambda: all("held-up" in browser.get(path).text for path in paths))
    for said in spoilt():
        says(said)
        redis.expire("rq:worker:odd", 50)
        for path in (*paths, "/v1/consumers"):
            shown = browser.get(path)
            assert shown.status == 200, (path, said)
            assert HOSTILE not in shown.text


def test_of_the_model_auto_its_size_its_moves_and_why_are_told(
    redis: Any, service: Service, says: Callable[[Any], str]
) -> None:
    register(redis, "odd", heori_metrics=says({**SAID, "model": "auto", "auto": AUTO}), queues="q")
    browser = Browser(service)
    until(lambda: "4 × 2 × 100" in browser.get("/consumers/odd").text)
    shown = browser.get("/consumers/odd").text
    assert "one process less -10%, one thread more +2%" in shown
    kept, undone = (shown.index(text) for text in ("+74% jobs/s since", "-10% jobs/s since"))
    assert shown.index(str(MOVE["reason"])) < kept < undone, "the last one stands first"
    assert "undone" in shown[undone:]
    assert f"More slots are no use:</strong> <span>{AUTO['held_up']}" in shown
    told = service.ask("GET", "/v1/consumers/odd").body["auto"]
    assert (told["size"], told["estimates"]["one thread more"]) == ([4, 2, 100], 1.02)
    assert f'Kept apart: <span class="dim">{AUTO["apart"]}' in shown
    assert told["apart"] == AUTO["apart"]
    assert told["held_up"] == AUTO["held_up"]
    assert told["moves"][0] == MOVE | {"before": [2, 8, 100], "size": [4, 2, 100]}


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

"""Locks, the schedule, queues, tenants and pauses: over HTTP, and by the buttons of the page."""

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from heori import LockLost, Mutex, Party, Producer
from heori.inspect.locks import LockState, deadlocks
from tests.rigs.browser import Browser
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import TASKS, Service
from tests.rigs.waiting import until
from tests.tasks import served_tasks

NAMES = ["account:kim", "a/b", "한국어", "release", "50% off?#&"]


@pytest.fixture(params=NAMES)
def held(request: pytest.FixtureRequest, redis_url: str) -> Iterator[str]:
    """The name of a lock that this thread holds, and for which another waits."""
    name: str = request.param
    lock, wants = Mutex(name, redis_url), Mutex(name, redis_url)
    lost: list[BaseException] = []
    got = threading.Event()

    def wait() -> None:
        with wants:
            got.set()

    waiter = threading.Thread(target=wait)
    lock.acquire()
    try:
        waiter.start()
        until(lambda: len(Mutex(name, redis_url).statistics().waiters) == 1)
        yield name
    finally:
        try:
            lock.release()
        except LockLost as error:
            lost.append(error)
        waiter.join()
    assert got.is_set()


def test_a_lock_is_told_and_taken_from_its_holder(held: str, service: Service) -> None:
    [found] = service.ask("GET", "/v1/locks").body["locks"]
    path = f"/v1/locks/mutex/{quote(held, safe='')}"
    assert (found["kind"], found["name"], found["in_use"]) == ("mutex", held, 1)
    assert service.ask("GET", path).body["holders"] == [
        {
            **holder,
            "seconds": pytest.approx(holder["seconds"], abs=60),
            "lease_ends_in": pytest.approx(0, abs=60),
        }
        for holder in found["holders"]
    ]
    [waiter] = found["waiters"]
    for wrong, status in (({"request": waiter["request"]}, 409), ({}, 422), ([], 422)):
        assert service.ask("POST", f"{path}/release", wrong).status == status
    request = found["holders"][0]["request"]
    taken = service.ask("POST", f"{path}/release", {"request": request})
    assert (taken.status, taken.body["released"]) == (200, request)
    assert "not stopped" in taken.body["consequence"]
    assert service.ask("POST", f"{path}/release", {"request": request}).status in (404, 409)


def test_the_page_of_a_lock_takes_it_away(held: str, service: Service) -> None:
    browser = Browser(service)
    path = f"/locks/mutex/{quote(held, safe='')}"
    assert path in browser.get("/locks").text
    assert path in browser.get(f"/locks?name={quote(held)}").text
    shown = browser.get(path).text
    assert "The holder is not stopped" in shown
    [request] = [part.partition('"')[0] for part in shown.split('name="request" value="')[1:]]
    taken = browser.post(f"{path}/release", {"request": request}, HX_Request="true")
    assert "was taken" in json.loads(taken.headers["HX-Trigger"])["said"]["text"]
    again = browser.post(f"{path}/release", {"request": request}, HX_Request="true")
    assert again.status == 409


def test_a_lock_of_nobody_is_not_found(service: Service) -> None:
    assert service.ask("GET", "/v1/locks/mutex/nobody").status == 404
    assert service.ask("GET", "/v1/locks/rwlock/nobody").status == 422
    assert Browser(service).get("/locks/mutex/nobody").status == 200


def party(owner: str, request: str) -> Party:
    return Party(request, owner, "host", 1, owner, "", 0.0, 1, 9.0)


def circle(*owners: str) -> list[LockState]:
    """Each owner holds the lock of its name, and waits for that of the next."""
    return [
        LockState("mutex", owner, owner, 1.0, 1, (party(owner, "has"),), (party(before, "wants"),))
        for before, owner in itertools.pairwise([owners[-1], *owners])
    ]


def test_circles_of_who_waits_for_whom_are_found() -> None:
    line = LockState("mutex", "free", "free", 1.0, 1, (party("z", "has"),), (party("q", "wants"),))
    assert deadlocks([line]) == []
    for owners in (("a", "b"), ("a", "b", "c", "d")):
        [found] = deadlocks([*circle(*owners), line])
        assert {waiter.owner for waiter, _ in found.waits} == set(owners)
    assert len(deadlocks([*circle("a", "b"), *circle("c", "d", "e")])) == 2
    several = LockState(
        "semaphore", "s", "s", 1.0, 2, (party("b", "x"), party("y", "y")), (party("a", "wants"),)
    )
    assert deadlocks([circle("a", "b")[0], several]) == []


# The schedule


def test_the_schedule_is_told_paused_resumed_and_run(
    consume: Callable[..., Consumer], service: Service
) -> None:
    consumer = consume(
        "--queue", "default", "--queue", "else", HEORI_TASKS="tests.tasks.periodic_tasks"
    ).ready()
    until(lambda: service.ask("GET", "/v1/schedule").body["entries"])
    names = {entry["name"] for entry in service.ask("GET", "/v1/schedule").body["entries"]}
    assert "greetings" in names
    paused = service.ask("POST", "/v1/schedule/greetings/pause").body
    assert paused == {"name": "greetings", "state": "paused", "changed": True}
    assert service.ask("POST", "/v1/schedule/greetings/pause").body["changed"] is False
    sent = service.ask("POST", "/v1/schedule/greetings/run").body
    done = service.ask("GET", f"/v1/jobs/{sent['id']}?wait=60").body
    assert done["result"] == "hello all"
    browser = Browser(service)
    assert "greetings" in browser.get("/schedule").text
    assert browser.post("/schedule/greetings/resume").status == 303
    [entry] = [
        entry
        for entry in service.ask("GET", "/v1/schedule").body["entries"]
        if entry["name"] == "greetings"
    ]
    assert entry["state"] == "active"
    for path in ("pause", "resume", "run"):
        assert service.ask("POST", f"/v1/schedule/nothing/{path}").status == 404
        assert browser.post(f"/schedule/nothing/{path}").status == 404
    assert service.ask("DELETE", "/v1/schedule/nothing").status == 404
    assert browser.post("/schedule/nothing/delete").status == 404
    refused = service.ask("DELETE", "/v1/schedule/greetings")
    assert (refused.status, "consumer that lives" in refused.body["detail"]) == (409, True)
    assert browser.post("/schedule/greetings/delete").status == 409
    assert consumer.stop() == 0

    gone = service.ask("DELETE", "/v1/schedule/greetings")
    assert (gone.status, gone.body) == (200, {"name": "greetings", "state": "deleted"})
    left = names - {"greetings"}
    for name in left:
        assert browser.post(f"/schedule/{quote(name, safe='')}/delete").status == 303
    assert service.ask("GET", "/v1/schedule").body["entries"] == []


# Queues


def test_a_pause_holds_consumers_until_it_ends(
    consume: Callable[..., Consumer], service: Service, redis_url: str
) -> None:
    paused = service.ask("POST", "/v1/queues/default/pause")
    assert (paused.status, paused.body) == (200, {"paused": True, "changed": True})
    consumer = consume(HEORI_TASKS="tests.tasks.served_tasks").ready()
    with Producer(redis_url) as producer:
        job = producer.submit(served_tasks.anything, 7)
        producer.options(queue="other").submit(served_tasks.anything, 8)
    held = service.ask("GET", "/v1/pauses").body["paused"]
    assert [(each["kind"], each["name"]) for each in held] == [("queue", "default")]
    assert service.ask("POST", "/v1/queues/default/pause").body["changed"] is False
    assert job.status() == "queued"
    assert service.ask("POST", "/v1/queues/default/resume").body["changed"] is True
    assert job.result(timeout=60) == 7
    assert consumer.stop() == 0


def test_a_tenant_and_a_task_may_be_paused(service: Service, redis: Any) -> None:
    assert service.ask("POST", "/v1/queues/orders/pause?tenant=acme").body["changed"] is True
    task = "/v1/pauses/tasks/shop.send_mail"
    assert service.ask("PUT", task).body == {"paused": True, "changed": True}
    held = {
        (each["kind"], each["name"]) for each in service.ask("GET", "/v1/pauses").body["paused"]
    }
    assert held == {("tenant", "orders@@acme"), ("task", "shop.send_mail")}
    until(lambda: "acme" in Browser(service).get("/").text)
    assert service.ask("DELETE", task).body == {"paused": False, "changed": True, "jobs": 0}
    assert service.ask("POST", "/v1/queues/orders/resume?tenant=acme").body["changed"] is True
    assert redis.keys("rq:heori:paused*") == []


def test_a_limit_holds_at_once(service: Service) -> None:
    browser = Browser(service)
    assert service.ask("PUT", "/v1/queues/default/limit", {"limit": 1}).body == {"limit": 1}
    assert service.ask("POST", f"{TASKS}.anything", {}).status == 202
    assert service.ask("POST", f"{TASKS}.anything", {}).status == 429
    assert browser.post("/queues/default/limit", {"limit": "2"}).status == 303
    assert service.ask("POST", f"{TASKS}.anything", {}).status == 202
    assert service.ask("POST", f"{TASKS}.anything", {}).status == 429
    assert browser.post("/queues/default/limit", {"limit": ""}).status == 303
    assert service.ask("POST", f"{TASKS}.anything", {}).status == 202
    never: tuple[Any, ...] = (
        {"limit": 0},
        {"limit": True},
        {"limit": "1"},
        {"limit": 1e30},
        {},
        [],
    )
    for wrong in never:
        assert service.ask("PUT", "/v1/queues/default/limit", wrong).status == 422, wrong
    for wrong_text in ("0", "-1", "x", "9" * 30, "1.5"):
        assert browser.post("/queues/default/limit", {"limit": wrong_text}).status == 422


def test_tenants_are_weighed(service: Service) -> None:
    for tenant in ("acme", "zeta"):
        assert service.ask("POST", f"{TASKS}.anything?tenant={tenant}", {}).status == 202
    rows = service.ask("PUT", "/v1/queues/default/tenants", {"acme": 3}).body
    shares = {row["tenant"]: row["share"] for row in rows}
    assert (shares["acme"], shares["zeta"]) == (0.75, 0.25)
    browser = Browser(service)
    weighed = browser.post("/queues/default/weight", {"tenant": "acme", "weight": "1"})
    assert weighed.status == 303
    rows = service.ask("GET", "/v1/queues/default/tenants").body
    assert {row["tenant"]: row["weight"] for row in rows} == {"": 1.0, "acme": 1.0, "zeta": 1.0}
    assert "acme" in browser.get("/queues/default").text
    never: tuple[Any, ...] = (
        {"acme": 0},
        {"acme": 1000},
        {"acme": "x"},
        {"": 1},
        {"a\n": 1},
        [],
        1,
    )
    for wrong in never:
        assert service.ask("PUT", "/v1/queues/default/tenants", wrong).status == 422, wrong
    for number in ("0", "x", "", "nan", "inf"):
        form = {"tenant": "acme", "weight": number}
        assert browser.post("/queues/default/weight", form).status == 422, number


def test_jobs_of_tenants_count_as_those_of_their_queue(service: Service) -> None:
    for tenant in ("acme", "acme", "zeta"):
        assert service.ask("POST", f"{TASKS}.anything?tenant={tenant}", {}).status == 202
    later = service.ask("POST", f"{TASKS}.anything?tenant=acme&delay=1000", {})
    assert later.status == 202
    assert service.ask("PUT", "/v1/queues/default/limit", {"limit": 5}).status == 200
    [queue] = service.ask("GET", "/v1/queues").body
    told = {name: queue[name] for name in ("queue", "waiting", "scheduled", "failed", "limit")}
    assert told == {"queue": "default", "waiting": 3, "scheduled": 1, "failed": 0, "limit": 5}
    browser = Browser(service)
    until(lambda: 'state=queued">3</a>' in browser.get("/queues").text)
    assert "queue-default@@acme" not in browser.get("/queues").text
    wanted = "No consumer serves default. Jobs that wait there: 3."
    until(
        lambda: wanted in [it["says"] for it in service.ask("GET", "/v1/overview").body["alerts"]]
    )
    for path, waiting in (("default", 3), ("default@@acme", 2), ("default@@nobody", 0)):
        shown = browser.get(f"/queues/{path}").text
        assert re.search(rf'state=queued">{waiting}</a>', shown), path


def test_the_overview_says_what_is_wrong_and_what_to_do(service: Service) -> None:
    assert service.ask("POST", f"{TASKS}.anything", {}).status == 202

    def overview() -> dict[str, Any]:
        found: dict[str, Any] = service.ask("GET", "/v1/overview").body
        return found

    wanted = {
        "level": "bad",
        "says": "No consumer serves default. Jobs that wait there: 1.",
        "todo": "Start one: heori consume --queue default",
    }
    assert overview()["wanted_consumers"] is None  # as there is no consumer to tell
    # Its first reading may be of what another test had sent.
    until(lambda: (now := overview())["waiting"] == 1 and wanted in now["alerts"])
    assert service.ask("POST", "/v1/queues/default/pause").status == 200
    until(lambda: any("has been paused" in each["says"] for each in overview()["alerts"]))

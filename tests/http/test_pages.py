"""The page: who may see it, who may change something, and what it never does.

The tests import what shows it, as in `test_languages.py`.
"""

import base64
import json
import os
import re
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from heori.http import auth, privacy, tokens
from heori_common.embedded import EmbeddedValkey
from tests.rigs.browser import Browser, unsafe
from tests.rigs.service_rig import TASKS, Service, serving
from tests.rigs.waiting import until

SECRET, READS = "ana-has-a-long-token", "eve-has-another-one!"
GUARDED = {"HEORI_API_TOKENS": f"ana:{SECRET}", "HEORI_API_READ_TOKENS": f"eve:{READS}"}
PAGES = (
    "/",
    "/queues",
    "/queues/default",
    "/consumers",
    "/schedule",
    "/locks",
    "/jobs",
    "/dead",
    "/docs",
)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
PAUSED = "rq:heori:paused"
MOST_MEMORY = 150_000_000  # bytes that any number of streams take; 40 MB is usual


@pytest.fixture(scope="module")
def guarded_one(valkey: Any) -> Iterator[Service]:
    with serving(valkey.url, **GUARDED) as service:
        yield service


@pytest.fixture
def guarded(guarded_one: Service, redis_url: str) -> Service:
    """A service with tokens; its Redis is empty."""
    assert redis_url
    return guarded_one


def logged_in(service: Service, token: str = SECRET) -> Browser:
    browser = Browser(service)
    assert browser.post("/login", {"token": token}).status == 303
    return browser


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing_that_is_in_it(
    path: str, service: Service, redis: Any
) -> None:
    redis.sadd("rq:queues", f"rq:queue:{HOSTILE}")
    redis.rpush(f"rq:queue:{HOSTILE}", "a-job")
    until(lambda: "alert(1)" in Browser(service).get("/queues").text)
    shown = Browser(service).get(path)
    assert shown.status == 200
    assert unsafe(shown.text) == []
    assert HOSTILE not in shown.text
    policy = shown.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert {name: shown.headers[name] for name in privacy.HEADERS} == privacy.HEADERS


def test_what_is_shipped_is_there_with_its_licences() -> None:
    from heori.http.pages.site import HERE

    static = HERE / "static"
    licences = (static / "LICENCES.txt").read_text()
    assert all(f"## {name} " in licences for name in ("htmx.org", "idiomorph", "uplot"))
    for file in static.glob("*.js"):
        assert not re.findall(r"https?://(?!www\.w3\.org)[\w.]+/\S+\.js", file.read_text())


def test_who_has_no_token_is_led_to_the_login_and_back(guarded: Service) -> None:
    browser = Browser(guarded)
    led = browser.get("/queues?x=1")
    assert (led.status, led.to) == (303, "/login?next=%2Fqueues%3Fx%3D1")
    assert browser.get(led.to).status == 200
    wrong = browser.post("/login", {"token": "no", "next": "/queues?x=1"})
    assert (wrong.status, browser.cookies) == (401, {})
    right = browser.post("/login", {"token": SECRET, "next": "/queues?x=1"})
    assert (right.status, right.to) == (303, "/queues?x=1")
    cookie = right.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="))
    assert SECRET not in cookie
    assert browser.get("/queues").status == 200
    assert browser.post("/logout").to == "/login"
    assert browser.get("/queues").status == 303


@pytest.mark.parametrize(
    "elsewhere", ["//other.example", "/\\other.example", "https://other.example", "/\t/other", ""]
)
def test_nobody_is_led_elsewhere(elsewhere: str, guarded: Service) -> None:
    browser = Browser(guarded)
    assert browser.post("/login", {"token": SECRET, "next": elsewhere}).to == "/"
    assert browser.post("/language", {"language": "ko", "next": elsewhere}).to == "/"


def test_a_cookie_holds_for_what_it_was_given_for(guarded: Service) -> None:
    good = logged_in(guarded).cookies[tokens.SESSION]
    name, end, signature = good.split(".")
    boss = base64.urlsafe_b64encode(b"boss").decode().rstrip("=")
    forged = {
        "another name": f"{boss}.{end}.{signature}",
        "a later end": f"{name}.{int(end) + 1}.{signature}",
        "no end": f"{name}..{signature}",
        "cut": good[:-1],
        "nothing": "",
        "no ASCII": f"{name}.{end}.{'é' * 64}",
        "a million dots": "." * 4000,
        "over, though signed": _signed(f"{name}.{int(time.time()) - 1}"),
        "signed with another token": _signed(f"{name}.{end}", "another-token-that-nobody-has"),
    }
    for what, value in forged.items():
        browser = Browser(guarded, {tokens.SESSION: value.encode().decode("latin-1")})
        assert browser.get("/queues").status == 303, what
    assert Browser(guarded, {tokens.SESSION: good}).get("/queues").status == 200


def _signed(begun: str, secret: str = SECRET) -> str:
    return f"{begun}.{tokens._sign(begun, secret.encode())}"


def test_a_token_that_may_only_read_changes_nothing(guarded: Service, redis: Any) -> None:
    browser = logged_in(guarded, READS)
    for path in PAGES:
        shown = browser.get(path)
        assert (shown.status, "hx-post" in shown.text) == (200, False)
    assert browser.post("/queues/default/pause").status == 403
    reads = {"Authorization": f"Bearer {READS}"}
    assert guarded.ask("GET", "/v1/queues", **reads).status == 200
    assert guarded.ask("POST", f"{TASKS}.order", ["a"], **reads).status == 403
    assert guarded.ask("DELETE", "/v1/jobs/a", **reads).status == 403
    assert redis.keys("*") == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Sec_Fetch_Site": ""}, 303),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://other.example"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Origin": "http://other.example", "Sec_Fetch_Site": ""}, 403),
        ({"Content_Type": "text/plain"}, 303),
    ],
)
def test_only_pages_of_its_own_change_something(
    headers: dict[str, str], status: int, guarded: Service, redis: Any
) -> None:
    browser = logged_in(guarded)
    assert browser.post("/queues/default/pause", None, **headers).status == status
    assert redis.exists(PAUSED) == (status == 303)


@pytest.mark.parametrize("site_of_page", ["http://other.example", "null"])
def test_without_tokens_pages_of_others_change_nothing_either(
    site_of_page: str, service: Service, redis: Any
) -> None:
    browser = Browser(service)
    assert browser.post("/queues/default/pause", Origin=site_of_page).status == 403
    assert not redis.exists(PAUSED)
    assert browser.post("/queues/default/pause").status == 303
    assert redis.exists(PAUSED)


def test_who_has_changed_something_is_logged_by_name(guarded: Service, redis: Any) -> None:
    assert logged_in(guarded).post("/queues/mail/pause").status == 303
    until(lambda: any('"path": "\'/queues/mail/pause\'"' in line for line in guarded.log))
    [said] = [json.loads(line) for line in guarded.log if "/queues/mail/pause" in line]
    assert (said["by"], said["method"], said["status"]) == ("ana", "POST", 303)
    assert not any(SECRET in line for line in guarded.log)
    assert redis.exists(PAUSED)


def test_a_queue_is_paused_and_resumed_by_its_button(service: Service, redis: Any) -> None:
    from heori.http.pages.site import MOST_FORM

    browser = Browser(service)
    paused = browser.post("/queues/a%2Fb/pause", HX_Request="true")
    assert paused.status == 200
    assert "a/b is paused" in json.loads(paused.headers["HX-Trigger"])["said"]["text"]
    assert redis.hkeys(PAUSED) == [b"queue:a/b"]
    twice = browser.post("/queues/a%2Fb/pause", HX_Request="true")
    assert (twice.status, json.loads(twice.headers["HX-Trigger"])["said"]["wrong"]) == (409, True)
    assert browser.post("/queues/a%2Fb/resume").status == 303
    assert not redis.exists(PAUSED)
    assert browser.post("/queues/with%01/pause").status == 422
    assert browser.post("/queues/x/limit", {"limit": "1" * MOST_FORM}).status == 413


@pytest.mark.parametrize("keeps", [True, False])
def test_a_proxy_may_show_it_under_a_path(keeps: bool, serve: Callable[..., Service]) -> None:
    service = serve(**GUARDED, HEORI_API_ROOT="/jobs/heori/")
    before = "/jobs/heori" if keeps else ""
    browser = Browser(service)
    led = browser.get(f"{before}/queues")
    assert led.to == "/jobs/heori/login?next=%2Fqueues"
    right = browser.post(f"{before}/login", {"token": SECRET, "next": "/queues"})
    assert right.to == "/jobs/heori/queues"
    assert "Path=/jobs/heori/" in right.headers["Set-Cookie"]
    shown = browser.get(f"{before}/")
    found = set(re.findall(r'(?:src|href|action|hx-get|hx-post)="(/[^"]*)"', shown.text))
    assert found
    assert all(path.startswith("/jobs/heori/") or path == "/jobs/heori" for path in found)
    assert browser.get(f"{before}/static/heori.js").status == 200
    described = json.loads(browser.get(f"{before}/openapi.json").text)
    assert described["servers"] == [{"url": "/jobs/heori"}]


def test_it_is_told_in_the_language_of_who_reads(service: Service) -> None:
    browser = Browser(service)
    assert '<html lang="en">' in browser.get("/queues").text
    korean = browser.get("/queues", Accept_Language="fr;q=0.2, ko-KR;q=0.9")
    assert '<html lang="ko">' in korean.text
    assert "<h1>큐</h1>" in korean.text
    assert browser.post("/language", {"language": "ko", "next": "/queues?a=b"}).to == "/queues?a=b"
    assert '<html lang="ko">' in browser.get("/queues").text
    browser.post("/language", {"language": "<x>"})
    assert '<html lang="ko">' in browser.get("/queues").text


def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(
    serve: Callable[..., Service],
) -> None:
    with EmbeddedValkey() as server:
        service = serve(HEORI_REDIS_URL=server.url)
        browser = Browser(service)
        nowhere = browser.get("/nowhere")
        assert (nowhere.status, "There is no such page." in nowhere.text) == (404, True)
        assert service.ask("GET", "/nowhere").body == {"detail": "Not Found"}
    for path in ("/queues/default", "/locks", "/schedule", "/jobs", "/jobs/a", "/dead"):
        shown = browser.get(path)
        assert (shown.status, "Redis does not answer." in shown.text) == (503, True), path
        assert server.url.rpartition(":")[2].partition("/")[0] not in shown.text
    asked = service.ask("GET", "/v1/locks")
    assert (asked.status, asked.body) == (503, {"detail": "Redis is away; try again"})
    overview = browser.get("/")
    assert (overview.status, "Healthy" in overview.text) == (200, False)
    told = service.ask("GET", "/v1/overview")
    assert (told.status, told.body["detail"]) == (
        503,
        "nothing new can be read of Redis; try again",
    )


# Events


def stream(service: Service) -> socket.socket:
    where = urlsplit(service.url)
    assert where.hostname
    assert where.port
    one = socket.create_connection((where.hostname, where.port), 60)
    one.sendall(f"GET /events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
    return one


def test_news_come_as_long_as_somebody_listens_and_end_with_the_service(
    serve: Callable[..., Service],
) -> None:
    service = serve()
    with stream(service) as one:
        said = b""
        while said.count(b"event: news") < 3:
            said += one.recv(10_000)
        points = [json.loads(line)["points"] for line in re.findall(rb"data: (.*)\n", said)]
        assert points[-1][0]["at"] > points[0][-1]["at"]
        assert service.stop() == 0
        while one.recv(10_000):
            pass


def test_streams_are_few_and_who_is_one_too_many_is_told(serve: Callable[..., Service]) -> None:
    """With HEORI_LONG=1 for so many as there are descriptors for, up to 10,000."""
    from heori.http.pages.overview import MOST_STREAMS

    service = serve()  # of which nobody else has a stream that it has not yet seen to end

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    many = min(10_000, most - 500) if "HEORI_LONG" in os.environ else MOST_STREAMS + 100
    firsts = Counter[bytes]()
    with ExitStack() as open_ones:
        for _ in range(many):
            firsts[open_ones.enter_context(stream(service)).recv(12)] += 1
        assert firsts == {
            b"HTTP/1.1 200": MOST_STREAMS,
            b"HTTP/1.1 503": many - MOST_STREAMS,
        }
        assert Browser(service).get("/queues").status == 200
        assert process.memory_info().rss - before < MOST_MEMORY
    # Those who have gone make room.
    until(lambda: _begins(service) == b"HTTP/1.1 200")


def _begins(service: Service) -> bytes:
    with stream(service) as one:
        return one.recv(12)


def test_what_is_open_to_all_is_nobodys(guarded: Service) -> None:
    stranger = Browser(guarded)
    assert stranger.get(f"{auth.STATIC}heori.css").status == 200
    for path in ("/static/../site.py", "/static/%2e%2e/site.py", "/static//etc/passwd"):
        assert stranger.get(path).status in (303, 404), path
    for path in ("/events", "/queues", "/docs", "/openapi.json", "/v1/queues", "//login/../queues"):
        assert stranger.get(path).status in (303, 401), path

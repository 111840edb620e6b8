"""Tokens and the cookies for them: who guesses, forges, or has another page ask, gets nothing."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from heori.http.privacy import HEADERS, OF_STATIC
from heori.http.tokens import MOST_SESSIONS, SESSION
from heori_common.embedded import EmbeddedValkey
from tests.rigs.browser import Browser
from tests.rigs.service_rig import Service, serving
from tests.rigs.waiting import until

SECRET, READS = "ana-has-a-long-token", "eve-has-another-one!"
RIGHT = {"Authorization": f"Bearer {SECRET}"}
PAUSE = "/queues/default/pause"


@pytest.fixture(scope="module")
def one(valkey: EmbeddedValkey) -> Iterator[Service]:
    tokens = {"HEORI_API_TOKENS": f"ana:{SECRET}", "HEORI_API_READ_TOKENS": f"eve:{READS}"}
    with serving(valkey.url, **tokens) as service:
        yield service


@pytest.fixture
def guarded(one: Service, redis_url: str) -> Service:
    """A service with tokens; its Redis is empty."""
    assert redis_url
    return one


@pytest.fixture
def cookie(guarded: Service) -> str:
    browser = Browser(guarded)
    assert browser.post("/login", {"token": SECRET}).status == 303
    return f"{SESSION}={browser.cookies[SESSION]}"


def test_other_cookies_of_a_host_keep_nobody_out(guarded: Service, cookie: str) -> None:
    """A host's cookies are sent to all its ports, and those of a domain to all its hosts."""
    forged = f"{SESSION}=YW5h.99999999999.{'0' * 64}"
    for sent in (
        f"{SESSION}=x; {cookie}",
        f"{cookie}; {SESSION}=x",
        f'odd[name]=1; =; ;"q"=1; {{"json": true}}; {cookie}',
        f"long={'x' * 8000}; {cookie}",
        f'heori_language="><script>; {cookie}',
    ):
        assert guarded.ask("GET", "/v1/queues", Cookie=sent).status == 200, sent[:50]
    for sent in (
        forged,
        f"{SESSION}=YW5h.{'9' * 5000}.00",
        f"{SESSION}",
        f"x{cookie}",
        f"x={cookie}",
        "; ".join([forged] * MOST_SESSIONS + [cookie]),
    ):
        assert guarded.ask("GET", "/v1/queues", Cookie=sent).status == 401, sent[:50]


@pytest.mark.parametrize("header", ["Basic eDp4", "Bearerx", ""])
def test_a_header_that_names_no_token_is_no_reason_to_trust_a_cookie(
    guarded: Service, cookie: str, redis: Any, header: str
) -> None:
    sent = {"Cookie": cookie, "Authorization": header}
    assert guarded.ask("POST", PAUSE, **sent).status == 403
    assert redis.keys("*") == []
    assert guarded.ask("POST", "/v1/queues/default/pause", **RIGHT).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override: POST",
        "X-Original-URL: /livez",
        "X-Rewrite-URL: /livez",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: localhost",
        "X-Forwarded-Prefix: /livez",
        "Forwarded: for=127.0.0.1;host=localhost",
        "Host: localhost",
    ],
)
def test_no_header_lets_anybody_in(guarded: Service, redis: Any, header: str) -> None:
    name, _, value = header.partition(": ")
    named = {name.replace("-", "_"): value}
    assert guarded.ask("GET", "/v1/queues", **named).status == 401
    reads = {"Authorization": f"Bearer {READS}"}
    for method in ("GET", "POST", "post", "PATCH", "PROPFIND"):
        path = "/v1/queues/default/pause"
        assert guarded.ask(method, path, **named, **reads).status in (403, 405)
    assert redis.keys("*") == []


PATHS = (
    "//v1/queues",
    "/v1//queues",
    "/livez/../v1/queues",
    "/livez%2f..%2fv1%2fqueues",
    "/livez;/v1/queues",
    "/livez%3f/v1/queues",
    "/login/../v1/queues",
    "/static/..;/v1/queues",
    "/static/..%2f..%2fsite.py",
    "/static/..%5csite.py",
    "/static/heori.css%00.js",
    "/v1/queues%00",
    "/%2e/v1/queues",
    "/V1/queues",
    "/metrics/",
    "http://localhost/livez",
)


def test_no_path_leads_around_the_login(guarded: Service) -> None:
    where = urlsplit(guarded.url).netloc
    for path in PATHS:
        connection = HTTPConnection(where, timeout=60)
        connection.putrequest("GET", path)  # as it stands
        connection.endheaders()
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        assert answer.status in (401, 404), path
        assert told in (b'{"detail":"Not Found"}', NEEDED), path


NEEDED = json.dumps(
    {"detail": "a token is needed: Authorization: Bearer …"},
    ensure_ascii=False,
    separators=(",", ":"),
).encode()


def test_nothing_of_the_service_is_kept_or_framed(guarded: Service) -> None:
    for path, who in (
        ("/v1/queues", RIGHT),
        ("/v1/queues", {}),
        ("/v1/nowhere", RIGHT),
        ("/openapi.json", RIGHT),
        ("/queues", RIGHT),
        ("/login", {}),
        ("/metrics", {}),
        ("/static/nowhere", {}),
        ("/static/heori.js", {}),
    ):
        wanted = OF_STATIC if path.startswith("/static/") else HEADERS
        headers = guarded.ask("GET", path, **who).headers
        assert {name: headers[name] for name in wanted} == wanted, path
        assert len(headers.get_all("Cache-Control")) == 1


def test_nobody_is_led_to_a_host_that_a_request_names(guarded: Service) -> None:
    for path in ("/docs/", "/v1/queues/", "/static"):
        asked = guarded.ask("GET", path, Host="other.example", **RIGHT)
        assert (asked.status, asked.headers["Location"]) == (404, None), path


def test_wrong_tokens_are_told_in_few_lines(valkey: EmbeddedValkey) -> None:
    with serving(valkey.url, HEORI_API_TOKENS=f"ana:{SECRET}") as service:
        browser = Browser(service)
        for number in range(50):
            assert browser.post("/login", {"token": f"guess-{number}"}).status == 401
            guess = f"Bearer guess-{number}"
            assert service.ask("GET", "/v1/queues", Authorization=guess).status == 401
        assert service.ask("GET", "/v1/queues").status == 401
        assert service.ask("GET", "/v1/queues", **RIGHT).status == 200
        until(lambda: any("wrong tokens" in line for line in service.log))
        lines = [json.loads(line) for line in service.log if "wrong tokens" in line]
    assert (lines[0]["requests"], lines[0]["level"]) == (1, "warning")
    assert "127.0.0.1" in lines[0]["last_from"]
    assert not any("guess" in line for line in service.log)

"""`heori serve` and those who have no token, or send what is no request."""

import contextlib
import http.client
import signal
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from heori_common.connections import TELL_EVERY_S
from heori_common.embedded import EmbeddedValkey
from heori_common.metrics import API_REQUESTS, METHOD, OTHER
from tests.rigs.service_rig import Service, serving
from tests.rigs.waiting import until

TOO_MANY = "too many connections"  # a line of the log, now and then
TOKEN = "a-token-of-some-length"
HEAD = b"POST /v1/tasks/tests.tasks.served_tasks.order HTTP/1.1\r\nHost: localhost\r\n"
# With its token, so that it is the length of the body that is refused.
CHUNKED = (
    HEAD
    + f"Authorization: Bearer {TOKEN}\r\n".encode()
    + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
JSON = b'["tea"]'
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
WEBSOCKET = (
    b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
    b"Sec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n"
)


def files() -> int:
    """How many may be open."""
    from heori.http.server import RESERVED  # here, as in `test_languages.py`

    return RESERVED + 120


@pytest.fixture(scope="module")
def service(valkey: EmbeddedValkey) -> Iterator[Service]:
    """One with few open files, for all tests: each leaves it as it was."""
    with serving(
        valkey.url, "tests.rigs.few_files", OPEN_FILES=str(files()), HEORI_API_TOKENS=TOKEN
    ) as one:
        yield one


def connect(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=60)


def said(service: Service, request: bytes) -> bytes:
    """All that it answers until it closes the connection."""
    with connect(service) as stranger:
        stranger.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := stranger.recv(1 << 16):
                answer += part
        return answer


def honest(service: Service) -> int:
    return service.ask("GET", "/v1/queues", Authorization=f"Bearer {TOKEN}").status


def test_half_requests_keep_nobody_out_and_fill_no_log(service: Service) -> None:
    from heori.http.server import RESERVED

    before, began = len(service.log), time.monotonic()
    process = psutil.Process(service.process.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(3 * files()):
            stack.enter_context(connect(service)).sendall(HEAD)
        assert honest(service) == 200
        assert process.num_fds() < files() - RESERVED / 2
        until(lambda: len(service.log) > before)
        lines = service.log[before:]
        assert all(TOO_MANY in line for line in lines)
        assert len(lines) <= 1 + (time.monotonic() - began) / TELL_EVERY_S
    until(lambda: process.num_fds() < RESERVED)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n", b"400"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (HEAD + b"X: " + b"x" * 20_000, b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET /%ff%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"401"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + WEBSOCKET + b"\r\n", b"401"),
        *(
            (HEAD + lie + b"\r\n\r\n" + JSON + SMUGGLED, b"400")
            for lie in (
                b"Transfer-Encoding : chunked",
                b"Transfer-Encoding: xchunked",
                b"Transfer-Encoding: chunked, identity",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
                b"Transfer-Encoding: \x0bchunked",
                b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 7",
                b"Content-Length: +7",
                b"Content-Length: -7",
                b"Content-Length: 0x7",
                b"Content-Length: 7, 8",
                b"Content-Length: " + b"9" * 40,
                b"Host: other.example",
                b"X: a\0b",
                b"X: a\rContent-Length: 7",
            )
        ),
        *(
            (CHUNKED + lie + SMUGGLED, b"400")
            for lie in (b"-7\r\n", b"f" * 30 + b"\r\n", b"3\r\n" + JSON, b"7;\n" + JSON)
        ),
    ],
    ids=range(27),
)
def test_what_is_no_request_is_refused_and_is_no_line_in_the_log(
    service: Service, request_: bytes, status: bytes
) -> None:
    before = len(service.log)
    answer = said(service, request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows it is no request"
    assert honest(service) == 200
    assert [line for line in service.log[before:] if TOO_MANY not in line] == []


def test_a_body_that_makes_no_sense_after_its_answer_closes_the_connection(
    service: Service,
) -> None:
    before = len(service.log)
    with connect(service) as stranger:
        stranger.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert stranger.recv(1 << 16).startswith(b"HTTP/1.1 401")
        stranger.sendall(b"no chunk\r\n")
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(1 << 16):
                pass
    assert honest(service) == 200
    assert [line for line in service.log[before:] if TOO_MANY not in line] == []


def test_invented_methods_are_one_in_the_metrics(service: Service) -> None:
    address = urlsplit(service.url)
    with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=60)) as stranger:
        for path in ("/livez", "/v1/queues", "/nowhere"):
            for number in range(20):
                stranger.request(f"INVENTED{number}", path)
                answer = stranger.getresponse()
                answer.read()
                assert answer.status in (401, 405)
    told = text_string_to_metric_families(service.ask("GET", "/metrics").body)
    methods = {
        sample.labels["method"]
        for family in told
        for sample in family.samples
        if sample.name == API_REQUESTS.name
    }
    assert OTHER in methods
    assert methods <= {OTHER, *METHOD.values}


def test_a_body_that_never_comes_holds_up_no_end(valkey: EmbeddedValkey) -> None:
    with serving(valkey.url, HEORI_API_TOKENS=TOKEN) as service, connect(service) as stranger:
        token = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n".encode()
        stranger.sendall(HEAD + token + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert stranger.recv(1 << 16).startswith(b"HTTP/1.1 100"), "it waits for the body"
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    assert service.log == []

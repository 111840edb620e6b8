"""What strangers do at a port, each in a bounded loop; see `attacks`."""

import contextlib
import http.client
import json
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from heori_common.protocol.keys import Keys

TOKEN = "a-token-of-some-length"
TASK = "/v1/tasks/tests.tasks.served_tasks.order"
PATIENCE_S = 60.0  # for an answer
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close that takes back what was sent

Got = Counter[str]  # statuses, or what else came of it


@dataclass
class Siege:
    """Where strangers are.

    Attributes:
        metrics: the address of a consumer's metrics, as http://…
        service: that of a service with tokens.
        local: that of a service without any, for this machine only.
        held: their connections, which they keep until somebody honest has asked.
    """

    metrics: str
    service: str
    local: str
    redis: Any
    keys: Keys = field(default_factory=Keys)
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def enter(self, url: str, source: str = "127.0.0.1") -> socket.socket:
        """Connect, and stay until the end of the attack."""
        address = urlsplit(url)
        return self.held.enter_context(
            socket.create_connection(
                (address.hostname or "", address.port or 0), PATIENCE_S, (source, 0)
            )
        )


def head(method: str = "POST", path: str = TASK, *, token: str = "", **more: str) -> str:
    """The head of a request, with its end."""
    named = {"Host": "localhost", "Content-Type": "application/json"}
    named |= {"Authorization": f"Bearer {token}"} if token else {}
    named |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""])


def answer(connection: socket.socket) -> str:
    """The status of an answer, or what came instead of one."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        response.read()
    except TimeoutError:
        return "no answer"
    except (OSError, http.client.HTTPException):
        return "closed"
    return str(response.status)


def say(siege: Siege, url: str, requests: Iterable[str | bytes]) -> Got:
    """Send each over a connection of its own; what is answered."""
    got: Got = Counter()
    for request in requests:
        connection = siege.enter(url)
        with contextlib.suppress(OSError):  # it may be closed before all is sent
            connection.sendall(request if isinstance(request, bytes) else request.encode())
        got[answer(connection)] += 1
    return got


def crowd(siege: Siege, url: str, number: int, words: bytes = b"") -> Got:
    """Connect so often, and say no more than these words."""
    for _ in range(number):
        with contextlib.suppress(OSError):  # it has been dropped for another one already
            siege.enter(url).sendall(words)
    return Counter({"connections": number})


def many_addresses(siege: Siege) -> Got:
    """Many connections from one address, and one from each of many others."""
    sources = ["127.0.9.9"] * 400 + [f"127.0.8.{number}" for number in range(1, 251)]
    for source in sources:
        with contextlib.suppress(OSError):
            siege.enter(siege.service, source).sendall(b"GET / HTTP/1.1\r\n")
    return Counter({"connections": len(sources)})


def trickle(siege: Siege, url: str, start: str, number: int) -> Got:
    """Send a byte every second, until all connections are dropped; how many seconds that took."""
    connections = [siege.enter(url) for _ in range(number)]
    for each in connections:
        each.sendall(start.encode())
    began = time.monotonic()
    left = list(connections)
    while left and time.monotonic() - began < 2 * PATIENCE_S:
        time.sleep(1)
        left = [each for each in left if _takes(each, b"x")]
    got: Got = Counter({f"dropped in {time.monotonic() - began:.0f} s": number - len(left)})
    return got + Counter({"left": len(left)})  # without those that are 0


def _takes(connection: socket.socket, data: bytes) -> bool:
    """Whether it is still open, and not only half of it."""
    try:
        connection.sendall(data)
        connection.settimeout(0.001)
        return bool(connection.recv(1 << 16))  # the answer to the head, perhaps
    except TimeoutError:
        return True
    except OSError:
        return False


def resets(siege: Siege) -> Got:
    """Connect, begin, and break the connection."""
    for url in (siege.metrics, siege.service):
        for _ in range(300):
            with siege.enter(url) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\n")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return Counter({"resets": 600})


def unread(siege: Siege) -> Got:
    """Ask for much, and take nothing of it."""
    for url in (siege.metrics, siege.service):
        for _ in range(50):
            with contextlib.suppress(OSError):
                siege.enter(url).sendall(head("GET", "/metrics").encode() * 50)
    return Counter({"connections": 100})


def methods(siege: Siege) -> Got:
    """Invent methods, over one connection after the other."""
    got: Got = Counter()
    for first in range(0, 2000, 100):
        connection = siege.enter(siege.service)
        for number in range(first, first + 100):
            connection.sendall(head(f"X{number}", "/readyz").encode())
            got[answer(connection)] += 1
    return got


def guesses(siege: Siege) -> Got:
    """Guess tokens, over one connection after the other."""
    tries = [TOKEN[:-1] + chr(33 + number % 90) for number in range(250) if number % 90 != 71]
    tries += ["x" * number for number in range(1, 250)] + [TOKEN * 2, TOKEN.upper(), "é" * 9, ","]
    got: Got = Counter()
    for first in range(0, len(tries), 50):
        connection = siege.enter(siege.service)
        for token in tries[first : first + 50]:
            connection.sendall(head("GET", "/v1/queues", token=token).encode())
            got[answer(connection)] += 1
    return got


def bodies(siege: Siege, url: str, given: Iterable[bytes]) -> Got:
    """Send bodies with a token; how long the slowest answer took, too."""
    got: Got = Counter()
    slowest = 0.0
    for body in given:
        sized = head(token=TOKEN, Content_Length=str(len(body)), Connection="close")
        began = time.monotonic()
        got += say(siege, url, [sized.encode() + body])
        slowest = max(slowest, time.monotonic() - began)
    return got + Counter({f"at most {slowest:.2f} s": 1})


def bombs() -> Iterator[bytes]:
    """JSON that is small here and large, deep or slow there."""
    yield from (b"[" * 900_000, b'{"a":' * 150_000, b"[" * 400_000 + b"]" * 400_000)
    yield from (b"9" * 900_000, b"-" + b"1" * 900_000 + b".5e", b"[" + b"1e999," * 100_000 + b"1]")
    yield from (b'"' + b"\\u0000" * 150_000 + b'"', b"[" + b"{}," * 300_000 + b"{}]")
    yield b"{" + b",".join(b'"k%d": 0' % number for number in range(60_000)) + b"}"


def malformed() -> Iterator[bytes]:
    """What is no JSON, or none of the task."""
    whole = json.dumps({"article": "tea", "count": 2}).encode()
    for place in range(len(whole)):
        yield whole[:place] + b"\xff" + whole[place:]
        yield whole[:place]


def names(siege: Siege) -> Got:
    """Ask for queues, tenants, keys and jobs whose names have characters that nobody sees."""
    hidden = ("%1b%5b31m", "%00", "%0a", "%c2%9b", "%e2%80%ae", "%ff", "a" * 5000, "..%2f..%2fetc")
    paths = [f"{TASK}?{kind}={name}" for kind in ("queue", "tenant") for name in hidden]
    body = '["tea"]'
    sized = {"token": TOKEN, "Content_Length": str(len(body)), "Connection": "close"}
    requests = [head("POST", path, **sized) + body for path in paths]
    requests += [
        head("POST", TASK, Idempotency_Key=key, **sized) + body for key in ("\x7f", "k" * 5000)
    ]
    requests += [head("GET", f"/v1/jobs/{name}", token=TOKEN) for name in hidden]
    return say(siege, siege.service, requests)


def inflated(siege: Siege) -> Got:
    """Leave jobs in Redis whose errors are small there, and large for whoever reads them."""
    error = zlib.compress(b"x" * 50_000_000)
    got: Got = Counter()
    for number in range(5):
        job = siege.keys.job(f"inflated-{number}")
        siege.redis.hset(
            job,
            mapping={
                "status": "failed",
                "origin": "default",
                "created_at": "2026-01-01T00:00:00.000000Z",
                "data": zlib.compress(b"x" * 50_000_000),
                "exc_info": error,
            },
        )
        siege.redis.xadd(
            siege.keys.results(f"inflated-{number}"), {"type": "2", "exc_string": error}
        )
        connection = siege.enter(siege.service)
        path = f"/v1/jobs/inflated-{number}"
        connection.sendall(head("GET", path, token=TOKEN, Connection="close").encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        size = "up to 2 MB" if len(response.read()) <= 2_000_000 else "more than 2 MB"
        got += Counter({str(response.status): 1, size: 1})
    return got


def invented_tasks(siege: Siege) -> Got:
    """Send jobs of tasks that nobody has, as whoever can write to Redis may do."""
    data = [f'["nowhere.of.all{n}", null, [], {{}}]'.encode() for n in range(300)]
    data += [f'["tests.tasks.served_tasks.order{n}", null, [], {{}}]'.encode() for n in range(300)]
    with siege.redis.pipeline() as sending:
        for number, call in enumerate(data):
            job = f"invented-{number}"
            fields = {
                "status": "queued",
                "origin": "default",
                "created_at": "2026-01-01T00:00:00.000000Z",
                "data": zlib.compress(call),
                "timeout": "10",
            }
            sending.hset(siege.keys.job(job), mapping=fields)
            sending.rpush(siege.keys.queue("default"), job)
        sending.execute()
    deadline = time.monotonic() + PATIENCE_S
    while siege.redis.llen(siege.keys.queue("default")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return Counter({"jobs": len(data)})


WRONG = (
    head(Content_Length="2", Transfer_Encoding="chunked") + "0\r\n\r\n",
    head(Transfer_Encoding="chunked", Content_Length="0") + "2\r\n[]\r\n0\r\n\r\n",
)
NO_REQUESTS: tuple[bytes, ...] = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n",  # TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 100_000 + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
)
HUGE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
)
HOSTS = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "[::2]",
    "",
    "@",
    "10.1",
)

ATTACKS: dict[str, Callable[[Siege], Got]] = {
    "idle connections to metrics": lambda siege: crowd(siege, siege.metrics, 1000),
    "half requests to metrics": lambda siege: crowd(siege, siege.metrics, 600, b"GET /met"),
    "half requests to the service": lambda siege: crowd(
        siege, siege.service, 1300, head().encode()[:-2]
    ),
    "from one address, and from many": many_addresses,
    "heads of a byte a second": lambda siege: trickle(siege, siege.service, head()[:-4], 50),
    "heads of a byte a second to metrics": lambda siege: trickle(
        siege, siege.metrics, head()[:-4], 12
    ),
    "bodies of a byte a second": lambda siege: trickle(
        siege, siege.service, head(Content_Length="1000"), 50
    ),
    "connections reset": resets,
    "answers that nobody takes": unread,
    "2,000 invented methods": methods,
    "huge heads": lambda siege: say(siege, siege.service, HUGE * 3),
    "huge heads to metrics": lambda siege: say(siege, siege.metrics, HUGE * 3),
    "what is no request": lambda siege: say(siege, siege.service, NO_REQUESTS * 5),
    "what is no request, to metrics": lambda siege: say(siege, siege.metrics, NO_REQUESTS * 5),
    "two lengths": lambda siege: say(siege, siege.service, WRONG * 5),
    "other hosts, without tokens": lambda siege: say(
        siege, siege.local, [head("GET", "/v1/queues", Host=host) for host in HOSTS]
    ),
    "500 tokens guessed": guesses,
    "JSON bombs": lambda siege: bodies(siege, siege.service, bombs()),
    "malformed bodies": lambda siege: bodies(siege, siege.service, malformed()),
    "names that nobody sees": names,
    "jobs that inflate": inflated,
    "jobs of invented tasks": invented_tasks,
}

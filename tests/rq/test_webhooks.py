"""Webhooks: whoever is told gets what stock rq sends, once, when Redis knows how the job ended."""

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis as redis_py
from rq import Queue, Retry, SimpleWorker
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import callback_tasks as does

Webhook = pytest.importorskip("rq.webhook").Webhook

REFUSED = "http://127.0.0.1:1/"  # nobody listens there


class Told(ThreadingHTTPServer):
    """Whoever is told.

    Attributes:
        requests: method, path, headers and body of each.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hears)
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Hears(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert isinstance(self.server, Told)
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        self.send_response(500 if "angry" in self.path else 204)
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - as http.server calls it

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def told() -> Iterator[Told]:
    with Told() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def enqueue(queue: Queue, url: str) -> list[Job]:
    def asks(name: str, status: str, method: str = "POST", timeout: int = 60, **more: Any) -> Any:
        return Webhook(f"{url}/{name}", status, method=method, timeout=timeout, **more)

    both = [asks("ended-well", "finished"), asks("failed", "failed")]
    return [
        queue.enqueue(does.add, 1, 2, webhooks=both),
        queue.enqueue(does.fail, "because", webhooks=both),
        queue.enqueue(does.fail, "again", webhooks=both, retry=Retry(max=2)),
        queue.enqueue(does.ask_for_more, webhooks=both),
        queue.enqueue(does.add, 1, 2, webhooks=[asks("get", "finished", "GET")]),
        queue.enqueue(
            does.add, 1, webhooks=[asks("own", "finished", headers={"X-Own": "1"}, timeout=5)]
        ),
        queue.enqueue(
            does.add, 1, webhooks=[Webhook(REFUSED, "finished"), asks("angry", "finished")]
        ),
    ]


def heard(told: Told, jobs: list[Job]) -> list[Any]:
    """The requests without what is another each time."""
    numbers = {job.id: number for number, job in enumerate(jobs)}
    found = []
    for method, path, headers, body in told.requests:
        payload = json.loads(body) if body else {}
        if payload:
            payload["job_id"] = numbers[payload["job_id"]]
            for name in ("enqueued_at", "ended_at"):
                assert payload[name].endswith("+00:00")
                payload[name] = "a time"
        if payload.get("exc_info"):
            payload["exc_info"] = payload["exc_info"].splitlines()[-1]
        kept = {name: headers[name] for name in ("X-Own", "Content-Type") if name in headers}
        found.append((path, method, kept, payload))
    told.requests.clear()
    return sorted(found, key=str)


@pytest.mark.parametrize("shared", ["threads"], indirect=True)
def test_they_are_sent_as_stock_rq_sends_them(told: Told, shared: Consumer, redis: Any) -> None:
    with (
        EmbeddedValkey() as server,
        redis_py.Redis.from_url(server.url, socket_timeout=None) as connection,
    ):
        stock = Queue("default", connection=connection, serializer=JSONSerializer)
        jobs = enqueue(stock, told.url)
        worker = SimpleWorker([stock], connection=connection, serializer=JSONSerializer)
        worker.work(burst=True, logging_level="CRITICAL")
        sent_by_stock = heard(told, jobs)
    assert len(sent_by_stock) == 7

    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    jobs = enqueue(queue, told.url)
    until(lambda: len(told.requests) >= len(sent_by_stock))
    for trouble in (f"GET {REFUSED}: URLError", "/angry: HTTPError: HTTP Error 500"):
        until(lambda trouble=trouble: trouble in str(shared.log))  # type: ignore[misc]
    assert heard(told, jobs) == sent_by_stock


@pytest.mark.parametrize("shared", ["threads"], indirect=True)
def test_none_is_sent_of_what_was_stopped_or_lost(told: Told, shared: Consumer, redis: Any) -> None:
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    webhooks = [Webhook(told.url, "finished"), Webhook(told.url, "failed")]
    said_before = len(shared.log)
    lost = queue.enqueue(does.wait_for_a_word, webhooks=webhooks)
    until(lambda: lost.get_status() == "started")
    # As if another consumer had taken it over.
    redis.pipeline().delete("rq:wip:default").hset(lost.key, "heori_execution", "other").execute()
    redis.rpush(f"word:{lost.id}", "go on")
    until(lambda: "lease lost" in str(shared.log[said_before:]))
    # Only now: the worker of what cannot be stopped in time is killed, with all that it runs.
    stopped = queue.enqueue(does.say_so_and_sleep_on, webhooks=webhooks)
    assert redis.blpop([f"runs:{stopped.id}"], 120)
    send_stop_job_command(redis, stopped.id)
    until(lambda: stopped.get_status() == "stopped")
    last = queue.enqueue(does.add, 1, webhooks=[Webhook(f"{told.url}/last", "finished")])
    until(lambda: told.requests)
    assert [path for _, path, _, _ in told.requests] == ["/last"], last.id

"""rq-dashboard as it is shipped, over jobs in every state: each page, and all that they ask for."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job

from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

pytest.importorskip("rq_dashboard")

PROGRAM = Path(__file__).parents[2] / "examples" / "rq-dashboard" / "dashboard.py"
HTML = "<img src=x onerror=alert(1)>"
STATES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(redis_url: str, tmp_path: Path) -> Iterator[Ask]:
    """Ask a dashboard: returns the status and what came."""
    (tmp_path / "password").touch()
    log = tmp_path / "log"
    own = {"HEORI_REDIS_PASSWORD_FILE": str(tmp_path / "password"), "HEORI_REDIS_URL": redis_url}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, PROGRAM], env={**os.environ, **own, "PORT": "0"}, stderr=output
        ) as process,
    ):
        try:
            until(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()))
            [address] = re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())

            def ask(path: str, method: str = "GET") -> tuple[int, str]:
                request = urllib.request.Request(address + path, method=method)
                try:
                    with urllib.request.urlopen(request, timeout=120) as answer:
                        return answer.status, answer.read().decode(errors="replace")
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code, error.read().decode()

            yield ask
        finally:
            process.terminate()
            print(log.read_text())


@pytest.fixture
def jobs(redis: Redis, consume: Callable[..., Consumer]) -> list[str]:
    """Jobs of stock rq's, pickled, in every state, behind a consumer of Heori's."""
    consume(
        "--slots", "2", HEORI_ACCEPT="json,pickle", HEORI_ALLOW="tests", HEORI_GRACE="0"
    ).ready()
    stock, other = Queue("default", connection=redis), Queue("o'ther", connection=redis)
    module = "tests.tasks.sample_tasks"
    runs = stock.enqueue(f"{module}.nap", 600)
    done, failed = stock.enqueue(f"{module}.add", 1), stock.enqueue(f"{module}.fail", HTML)
    until(lambda: (done.get_status(), failed.get_status()) == ("finished", "failed"))
    until(lambda: runs.get_status() == "started")
    late = stock.enqueue(f"{module}.add", 1, depends_on=runs)
    cancelled, waits = (other.enqueue(f"{module}.add", text) for text in (HTML, HTML))
    cancelled.cancel()
    redis.zadd("rq:scheduled:default", {waits.id: 4e9})
    return [job.id for job in (runs, done, failed, late, cancelled, waits)]


def test_every_page_loads_with_all_that_it_names(ask: Ask, jobs: list[str]) -> None:
    # A consumer tells it with its next heartbeat.
    until(
        lambda: (
            '"call_string":"tests.tasks.sample_tasks.nap(600)"' in ask("/0/data/workers.json")[1]
        )
    )
    queues = ("default", quote("o'ther"))
    ahead = ["/", "/0/view/workers", "/0/view/jobs", "/0/data/workers.json"]
    ahead += [f"/0/view/jobs/{queue}/{state}/8/dsc/1" for queue in queues for state in STATES]
    seen: dict[str, str] = {}
    while ahead:
        if (path := ahead.pop()) in seen:
            continue
        status, body = ask(path)
        assert status == 200, (path, body)
        seen[path] = body
        if path.endswith(".json"):
            told = json.loads(body)
            ahead += links(told)
            ahead += [f"/0/view/job/{job['id']}" for job in told.get("jobs", ())]
        elif not path.startswith("/static/"):
            ahead += re.findall(r'(?:href|src)="(/[^"]*)"', body)
            if path.count("/") > 3:  # what its script asks for
                ahead.append(f"{path.replace('/view/', '/data/')}.json")
            # What would be refused is not offered, and no job's own text is taken for HTML.
            buttons = re.findall(r"<(?:a|button)\b[^>]*(?:requeue|compact|delete|empty)", body)
            assert buttons == []
            raw = [each for each in re.findall(r"<%=\s*(.*?)%>", body) if ".text(d." not in each]
            assert raw == []
    assert {f"/0/data/job/{job}.json" for job in jobs} <= seen.keys()
    statuses = {json.loads(seen[f"/0/data/job/{job}.json"])["status"] for job in jobs}
    assert statuses == {"started", "finished", "failed", "deferred", "canceled", "queued"}
    assert sum(path.startswith("/static/") for path in seen) >= 7


def links(told: Any) -> Iterator[str]:
    """All paths that an answer names."""
    if isinstance(told, dict):
        for value in told.values():
            yield from links(value)
    elif isinstance(told, list):
        for value in told:
            yield from links(value)
    elif isinstance(told, str) and told.startswith("/"):
        yield told


def test_nothing_is_changed_and_what_is_not_there_is_said(
    ask: Ask, jobs: list[str], redis: Redis
) -> None:
    assert ask("/0/view/job/nobody") == (404, "There is no such job; it may have expired.")
    assert ask("/0/data/job/nobody.json")[0] == 404
    assert ask("/requeue/default")[0] == 405
    for change in (f"job/{jobs[2]}/requeue", f"job/{jobs[1]}/delete", "queue/default/compact"):
        assert ask(f"/{change}", method="POST")[0] == 405
    assert Job.fetch(jobs[2], connection=redis).get_status() == "failed"

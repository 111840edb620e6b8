"""The example of FastAPI: a real server with a real consumer."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.consumers import Consumer

EXAMPLE = Path(__file__).parents[2] / "examples/fastapi"
# A port of its own choice, which it tells.
SERVE = """
import socket, uvicorn
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config("web:app", log_level="warning")).run([listening])
"""


@pytest.fixture
def service(redis_url: str) -> Iterator[str]:
    environment = {
        **os.environ,
        "HEORI_REDIS_URL": redis_url,
        "PYTHONPATH": os.pathsep.join(
            [str(EXAMPLE), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def ask(url: str, method: str = "GET") -> str:
    # It may wait for as long as the test may.
    with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
        text: str = answer.read().decode()
        return text


def test_jobs_are_sent_awaited_and_watched(
    service: str, consume: Callable[..., Consumer], redis: Any
) -> None:
    begun = json.loads(ask(f"{service}/reports?pages=2", "POST"))
    assert redis.hget(f"rq:job:{begun['id']}", "description") == b"shop.report(2)"
    path = os.pathsep.join([str(EXAMPLE), *filter(None, [os.environ.get("PYTHONPATH")])])
    consume(queue="reports", fresh=True, HEORI_TASKS="shop", PYTHONPATH=path).ready()
    assert json.loads(ask(f"{service}/reports/now?pages=3")) == {"report": "3 pages"}
    *progress, end = ask(f"{service}/reports/watched?pages=50").strip().split("\n\n")
    assert json.loads(end.removeprefix("data: ")) == {"report": "50 pages"}
    fractions = [json.loads(event.removeprefix("data: "))["progress"] for event in progress]
    assert fractions == sorted(fractions)
    assert redis.hget(f"rq:job:{begun['id']}", "status") == b"finished"

"""A running `heori serve`, for tests."""

import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.rigs.waiting import until
from tests.rigs.zygote import Started

TASKS = "/v1/tasks/tests.tasks.served_tasks"
JOB = "/v1/jobs/"


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Service:
    """One that runs."""

    process: Started
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)  # what it has said since it serves

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, method=method, data=data, headers=kind | self.headers | named
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, _json(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, _json(error.read()))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=pytest.fail)
    except ValueError:
        return body.decode()


@contextmanager
def serving(redis_url: str, program: str = "heori", **environment: str) -> Iterator[Service]:
    """One that answers, until it is left.

    Args:
        program: the module that it is.
    """
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.tasks.served_tasks"}
    environment = {**os.environ, **own, **environment}
    process = Started(program, "serve", *("--port", "0"), env=environment, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process.stderr as said:
        line = said.readline()
        assert line.startswith("serving on http://"), line
        service = Service(process, line.split()[-1])
        # What it says later must not fill the pipe.
        reader = threading.Thread(target=service.log.extend, args=(said,))
        reader.start()
        try:
            until(lambda: _answers(service))
            yield service
        finally:
            process.kill()
            process.wait()
            reader.join()


def _answers(service: Service) -> bool:
    try:
        return service.ask("GET", "/livez").status == 200
    except OSError:
        return False


def enqueued(redis: Any) -> int:
    """How many jobs there are."""
    return len(redis.keys("rq:job:*"))

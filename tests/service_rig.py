"""A running `heori serve`, for tests."""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import until


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Service:
    """One that runs."""

    process: "subprocess.Popen[str]"
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, method=method, data=data, headers=kind | self.headers | named
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Answer(answer.status, answer.headers, _json(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, _json(error.read()))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(15)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=pytest.fail)
    except ValueError:
        return body.decode()


@contextmanager
def serving(redis_url: str, **environment: str) -> Iterator[Service]:
    """One that answers, until it is left."""
    own = {"HEORI_REDIS_URL": redis_url, "HEORI_TASKS": "tests.served_tasks"}
    with subprocess.Popen(
        [sys.executable, "-m", "heori", "serve", "--port", "0"],
        env={**os.environ, **own, **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("serving on http://"), line
        # What it says later must not fill the pipe.
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        service = Service(process, line.split()[-1])
        try:
            until(lambda: _answers(service))
            yield service
        finally:
            process.kill()
            reader.join()


def _answers(service: Service) -> bool:
    try:
        return service.ask("GET", "/healthz").status == 200
    except OSError:
        return False

"""How many jobs that compute 1, 2 and 4 consumers do: make test-compose ARGS="-k scaling -s"."""

import os
import time

import pytest

from tests.compose.stack import Stack, run, wait_until

pytestmark = [
    pytest.mark.skipif(
        "HEORI_TEST_COMPOSE" not in os.environ,
        reason="needs a Docker engine: make test-compose",
    ),
    pytest.mark.timeout(300),
]

CONSUMERS = (1, 2, 4)
SECONDS = 8.0  # to measure
BACKLOG = 10_000  # more jobs than are done meanwhile


def test_scaling_follows_the_cores(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    rates = {}
    for consumers in CONSUMERS:
        stack.scale(consumers)
        with stack.load("--rate", str(BACKLOG / 2), "--for", "2s", "--mix", "tokens=1") as load:
            wait_until(lambda: load.name not in run("docker", "ps", "--format", "{{.Names}}"))
            began, before = time.monotonic(), _done(stack)
            time.sleep(SECONDS)
            assert int(stack.redis("LLEN", "rq:queue:stdlib")) > 0
            rates[consumers] = (_done(stack) - before) / (time.monotonic() - began)
        stack.redis("DEL", "rq:queue:stdlib")
        wait_until(lambda: stack.redis("ZCARD", "rq:wip:stdlib") == "0")
        stack.redis("FLUSHALL")
    with capsys.disabled():
        print(f"\n  {cores} cores, Redis and Prometheus on them as well:")
        for consumers, rate in rates.items():
            print(f"  {consumers} × 1 CPU: {rate:6.0f} jobs/s, {rate / rates[1]:.2f} ×")
    if cores > 1:
        assert max(rates[2], rates[4]) > 1.2 * rates[1]
    assert rates[4] > 0.7 * rates[2]  # more consumers than cores cost little


def _done(stack: Stack) -> int:
    return int(stack.redis("ZCARD", "rq:finished:stdlib"))

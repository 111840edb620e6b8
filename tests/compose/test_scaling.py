"""How many jobs that compute 1, 2 and 4 consumers do: make test-compose ARGS="-k scaling -s"."""

import os
from datetime import datetime

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
JOBS = 1500  # the same files each time
SPAN = """
local first, last
for _, id in ipairs(redis.call('zrange', KEYS[1], 0, -1)) do
    local started, ended = unpack(redis.call('hmget', 'rq:job:' .. id, 'started_at', 'ended_at'))
    if not first or started < first then first = started end
    if not last or ended > last then last = ended end
end
return {first, last}
"""


def test_scaling_follows_the_cores(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    rates = {}
    for consumers in CONSUMERS:
        stack.scale(consumers)
        stack.redis("SET", "rq:suspended", "1")  # as `rq suspend` does
        with stack.load("--rate", str(JOBS / 2), "--for", "2s", "--mix", "tokens=1") as load:
            wait_until(lambda: load.name not in run("docker", "ps", "--format", "{{.Names}}"))
        assert stack.redis("LLEN", "rq:queue:stdlib") == str(JOBS)
        stack.redis("DEL", "rq:suspended")
        wait_until(lambda: stack.redis("ZCARD", "rq:finished:stdlib") == str(JOBS), timeout=60)
        span = stack.redis("EVAL", SPAN, "1", "rq:finished:stdlib").splitlines()
        first, last = (datetime.fromisoformat(time) for time in span)
        rates[consumers] = JOBS / (last - first).total_seconds()
        stack.redis("FLUSHALL")
    with capsys.disabled():
        print(f"\n  {cores} cores, Redis and Prometheus on them as well:")
        for consumers, rate in rates.items():
            print(f"  {consumers} × 1 CPU: {rate:6.0f} jobs/s, {rate / rates[1]:.2f} ×")
    # By how much depends on who else wants the cores; the figures are for who reads them.
    if cores > 1:
        assert max(rates[2], rates[4]) > rates[1]

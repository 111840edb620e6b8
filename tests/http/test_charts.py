"""What the charts of the overview are drawn from."""

import json
import signal
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

from heori import Producer
from tests.rigs.consumers import Consumer
from tests.rigs.service_rig import Service
from tests.rigs.waiting import until
from tests.tasks import sample_tasks


def points(service: Service) -> list[dict[str, Any]]:
    """Those of the last minutes, the newest last."""
    with urlopen(f"{service.url}/events", timeout=60) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                told: list[dict[str, Any]] = json.loads(line[6:])["points"]
                return told
    raise AssertionError("the stream ended before it said anything")


def test_while_a_consumer_is_suddenly_silent_there_is_a_gap_and_no_fall(
    consume: Callable[..., Consumer], service: Service, producer: Producer
) -> None:
    consume("--slots", "3").ready()
    until(lambda: points(service)[-1]["slots"] == 3)
    latest = consume("--slots", "3").ready()  # of which the oldest reading knows nothing yet
    until(lambda: points(service)[-1]["slots"] == 6)
    found = service.ask("GET", "/v1/overview").body
    assert (found["consumers"], found["wanted_consumers"]) == (2, 0)
    latest.process.send_signal(signal.SIGSTOP)
    try:
        producer.options(queue="nobody.serves").submit(sample_tasks.add, 1)
        # At first there is a gap; as it stays away, the other is then all that there is.
        until(lambda: points(service)[-1]["slots"] == 3)
        told = points(service)
        [*_, before] = (at for at, point in enumerate(told) if point["slots"] == 6)
        gap = [point for point in told[before + 1 :] if point["slots"] is None]
        assert gap
        assert gap[-1]["waiting"] == 1
        assert 0 not in [point["slots"] for point in told[before:]]
    finally:
        latest.process.send_signal(signal.SIGCONT)
    until(lambda: points(service)[-1]["slots"] == 6)

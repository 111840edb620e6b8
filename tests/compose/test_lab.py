"""`docker compose --profile lab up`: each note can be seen. `make test-compose` runs it."""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.compose.stack import Stack, wait_until
from tests.grafana.boards import BOARDS, expressions

pytestmark = [
    pytest.mark.skipif(
        "HEORI_TEST_COMPOSE" not in os.environ,
        reason="needs a Docker engine: make test-compose",
    ),
    pytest.mark.timeout(600),
]


def test_each_panel_of_the_notes_has_data_and_shows_what_its_note_says(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    services = stack.compose("--profile", "lab", "config", "--services").split()
    lab = [name for name in services if name.startswith("lab-")]
    ask = partial(stack.query, address=stack.published("prometheus", 9090))
    began = time.monotonic()
    try:
        stack.compose("--profile", "lab", "up", "-d", "--no-deps", *lab)
        empty = {concrete(asked): title for title, asked in expressions(BOARDS["notes"])}

        def all_have_data() -> bool:
            for expression in [*empty]:
                if ask(expression):
                    del empty[expression]
            return not empty

        try:
            wait_until(all_have_data, timeout=240)
        except AssertionError:
            raise AssertionError(f"no data for {empty}") from None
        seen = time.monotonic() - began
        for title in ("Updates lost", "Calls answered, by model", "Memory of a slot, by model"):
            wait_until(lambda title=title: says_so(ask, title))
        deepest = 'max_over_time(heori_queue_depth{queue="note-9"}[5m])'
        assert all(float(each["value"][1]) <= 50 for each in ask(deepest))
    finally:
        stack.compose("--profile", "lab", "rm", "--stop", "--force", *lab)
        stack.redis("FLUSHALL")
    with capsys.disabled():
        print(f"\n  all had data after {seen:.0f} s; {time.monotonic() - began:.0f} s in all")


def concrete(expression: str) -> str:
    """As Grafana asks it, with a quarter of an hour shown."""
    return expression.replace("$__rate_interval", "1m").replace("$__range", "15m")


def says_so(ask: Callable[[str], list[dict[str, Any]]], title: str) -> bool:
    """Whether what a panel shows is as its note says."""
    asked = [concrete(each) for name, each in expressions(BOARDS["notes"]) if name == title]
    found = [each for expression in asked for each in ask(expression)]
    values = [float(each["value"][1]) for each in found]
    if title == "Updates lost":  # without a lock, and with one
        without, having = values
        return without > having == 0
    by_model = {each["metric"]["model"]: value for each, value in zip(found, values, strict=True)}
    more, less = ("threads", "processes") if "Calls" in title else ("processes", "threads")
    return by_model[more] > 2 * by_model[less]

"""CPython's own tests for executors, run against ours, with a real consumer behind it.

They are in ``test.test_concurrent_futures``, which some distributions leave out: skipped then.
"""

import importlib
import unittest
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py

from heori import RedisExecutor
from heori_common.embedded import EmbeddedValkey
from tests.rigs.consumers import Consumer

PACKAGE = "test.test_concurrent_futures"
MIXINS = {
    "ExecutorTest": "executor",
    "WaitTests": "test_wait",
    "AsCompletedTests": "test_as_completed",
    "ExecutorShutdownTest": "test_shutdown",
}
EXCLUDED = {
    "test_submit_keyword": "arguments are JSON: a tuple comes back as a list",
    "test_map_exception": "a tuple comes back as a list; exceptions are in test_executor.py",
    "test_no_stale_references": "submits a method of an object; only functions can be imported",
    "test_free_reference": "returns an object that has no JSON form",
    "test_max_workers_negative": "how many workers there are is the consumers' business",
    "test_shutdown_race_issue12456": "calls a class, which consumers do not",
    "test_hang_gh94440": "calls a class, and asks for a number of workers",
    "test_interpreter_shutdown": "jobs print where their consumer does, and outlive the program",
    "test_submit_after_interpreter_shutdown": "jobs outlive the program that sent them",
    "test_hang_gh83386": "jobs print where their consumer does",
    "test_map_buffersize_on_empty_iterable": "of Python 3.14; calls are sent at once",
}


def found() -> dict[str, type[Any]]:
    """Their classes: in a package of several modules, or in one module, by Python's version."""
    classes = {}
    for name, module in MIXINS.items():
        for place in (f"{PACKAGE}.{module}", PACKAGE):
            try:
                classes[name] = getattr(importlib.import_module(place), name)
                break
            except (ImportError, AttributeError):
                continue
    return classes


CASES = [
    (name, method)
    for name, mixin in found().items()
    for method in dir(mixin)
    if method.startswith("test_")
]


@pytest.fixture(scope="module")
def url(valkey: EmbeddedValkey) -> Iterator[str]:
    with redis_py.Redis.from_url(valkey.url, socket_timeout=None) as client:
        client.flushdb()
    consumer = Consumer(
        ["--slots", "5"],
        {"HEORI_REDIS_URL": valkey.url, "HEORI_ALLOW": f"builtins,time,{PACKAGE}"},
    )
    try:
        consumer.ready()
        yield valkey.url
    finally:
        consumer.stop()


@pytest.mark.skipif(not CASES, reason=f"this Python comes without {PACKAGE}")
@pytest.mark.parametrize(("name", "method"), CASES)
def test_what_cpython_expects_of_an_executor_holds(url: str, name: str, method: str) -> None:
    if method in EXCLUDED:
        pytest.skip(EXCLUDED[method])

    class Case(found()[name], unittest.TestCase):  # type: ignore[misc]
        worker_count = 5
        executor_type = RedisExecutor

        def setUp(self) -> None:
            self.executor = RedisExecutor(url)

        def tearDown(self) -> None:
            self.executor.shutdown()

    outcome = unittest.TestResult()
    Case(method).run(outcome)
    assert outcome.testsRun == 1
    assert [text for _, text in outcome.errors + outcome.failures] == []
    if outcome.skipped:
        pytest.skip(outcome.skipped[0][1])


def test_theirs_were_found_where_there_are_any() -> None:
    methods = {method for _, method in CASES}
    if not methods:
        pytest.skip(f"this Python comes without {PACKAGE}")
    assert {"test_submit", "test_map", "test_cancel_futures"} <= methods

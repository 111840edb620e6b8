"""Signals to one process of a consumer or to all of them, and how processes end without one.

`make chaos ARGS=deploys` has every way to stop at every moment; here is what only a test can look
at.
"""

import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from heori import Producer
from tests.rigs.consumers import MODELS, Consumer
from tests.rigs.waiting import is_alive, until
from tests.tasks import sample_tasks

IMPORTING = "tests.tasks.importing_tasks"
BOTH = f"{IMPORTING},tests.tasks.sample_tasks"


def gone(family: list[psutil.Process]) -> None:
    """Wait until none of these is left."""
    until(lambda: not any(is_alive(each) for each in family))


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        ("threads", [signal.SIGTERM]),
        ("processes", [signal.SIGTERM, signal.SIGTERM]),  # at once, as `timeout` sends it
        ("hybrid", [signal.SIGINT]),
        ("asyncio", [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]),
    ],
)
def test_a_signal_to_all_its_processes_drains_and_charges_no_job(
    model: str,
    numbers: list[signal.Signals],
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
) -> None:
    """Whatever the task modules would do at it, and though one has left a thread."""
    environment = {"HEORI_TASKS": BOTH, "HEORI_TEST_IMPORT": "thread and handler"}
    consumer = consume(*MODELS[model], **environment).ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "drain")
    assert redis.blpop(["drain:running"], timeout=60)
    family = consumer.family
    consumer.signal_group(*numbers)
    consumer.wait_for("draining")
    assert all(is_alive(each) for each in family)
    redis.rpush("drain:go", "now")
    assert consumer.join() == 0
    assert handle.result(60) == "drain"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"1"
    assert redis.zcard("rq:wip:default") == 0
    gone(family)


def test_sigquit_gives_everything_back_at_once_and_uncounted(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume().ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "quit")
    assert redis.blpop(["quit:running"], timeout=60)
    family = consumer.family
    consumer.signal_group(signal.SIGQUIT)
    assert consumer.join() == 0
    assert handle.status() == "queued"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"0"
    gone(family)


def test_under_nohup_a_closed_terminal_changes_nothing(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        consumer = consume(fresh=True).ready()
    finally:
        signal.signal(signal.SIGHUP, before)
    handle = producer.submit(sample_tasks.hold, redis_url, "nohup")
    assert redis.blpop(["nohup:running"], timeout=60)
    consumer.signal_group(signal.SIGHUP)
    redis.rpush("nohup:go", "now")
    assert handle.result(60) == "nohup"
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert consumer.metric("heori_draining") == 0
    assert consumer.stop() == 0


@pytest.mark.parametrize("shared", ["threads", "asyncio"], indirect=True)
def test_what_a_task_starts_can_be_ended_by_a_signal(shared: Consumer, producer: Producer) -> None:
    term, hup, quit_ = -signal.SIGTERM, -signal.SIGHUP, -signal.SIGQUIT
    codes = producer.submit(sample_tasks.end_children).result(60)
    assert codes == [term, term, hup, hup, quit_, quit_, term]


@pytest.mark.parametrize(
    ("number", "whom"),
    [(signal.SIGTERM, "supervisor"), (signal.SIGTERM, "all"), (signal.SIGKILL, "supervisor")],
)
def test_a_signal_is_obeyed_while_the_tasks_are_imported(
    number: signal.Signals, whom: str, consume: Callable[..., Consumer]
) -> None:
    """The import would not come to an end, were it not for a signal to the worker."""
    consumer = consume(HEORI_TASKS=IMPORTING, HEORI_TEST_IMPORT="hang")
    consumer.wait_for("importing")
    family = consumer.family
    assert len(family) == 2
    if whom == "all":
        consumer.signal_group(number)
    else:
        consumer.process.send_signal(number)
    assert consumer.join() == (0 if number == signal.SIGTERM else -number)
    gone(family)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os._exit", "ended with exit code 3"),
        ("abort", "died of signal 6 (SIGABRT)"),
        ("sys.exit", "SystemExit: 3"),
    ],
)
def test_a_module_that_ends_the_process_at_its_import_is_named_once(
    how: str, told: str, consume: Callable[..., Consumer]
) -> None:
    consumer = consume(
        *MODELS["processes"], HEORI_TASKS=BOTH, HEORI_TEST_IMPORT=how, HEORI_METRICS_PORT="0"
    )
    assert consumer.join() == 2
    said = "\n".join(str(line["event"]) for line in consumer.log)
    assert said.count(f"the task module {IMPORTING} ") == 1
    assert told in said


@pytest.mark.parametrize("model", ["threads", "processes"])
def test_the_death_of_the_forkserver_ends_no_worker_and_is_charged_to_no_job(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*MODELS[model]).ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "goes on")
    assert redis.blpop(["goes on:running"], timeout=60)
    forkserver, *workers = consumer.family
    forkserver.kill()
    consumer.wait_for("the process that forks the workers has died; they go on")
    redis.rpush("goes on:go", "now")
    assert handle.result(60) == "goes on"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"1"
    # A worker's own death is still seen, and another one comes from another forkserver.
    handle = producer.submit(sample_tasks.hold, redis_url, "another")
    _, pid = redis.blpop(["another:running"], timeout=60)
    psutil.Process(int(pid)).kill()
    until(lambda: redis.lpop("another:running"))
    redis.rpush("another:go", "now")
    assert handle.result(60) == "another"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"2"
    family = [*workers, *consumer.family]
    assert consumer.stop() == 0
    gone(family)


@pytest.mark.parametrize("role", ["Acknowledger", "LeaseKeeper", "Reaper"])
def test_a_role_that_fails_is_told_and_what_is_held_given_back(
    role: str, consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    """Though it is of a broken pipe, at which click would end without a word."""
    consumer = consume(program="tests.rigs.failing_role", HEORI_TEST_ROLE=role).ready()
    handle = producer.submit(sample_tasks.hold, redis_url, "failed")
    assert consumer.join() == 1
    line = consumer.wait_for("the supervisor has failed; giving back what it holds")
    assert line["role"] == role
    assert "BrokenPipeError: a defect" in line["exception"]
    assert handle.status() == "queued"
    assert redis.hget(f"rq:job:{handle.id}", "heori_deliveries") == b"0"
    assert redis.zcard("rq:wip:default") == 0

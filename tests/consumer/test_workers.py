"""What a consumer does for its workers, and a worker around its jobs."""

import json
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from heori import JobFailed, Producer
from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import Call
from heori_consumer.supervisor.options import ConsumerOptions
from tests.rigs.consumers import IN_PROCESSES, MODELS, Consumer
from tests.rigs.script_bench import Bench
from tests.rigs.waiting import is_alive, until
from tests.tasks import sample_tasks

LARGE = "tests.tasks.sample_tasks.large"
ADD = "tests.tasks.sample_tasks.add"


@pytest.mark.parametrize("model", IN_PROCESSES)
def test_a_worker_is_recycled_after_so_many_jobs_and_no_slot_is_missing_meanwhile(
    model: str, consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume(*MODELS[model], "--recycle-after", "100").ready()
    before = {worker.pid for worker in consumer.workers}
    slots = consumer.metric("heori_slots")
    handles = producer.submit_many(sample_tasks.process, [()] * 600)
    assert {handle.result(60) for handle in handles} & before
    consumer.wait_for("recycling a worker")
    # the old ones end once they have finished what they had, and their successors stay
    seen = set()

    def replaced() -> bool:
        seen.add(consumer.metric("heori_slots"))
        return not before & {worker.pid for worker in consumer.workers}

    until(replaced)
    assert min(seen) == slots, "the old worker's last jobs may count beside its successor's"
    assert producer.submit(sample_tasks.process).result(60) not in before
    assert consumer.metric("heori_worker_restarts_total", reason="recycle-after") >= len(before)
    until(lambda: consumer.metric("heori_jobs_total", outcome="succeeded") == 601)
    assert consumer.metric("heori_jobs_redelivered_total") == 0
    assert consumer.stop() == 0


def test_a_worker_is_recycled_above_so_much_memory(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--max-rss", "200M").ready()
    [worker] = consumer.workers
    assert producer.submit(sample_tasks.allocate, 1).result(60) == worker.pid
    assert producer.submit(sample_tasks.allocate, 300).result(60) == worker.pid
    assert consumer.wait_for("recycling a worker")["reason"] == "max-rss"
    until(lambda: not is_alive(worker))
    assert producer.submit(sample_tasks.process).result(60) != worker.pid
    assert consumer.metric("heori_worker_memory_bytes", kind="rss") < 200 << 20


def test_a_dead_letter_tells_how_its_worker_died(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume("--slots", "2").ready()
    killed = producer.submit(sample_tasks.speak_and_die, "these were my last words")
    left = producer.submit(sample_tasks.leave, "os._exit")
    crashed = producer.submit(sample_tasks.leave, "segfault")
    with pytest.raises(JobFailed, match=r"(?s)these were my last words.*peak memory.*SIGKILL"):
        killed.result(60)
    with pytest.raises(JobFailed, match="ended with exit code 3"):
        left.result(60)
    # the interpreter's own report of where the crash happened
    with pytest.raises(JobFailed, match=r"(?s)Fatal Python error.*sample_tasks.py.*leave.*SIGSEGV"):
        crashed.result(60)
    record = redis.hgetall(f"rq:job:{killed.id}")
    assert record[b"heori_death_signal"] == b"SIGKILL"
    assert record[b"heori_earlier"] == b"3", "a new try would begin with none"
    assert 10e6 < int(record[b"heori_peak_memory"]) < 500e6
    assert b"these were my last words" in record[b"heori_last_log"]
    assert b"these were my last words said aloud" in record[b"heori_last_log"]  # printed
    assert record[b"heori_died_at"].endswith(b"Z")
    assert redis.hget(f"rq:job:{left.id}", "heori_exit_code") == b"3"
    # and what workers write reaches the consumer's own standard error: twice at least, as a
    # neighbour may have ended the first worker before a word was said
    words = "these were my last words"
    until(lambda: sum(words in line["event"] for line in list(consumer.log)) >= 2)


def test_the_stack_of_a_crash_is_whole_and_has_nothing_of_the_command_that_made_the_worker(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consume("--slots", "1").ready()  # so that it is the stack of the main thread
    crashed = producer.submit(sample_tasks.leave, "segfault")
    with pytest.raises(JobFailed, match="SIGSEGV"):
        crashed.result(60)
    stack = redis.hget(f"rq:job:{crashed.id}", "heori_last_log")
    assert b"Fatal Python error: Segmentation fault" in stack
    assert b"worker/forkserver.py" in stack
    assert b"typer" not in stack


@pytest.mark.parametrize("model", MODELS)
def test_middleware_runs_around_each_job_and_can_veto_but_not_lose_it(
    model: str, consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume(*MODELS[model], HEORI_MIDDLEWARE="tests.tasks.middleware.Notes").ready()
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert producer.submit(sample_tasks.add_later, 1, 1).result(60) == 2
    carries = producer.options(meta={"customer": "acme", "n": [1, None]})
    assert carries.submit(sample_tasks.travels).result(60) == {"customer": "acme", "n": [1, None]}
    with pytest.raises(JobFailed, match="ValueError: no"):
        producer.submit(sample_tasks.fail, "no").result(60)
    with pytest.raises(JobFailed, match="PermissionError: no large ones today"):
        producer.submit(sample_tasks.large, 1).result(60)
    assert [note.decode() for note in redis.lrange("notes", 0, -1)] == [
        f"before {ADD}",
        f"after {ADD} 3",
        f"before {ADD}_later",
        f"after {ADD}_later 2",
        "before tests.tasks.sample_tasks.travels",
        "after tests.tasks.sample_tasks.travels {'customer': 'acme', 'n': [1, None]}",
        "before tests.tasks.sample_tasks.fail",
        "failure tests.tasks.sample_tasks.fail ValueError",
        f"before {LARGE}",
        f"failure {LARGE} PermissionError",
    ]
    assert "broken middleware" in consumer.wait_for("middleware failed")["error"]
    assert consumer.metric("heori_job_run_seconds_count") == 5
    assert consumer.stop() == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tests.tasks.middleware.NoMiddleware", "not derived from heori.Middleware"),
        ("tests.tasks.middleware.Missing", "no class to make"),
        ("nonsense", "no class to make"),
        ("no.such.module.Class", "HEORI_MIDDLEWARE: no.such.module.Class is no class to make"),
    ],
)
def test_middleware_that_is_none_is_told_of_at_the_start(
    name: str, reason: str, consume: Callable[..., Consumer]
) -> None:
    consumer = consume(HEORI_MIDDLEWARE=name)
    assert consumer.join(60) == 2
    assert reason in str(consumer.log)
    assert "cannot be imported" not in str(consumer.log), "a module of tasks is another thing"


def test_one_place_hears_of_each_failure_whoever_has_noticed_it_and_of_no_secret(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, bench: Bench
) -> None:
    hears = {"HEORI_MIDDLEWARE": "tests.tasks.middleware.Hears", "HEORI_UNKNOWN_WAIT": "0.1"}
    consumer = consume(**hears).ready()
    name = next(line["consumer"] for line in consumer.log if "consumer" in line)
    secret = SecretStr("hunter2")
    paid = producer.submit(sample_tasks.pay, "ann" * 100, secret, {"pin": secret})
    with pytest.raises(JobFailed, match="does not know ann"):
        paid.result(60)
    died = producer.submit(sample_tasks.leave, "kill")
    with pytest.raises(JobFailed, match="delivered 3 times"):
        died.result(60)
    nobody = Call("tests.tasks.sample_tasks.nothing", (), {})
    bench.execute(bench.commands.enqueue("default", [NewJob.create("unknown", nobody, 60)]))
    until(lambda: redis.llen("heard") == 6)
    assert producer.submit(sample_tasks.add, 1).result(60) == 3
    assert consumer.stop() == 0
    heard = [json.loads(each) for each in redis.lrange("heard", 0, -1)]
    task = "tests.tasks.sample_tasks"
    common = {"queue": "default", "consumer": name}
    failed = {
        **common,
        "job": paid.id,
        "task": f"{task}.pay",
        "delivery": 1,
        "arguments": heard[0]["arguments"],
        "reason": heard[0]["reason"],
        "error": "ConnectionError",
    }
    assert [each for each in heard if each["job"] == paid.id] == [
        {**failed, "attempt": 1, "outcome": "retry"},
        {**failed, "attempt": 2, "outcome": "failed"},
    ]
    assert "hunter2" not in str(heard)
    assert len(heard[0]["arguments"]) < 400
    assert "SecretStr('**********')" in heard[0]["arguments"]
    # once for each of its workers that has died
    crashes = [each for each in heard if each["job"] == died.id]
    assert len(crashes) == 3
    for number, crash in enumerate(sorted(crashes, key=lambda each: each["delivery"]), 1):
        assert crash == {
            **common,
            "job": died.id,
            "task": f"{task}.leave",
            "attempt": 1,
            "delivery": number,
            "arguments": "",
            "outcome": "crashed",
            "reason": crash["reason"],
            "error": "NoneType",
        }
        assert f"delivered {number} times without an end" in crash["reason"]
    # and of what no worker has called a failure
    [unknown] = [each for each in heard if each["job"] == "unknown"]
    assert unknown["outcome"] == "failed"
    assert "HEORI_UNKNOWN_WAIT" in unknown["reason"]


def test_of_a_consumer_that_vanished_with_its_job_once_too_often_another_hears(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    settings = {"HEORI_LEASE": "1", "HEORI_MAX_DELIVERIES": "1"}
    first = consume(**settings).ready()
    [name] = (key.decode().removeprefix("rq:worker:") for key in redis.smembers("rq:workers"))
    handle = producer.submit(sample_tasks.hold, redis_url, "vanished")
    assert redis.blpop(["vanished:running"], timeout=60)
    second = consume(HEORI_MIDDLEWARE="tests.tasks.middleware.Hears", **settings).ready()
    first.process.kill()
    with pytest.raises(JobFailed, match="delivered too often"):
        handle.result(60)
    until(lambda: redis.llen("heard"))
    assert [json.loads(each) for each in redis.lrange("heard", 0, -1)] == [
        {
            "job": handle.id,
            "task": "tests.tasks.sample_tasks.hold",
            "queue": "default",
            "consumer": name,
            "attempt": 1,
            "delivery": 1,
            "arguments": "",
            "outcome": "failed",
            "reason": "delivered too often; its last consumer has vanished with it",
            "error": "NoneType",
        }
    ]
    assert second.stop() == 0
    first.join()


def test_plain_functions_beside_an_event_loop_are_counted(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume(*MODELS["asyncio"]).ready()
    producer.submit(sample_tasks.add, 1).result(60)
    producer.submit(sample_tasks.add_later, 1, 1).result(60)
    until(lambda: consumer.metric("heori_jobs_total") == 2)
    assert consumer.metric("heori_jobs_beside_loop_total", task=ADD) == 1
    assert consumer.metric("heori_jobs_beside_loop_total", task=f"{ADD}_later") == 0


def test_coroutines_share_one_thread_and_wait_together(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    """Fifty that each need all fifty to have begun."""
    consumer = consume("--model", "asyncio", "--processes", "1", "--slots", "50").ready()
    [worker] = consumer.workers
    assert producer.submit(sample_tasks.add_later, 1, 2).result(60) == 3  # its threads are there
    threads = worker.num_threads()
    handles = producer.submit_many(sample_tasks.meet, [50] * 50)
    assert {handle.result(60) for handle in handles} == {worker.pid}
    assert worker.num_threads() == threads


def test_inline_runs_in_the_supervisor_itself_and_says_so(
    consume: Callable[..., Consumer], producer: Producer
) -> None:
    consumer = consume("--model", "inline")
    assert (
        "for debugging"
        in consumer.wait_for(
            "inline is for debugging: tasks run in the supervisor's own process, where one that "
            "crashes or hangs takes everything with it"
        )["event"]
    )
    consumer.ready()
    assert producer.submit(sample_tasks.process).result(60) == consumer.process.pid
    assert not psutil.Process(consumer.process.pid).children()
    assert consumer.stop() == 0


def test_a_worker_stopped_by_a_signal_is_ended_all_the_same(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume("--slots", "1", HEORI_GRACE="0.5").ready()
    producer.submit(sample_tasks.hold, redis_url, "stopped")
    assert redis.blpop(["stopped:running"], timeout=60)
    [worker] = consumer.workers
    worker.send_signal(signal.SIGSTOP)
    assert consumer.stop() == 0
    until(lambda: not is_alive(worker))
    assert redis.llen("rq:queue:default") == 1


@pytest.mark.parametrize(
    ("model", "processes", "slots"),
    [("threads", 2, None), ("processes", None, 2), ("inline", 2, None), ("inline", None, 4)],
)
def test_numbers_that_do_not_fit_the_model_are_refused(
    model: Any, processes: int | None, slots: int | None
) -> None:
    with pytest.raises(ValueError, match=f"the {model} model has one"):
        ConsumerOptions.create(("default",), model, processes, slots)


def test_the_usual_numbers_come_from_the_model_and_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("heori_consumer.supervisor.options.usable_cores", lambda: 3.5)
    models: list[Any] = list(MODELS)
    made = [ConsumerOptions.create(("default",), model) for model in models]
    assert {each.model: (each.processes, each.slots) for each in made} == {
        "threads": (1, 8),
        "processes": (3, 1),
        "hybrid": (3, 8),
        "asyncio": (3, 100),
        "auto": (3, 8),
        "inline": (1, 1),
    }

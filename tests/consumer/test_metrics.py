"""What consumers export: the catalogue, all of it, and each queue's jobs by one of them only."""

import signal
import socket
import urllib.request
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from heori import JobFailed, Mutex, Producer, Semaphore
from heori_common.locks.statistics import Statistics, total
from heori_common.metrics import (
    CATALOGUE,
    JOB_QUEUE,
    JOB_RUN,
    LOCK_HOLD,
    LOCK_WAIT,
    MOST_FAMILIES,
    MOST_TASKS,
    OTHER,
    WANTED_CONSUMERS,
    Histogram,
    Label,
)
from heori_common.protocol.commands import REGISTRIES
from heori_common.protocol.job import FINISHED, NewJob, Outcome
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import Call
from heori_consumer.between.totals import Totals, add, count
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import Bench
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks

TASKS = ("sample", "lock", "periodic")


def families(consumer: Consumer) -> list[Metric]:
    with urllib.request.urlopen(consumer.url + "/metrics", timeout=60) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def full_name(family: Metric) -> str:
    return family.name + "_total" if family.type == "counter" else family.name


def test_what_is_exported_is_the_catalogue_with_its_kinds_and_labels(
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    redis_url: str,
    tmp_path: Path,
) -> None:
    ours = {name: metric for name, metric in CATALOGUE.items() if metric.source == "consumer"}
    labels: dict[str, set[frozenset[str]]] = {name: set() for name in ours}

    def without_sample(consumer: Consumer) -> set[str]:
        found = families(consumer)
        assert {full_name(family): family.type for family in found} == {
            name: metric.kind for name, metric in ours.items()
        }
        for family in found:
            names = (frozenset(sample.labels) - {"le"} for sample in family.samples)
            labels[full_name(family)].update(names)
        return {name for name, seen in labels.items() if not seen}

    on_loop = consume("--model", "asyncio", "--processes", "1").ready()
    with pytest.raises(JobFailed):
        producer.submit(sample_tasks.leave, "kill").result(60)
    producer.submit(sample_tasks.spin_on_loop, 0.5).result(60)
    until(lambda: "heori_worker_loop_lag_seconds" not in without_sample(on_loop))
    assert on_loop.stop() == 0
    sizing = consume("--model", "auto", "--advise", "--processes", "1", "--slots", "1").ready()
    held = producer.submit(sample_tasks.wait_for_file, str(tmp_path / "gate"))
    until(lambda: "heori_auto_estimate_ratio" not in without_sample(sizing))
    (tmp_path / "gate").touch()
    held.result(60)
    assert sizing.stop() == 0
    redis.hset(Keys().bound("default"), "limit", 10)
    threads = consume(
        "--model", "threads", HEORI_TASKS=",".join(f"tests.tasks.{name}_tasks" for name in TASKS)
    ).ready()
    for handle in [producer.submit(sample_tasks.spin, 1.5) for _ in range(2)]:
        handle.result(60)
    producer.submit(lock_tasks.use_a_mutex, "account:5").result(60)
    with Semaphore("gpu", 2, redis_url):  # told while it is held
        until(lambda: without_sample(threads) == set())
    for family in families(threads):
        for sample in family.samples:
            for label in CATALOGUE[full_name(family)].labels:
                if label.values:
                    assert sample.labels[label.name] in label.values
    for name, seen in labels.items():
        assert seen <= {frozenset(CATALOGUE[name].label_names)}


def test_a_consumer_has_one_name_and_says_what_it_is(
    consume: Callable[..., Consumer], redis: Any
) -> None:
    consumer = consume("--queue", "low", "--queue", "high").ready()
    [key] = redis.smembers("rq:workers")
    name = key.decode().removeprefix("rq:worker:")
    found = [sample for family in families(consumer) for sample in family.samples]
    assert {sample.labels["consumer"] for sample in found} == {name}
    [about] = [sample.labels for sample in found if sample.name == "heori_consumer_info"]
    assert about == {
        "consumer": name,
        "model": "threads",
        "version": version("heori"),
        "host": socket.gethostname(),
        "queues": redis.hget(key, "queues").decode(),
    }


def test_one_consumer_tells_how_many_there_should_be(
    consume: Callable[..., Consumer], producer: Producer, tmp_path: Path
) -> None:
    def wanted(*consumers: Consumer) -> list[float]:
        return [it for each in consumers for it in each.samples(WANTED_CONSUMERS.name)]

    patient = consume("--slots", "2").ready()
    until(lambda: wanted(patient) == [0])  # once it leads, it counts
    for handle in [producer.submit(sample_tasks.nap, 0.05) for _ in range(4)]:
        handle.result(60)
    gate = tmp_path / "gate"
    sent = [producer.submit(sample_tasks.wait_for_file, str(gate)) for _ in range(12)]
    # Two run. Ten wait, and are over soon, as far as anybody knows.
    until(lambda: wanted(patient) == [2])
    gate.touch()
    for handle in sent:
        handle.result(60)
    until(lambda: wanted(patient) == [0])
    assert patient.stop() == 0
    gate.unlink()
    hurried = [consume("--slots", "2", HEORI_TARGET_WAIT="0.1").ready() for _ in range(2)]
    for _ in range(12):
        producer.submit(sample_tasks.wait_for_file, str(gate))
    # Each needs a slot as soon as they take longer than a job may wait; and one of the two tells.
    until(lambda: wanted(*hurried) == [6])
    gate.touch()
    until(lambda: wanted(*hurried) == [0])


def test_the_bounds_of_times_are_close_and_reach_hours() -> None:
    for bounds in {metric.bounds for metric in CATALOGUE.values() if metric.kind == "histogram"}:
        assert list(bounds) == sorted(set(bounds))
        steps = [high / low for low, high in pairwise(bounds[:-1])]
        assert max(steps) <= 3
    for metric in (JOB_RUN, JOB_QUEUE, LOCK_WAIT, LOCK_HOLD):
        assert metric.bounds[-2] >= 4 * 3600


def test_names_follow_the_conventions() -> None:
    for metric in CATALOGUE.values():
        assert metric.name.startswith("heori_")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert metric.help.endswith(".")
        assert {"pid", "job", "instance", "le"}.isdisjoint(metric.label_names)
        assert (metric.source == "consumer") == ("consumer" in metric.label_names)


def test_each_label_says_where_its_values_come_from() -> None:
    for metric in CATALOGUE.values():
        for label in metric.labels:
            assert bool(label.values) + bool(label.most) + bool(label.owner) == 1, metric.name
    with pytest.raises(ValueError, match="the label invented"):
        Label("invented")


def test_names_that_come_from_data_are_told_one_by_one_up_to_a_bound() -> None:
    def outcome(number: int) -> Outcome:
        return Outcome(FINISHED, task=f"os.path.{number}")

    totals: Totals = {}
    for number in range(MOST_TASKS + 5):
        count(totals, [outcome(number)])
    assert len(totals) == MOST_TASKS + 1
    assert sum(totals[OTHER].run_time.counts) == 5
    others: Totals = {}
    count(others, map(outcome, range(5000, 5007)))
    both = add(totals, others)
    assert both.keys() == totals.keys()
    assert sum(both[OTHER].run_time.counts) == 12
    assert sum(sum(each.run_time.counts) for each in both.values()) == MOST_TASKS + 12


def test_a_histogram_counts_what_is_at_most_its_bound() -> None:
    histogram = Histogram((1.0, 2.0, float("inf")))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.total) == ([2, 1, 1], 12.0)
    assert (histogram + histogram).counts == [4, 2, 2]


def test_one_of_two_consumers_tells_the_depth_and_the_other_takes_over(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    both = [consume("--slots", "1").ready() for _ in range(2)]
    for _ in both:
        producer.submit(sample_tasks.hold, redis_url, "held")
    for _ in both:
        assert redis.blpop(["held:running"], timeout=60)
    producer.submit_many(sample_tasks.add, [(n, 1) for n in range(7)])

    def depths() -> list[float]:
        return [consumer.metric("heori_queue_depth") for consumer in both]

    until(lambda: sorted(depths()) == [0, 7])
    first = max(both, key=lambda consumer: consumer.metric("heori_queue_depth"))
    until(lambda: sum(c.metric("heori_registry_jobs", registry="started") for c in both) == 2)
    until(lambda: first.metric("heori_queue_oldest_seconds") > 0.5)
    first.process.send_signal(signal.SIGSTOP)
    second = next(consumer for consumer in both if consumer is not first)
    until(lambda: second.metric("heori_queue_depth") == 7)
    first.process.send_signal(signal.SIGCONT)
    until(
        lambda: first.metric("heori_queue_depth", queue="default") == 0
    )  # at once, or in a second
    until(lambda: second.metric("heori_queue_depth") == 7)
    second.process.kill()
    second.join()
    until(lambda: first.metric("heori_queue_depth") == 7)
    for _ in range(3):
        redis.rpush("held:go", "now")


def test_a_consumer_that_ends_leaves_the_counting_to_the_next_at_once(
    consume: Callable[..., Consumer], redis: Any
) -> None:
    consumer = consume().ready()
    until(lambda: consumer.samples("heori_queue_depth") and redis.get("rq:heori:counter:default"))
    assert consumer.stop() == 0
    assert not redis.exists("rq:heori:counter:default")


def test_counts_are_told_by_one_service_of_a_queue_while_somebody_leads_it(
    bench: Bench, redis: Any
) -> None:
    execute, commands = bench.execute, bench.commands

    def count(service: str, *queues: str, lease: float = 30.0) -> Any:
        return execute(commands.count_queues(queues, service=service, lease=lease))

    redis.set(commands.keys.leader("me"), "1 a consumer")

    call = Call("tests.tasks.sample_tasks.add", [1], {})
    execute(commands.enqueue("x", [NewJob.create(each, call, 180) for each in "abc"]))
    redis.zadd("rq:failed:x", {"d": 1})
    counted = count("me", "x", "y")
    assert counted["x"].waiting == 3
    assert counted["x"].registries == {**dict.fromkeys(REGISTRIES, 0), "failed": 1}
    assert (counted["y"].waiting, counted["y"].oldest) == (0, 0.0)
    assert count("other", "x", "z").keys() == {"z"}
    redis.hset("rq:job:a", "enqueued_at", "2020-01-01T00:00:00.000000Z")
    assert count("me", "x")["x"].oldest > 1e8
    redis.delete("rq:job:a")
    assert count("me", "x")["x"].oldest < 60, "of the first that is there"
    redis.hset("rq:job:b", "enqueued_at", "yesterday")
    assert count("me", "x")["x"].oldest == 0
    assert execute(commands.resign(["x"], consumer="other")) == 0
    assert execute(commands.resign(["x", "y"], consumer="me")) == 2
    assert count("other", "x").keys() == {"x"}
    assert count("me", "x").keys() == {"x"}, "nobody leads the other"


@pytest.mark.parametrize("key", ["rq:heori:counter:x", "rq:queue:x", "rq:wip:x", "rq:job:a"])
def test_a_key_of_the_wrong_type_spoils_no_other_count(key: str, bench: Bench, redis: Any) -> None:
    execute, commands = bench.execute, bench.commands
    call = Call("tests.tasks.sample_tasks.add", [1], {})
    for queue in ("x", "y"):
        execute(commands.enqueue(queue, [NewJob.create(f"{queue}1", call, 180)]))
    redis.lpush("rq:queue:x", "a")
    redis.delete(key)
    redis.hset(key, "some", "thing") if key != "rq:job:a" else redis.set(key, "some")
    counted = execute(commands.count_queues(["x", "y"], service="me", lease=30))
    assert counted["y"].waiting == 1
    if "x" in counted:
        assert counted["x"].waiting == (0 if key == "rq:queue:x" else 2)
    assert ("x" in counted) == (key != "rq:heori:counter:x")


def test_waits_and_holds_of_locks_are_counted_whoever_takes_them(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    """By the job's claim, when its task declares them; in its worker, when it takes them itself."""
    consumer = consume("--slots", "2", HEORI_TASKS="tests.tasks.lock_tasks").ready()
    account = {"kind": "mutex", "lock": "account"}
    with Mutex("account:5", redis_url):
        waiting = [producer.submit(lock_tasks.enter, redis_url, 5, n) for n in range(2)]
        until(lambda: consumer.metric("heori_lock_waiters", **account) == 2)
    for handle in waiting:
        handle.result(60)
    until(lambda: consumer.metric("heori_lock_hold_seconds_count", **account) == 2)
    # What nobody waits for any more is told as such, not left out.
    until(lambda: consumer.samples("heori_lock_waiters", **account) == [0])
    assert consumer.metric("heori_lock_wait_seconds_count", **account) == 2
    assert consumer.metric("heori_lock_wait_seconds_sum", **account) > 0.0
    producer.submit(lock_tasks.use_a_mutex, "account:6").result(60)
    until(lambda: consumer.metric("heori_lock_hold_seconds_count", **account) == 3)
    with Semaphore("gpu", 3, redis_url):
        until(lambda: consumer.metric("heori_semaphore_permits_in_use", lock="gpu") == 1)
        assert consumer.metric("heori_semaphore_permits_limit", lock="gpu") == 3
    producer.submit(lock_tasks.hold_account, redis_url, 7, "held")
    assert redis.blpop(["held:running"], timeout=60)
    [worker] = consumer.workers
    worker.kill()
    assert redis.blpop(["held:running"], timeout=60)
    redis.rpush("held:go", 1)
    until(lambda: consumer.metric("heori_lock_hold_seconds_count", **account) == 5)
    assert consumer.metric("heori_lock_wait_seconds_count", **account) == 5
    assert consumer.metric("heori_locks_lost_total") == 0


def test_statistics_of_locks_are_bounded_and_survive_the_wire() -> None:
    one = Statistics(lost=1, fenced_out=2)
    for number in range(MOST_FAMILIES + 5):
        one.family("mutex", f"{number}:x").waited(0.2)
    one.family("mutex", "0:y").held(3.0)
    assert len(one.families) == MOST_FAMILIES + 1
    assert sum(one.families["mutex", OTHER].wait.counts) == 5
    assert Statistics.from_wire(one.to_wire()) == one
    both = total([one, one])
    assert (both.lost, both.fenced_out) == (2, 4)
    assert both.families["mutex", "0"].hold.total == 6.0
    assert sum(both.families["mutex", OTHER].wait.counts) == 10

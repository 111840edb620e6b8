"""Jobs that are sent by the names of their tasks, as consumers have published them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from heori import InvalidArguments, Producer, UnknownTask
from heori_common import tasks
from heori_common.protocol.keys import Keys
from heori_common.published import describe_all
from heori_common.tasks import Task
from heori_producer import by_name
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import Bench
from tests.rigs.waiting import until
from tests.tasks import limited_tasks, lock_tasks, protocol_tasks, sample_tasks

KEYS = Keys()
ADD = f"{sample_tasks.__name__}.add"
# Each with arguments that JSON keeps.
CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (sample_tasks.add, (1,), {"b": 3}),
    (sample_tasks.add_for_a_while, (), {"a": 1, "b": 2}),
    (sample_tasks.flaky, (1,), {}),
    (sample_tasks.flaky_soon, (1,), {}),
    (sample_tasks.spin_limited, (1.5,), {}),
    (lock_tasks.transfer, ("url", 1), {"b": 2, "number": 3}),
    (lock_tasks.compute, ("url", 1), {}),
    (limited_tasks.call, ("me", 1), {}),
]
Job = dict[bytes, bytes]


def publish(bench: Bench, version: str = "v", **declared: Task[..., Any]) -> None:
    found = declared or {tasks.find(each).name: tasks.find(each) for each, _, _ in CALLS}
    bench.execute(bench.commands.publish_tasks(version, describe_all(found)))


def job(redis: Any, job_id: str) -> Job:
    fields: Job = redis.hgetall(KEYS.job(job_id))
    return {name: fields[name] for name in fields if not name.endswith(b"_at")}


def test_a_job_that_is_sent_by_name_is_the_same(
    bench: Bench, redis: Any, producer: Producer
) -> None:
    publish(bench)
    for function, args, kwargs in CALLS:
        by_function = producer.submit(function, *args, **kwargs)
        by_name = producer.send(tasks.find(function).name, *args, **kwargs)
        assert job(redis, by_name.id) == job(redis, by_function.id)
        assert by_name.queue == by_function.queue
    sender = producer.options(queue="other", tenant="acme", delay=60, key="k")
    sent = [sender.send(ADD, 1), sender.submit(sample_tasks.add, 1)]
    assert sent[0].id == sent[1].id
    assert (sent[0].queue, sent[0].status()) == ("other@@acme", "scheduled")


def test_what_is_not_known_or_does_not_fit_is_refused_and_nothing_is_sent(
    bench: Bench, redis: Any, redis_url: str, producer: Producer
) -> None:
    with pytest.raises(UnknownTask, match="no consumer that has tasks has run here"):
        producer.send(ADD, 1)
    publish(bench)
    with pytest.raises(UnknownTask, match=rf"none of the {len(CALLS)} tasks .*; is it '{ADD}'"):
        producer.send(ADD.replace("add", "ad"), 1)
    with pytest.raises(TypeError, match="submit takes the function"):
        producer.send(sample_tasks.add, 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match=rf"{ADD}: a: it is not of type .integer."):
        producer.send(ADD, "x")
    with pytest.raises(InvalidArguments, match="new: Unexpected keyword argument"):
        producer.send(ADD, 1, new=2)
    redis.hset(KEYS.published("v"), ADD, b"{")
    with Producer(redis_url) as another, pytest.raises(UnknownTask, match="makes no sense"):
        another.send(ADD, 1)
    assert redis.keys(KEYS.job("*")) == []


def test_what_consumers_have_by_now_is_looked_at_where_it_is_needed(
    bench: Bench, redis_url: str, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(number: int) -> None: ...
    def after(number: int, more: str = "") -> None: ...

    publish(bench, m=Task(before, "q", 30))
    producer.send("m", 1)
    publish(bench, m=Task(after, "r", 30))
    assert producer.send("m", 1).queue == "q"  # known for a while
    assert producer.send("m", 1, more="x").queue == "r"  # that did not fit before
    assert producer.send("m", 1).queue == "r"
    monkeypatch.setattr(by_name, "FRESH_S", 0.0)
    with Producer(redis_url) as another:
        assert another.send("m", 1).queue == "r"
        publish(bench, m=Task(before, "s", 30))
        assert another.send("m", 1).queue == "s"


def test_consumers_publish_their_tasks_and_validate_what_is_sent(
    consume: Callable[..., Consumer], heori: Heori, producer: Producer, redis: Any
) -> None:
    consume(HEORI_TASKS=f"{sample_tasks.__name__},{protocol_tasks.__name__}").ready()
    until(lambda: redis.exists(KEYS.versions()))
    assert 0 < redis.ttl(KEYS.versions()) <= 24 * 3600
    told = heori("send", ADD, "--args", "[2, 3]", "--wait", "--timeout", "120", HEORI_TASKS="")
    assert (told.returncode, told.stdout) == (0, "5\n")
    told = heori("send", ADD, "--args", '["x"]', HEORI_TASKS="no.such.module")
    assert told.returncode == 2
    assert f'{ADD}: a: it is not of type "integer"' in told.stderr
    told = heori("send", "nothing.at_all", HEORI_TASKS="")
    assert told.returncode == 2
    assert "Registered are:" in told.stderr
    assert "'nothing.at_all' is none of the" in told.stderr
    name = tasks.find(protocol_tasks.take_decimal).name
    assert producer.send(name, Decimal("1.50")).result(60) == "1.50"

"""A real consumer that finds its size."""

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from heori import Producer
from heori.inspect.overview import ConsumerRow
from heori.inspect.reader import RedisReader
from heori.top.details import read_details
from heori_common.protocol.commands import LESSONS_TTL_S
from heori_common.protocol.keys import Keys, service_of
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from heori_consumer.auto.lesson import Lesson
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import limited_tasks, resize_tasks, sample_tasks

AUTO = ("--model", "auto", "--processes", "1", "--slots", "2", "--max-processes", "1")
SAMPLES = {"HEORI_TASKS": "tests.tasks.sample_tasks"}
TASKS = {"HEORI_TASKS": "tests.tasks.resize_tasks"}


def report(consumer: Consumer) -> dict[str, Any]:
    with urllib.request.urlopen(f"{consumer.url}/slots", timeout=60) as answer:
        said: dict[str, Any] = json.loads(answer.read())
        return said


def hold(producer: Producer, redis: Any, redis_url: str, jobs: int) -> None:
    """Send jobs that wait until they are let go; the first two have begun."""
    producer.submit_many(resize_tasks.hold, [(redis_url, "k")] * jobs)
    for _ in range(2):
        assert redis.blpop(["k:running"], 60)


def test_jobs_that_wait_get_more_threads(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str, heori: Heori
) -> None:
    consumer = consume(*AUTO, "--max-slots", "12", **TASKS).ready()
    hold(producer, redis, redis_url, 12)
    for _ in range(10):
        assert redis.blpop(["k:running"], 120)
    told = consumer.wait_for("auto changes the size")
    assert told["reason"].startswith("1 × 2 → 1 × 12: threads ")
    assert (told["processes"], told["slots"]) == (1, 12)
    said = report(consumer)
    assert said["slots"] == 12
    assert said["auto"]["wanted"]["slots"] == 12
    [move] = said["auto"]["moves"]
    assert move["reason"] == told["reason"]
    assert (move["before"]["slots"], move["size"]["slots"]) == (2, 12)
    assert move["cause"] == "jobs wait for other things"
    assert consumer.metric("heori_auto_causes_total", cause=move["cause"]) == 1
    assert consumer.metric("heori_auto_slots") == 12
    assert consumer.metric("heori_auto_processes") == 1
    # All who look see it, too.
    shown = " ".join(heori("consumers", consumer.name).stdout.split())
    assert "1 × 12 × 100 (processes" in shown
    assert f" ago: {told['reason']}" in shown
    assert json.loads(heori("top", "--json").stdout)["consumers"][0]["size"] == [1, 12, 100]
    assert "auto 1 × 12 × 100" in heori("top", "--once").stdout
    with RedisClient(redis_url) as client:
        reader = RedisReader(client, Keys("rq"))
        row = ConsumerRow(consumer.name, "default", "busy", size=(1, 12, 100))
        details = read_details(reader, Settings(), row)
    assert details["size"] == "1 × 12 × 100"
    assert "one thread more " in details["jobs/s with"]
    [move_told] = [text for name, text in details.items() if name.startswith("move ")]
    assert move_told.startswith(told["reason"])
    redis.rpush("k:go", *[1] * 12)
    until(lambda: report(consumer)["running"] == 0)
    assert report(consumer)["slots"] == 12, "at idle it keeps what it has"


def test_what_came_of_a_move_is_said(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    consumer = consume(*AUTO, "--max-slots", "4", **SAMPLES).ready()

    def told() -> dict[str, Any]:
        """Of the first move; there are always jobs."""
        if redis.llen("rq:queue:default") < 500:
            producer.submit_many(sample_tasks.nap, [(0.1,)] * 500)
        [*found] = report(consumer)["auto"]["moves"]
        return found[0] if found else {}

    until(lambda: told().get("outcome") in ("kept", "undone"), timeout=240)
    move = told()
    undone = ", undone" if move["outcome"] == "undone" else ""
    assert re.fullmatch(rf"[+-]\d+% jobs/s since{undone}", move["came_of"])
    assert (move["gain"] > 1.02) == (not undone)
    # Which of them it is, is the machine's: with many others on it, nothing helps.
    logged = consumer.wait_for(
        f"auto {'takes back' if undone else 'knows what came of'} its last move"
    )
    assert undone or (logged["move"], logged["came_of"]) == ("1 × 2 → 1 × 4", move["came_of"])


@pytest.mark.parametrize(
    ("task", "lock"), [(resize_tasks.book, "mutex ledger"), (resize_tasks.dine, "semaphore seats")]
)
def test_a_lock_that_all_wait_for_is_named_and_gets_no_more_slots(
    consume: Callable[..., Consumer],
    producer: Producer,
    redis: Any,
    heori: Heori,
    task: Any,
    lock: str,
) -> None:
    producer.submit_many(task, [()] * 2000)
    auto = ("--model", "auto", "--processes", "1", "--slots", "4", "--max-processes", "1")
    consumer = consume(*auto, **TASKS).ready()
    told = consumer.wait_for("auto adds no slots, as all wait for one lock")
    named = f"of the jobs stand in line for {lock} (tests.tasks.resize_tasks.{task.__name__})"
    assert re.fullmatch(rf"(\d+)% {re.escape(named)}", told["reason"])
    said = report(consumer)["auto"]
    assert named in said["held_up"]
    assert (said["wanted"]["slots"], said["moves"]) == (4, [])
    shown = " ".join(heori("consumers", consumer.name).stdout.split())
    assert f"{named}: more slots are no use" in shown
    redis.delete("rq:queue:default")
    until(lambda: not report(consumer)["auto"]["held_up"])


def test_a_rate_that_all_wait_for_is_named_and_gets_no_more_slots(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, heori: Heori
) -> None:
    producer.submit_many(limited_tasks.seldom, [(number,) for number in range(50)])
    consumer = consume(*AUTO, HEORI_TASKS="tests.tasks.limited_tasks").ready()
    told = consumer.wait_for("auto adds no slots, as jobs wait for a rate")
    named = "48 jobs wait in default for the rate tests.tasks.limited_tasks.seldom"
    assert told["reason"] == named
    said = report(consumer)["auto"]
    assert said["held_up"] == named
    assert (said["wanted"]["slots"], said["moves"]) == (2, [])
    shown = " ".join(heori("consumers", consumer.name).stdout.split())
    assert f"{named}: more slots are no use" in shown
    for job in list(redis.zrange("rq:deferred:default", 0, -1)):
        heori("cancel", job.decode().partition(":")[0])
    until(lambda: not report(consumer)["auto"]["held_up"])


def test_advice_is_given_and_not_taken(
    consume: Callable[..., Consumer], producer: Producer, redis: Any, redis_url: str
) -> None:
    consumer = consume(*AUTO, "--max-slots", "12", "--advise", **TASKS).ready()
    hold(producer, redis, redis_url, 12)
    told = consumer.wait_for("auto would change the size")
    assert told["reason"].startswith("1 × 2 → 1 × 12: ")
    said = report(consumer)
    assert (said["slots"], said["running"]) == (2, 2)
    assert said["auto"]["wanted"]["slots"] == 2
    redis.rpush("k:go", *[1] * 12)


def test_what_one_has_learned_the_next_one_knows(
    consume: Callable[..., Consumer], producer: Producer, redis: Any
) -> None:
    key = Keys("rq").lessons(service_of(["default"]))
    redis.hset(key, "nobody.knows", b"[")
    consume(*AUTO, "--max-slots", "12", **SAMPLES).ready()

    def learned() -> dict[bytes, bytes]:
        """What stands there; there are always jobs to learn from."""
        if redis.llen("rq:queue:default") < 2000:
            producer.submit_many(sample_tasks.nap, [(0.02,)] * 4000)
        found: dict[bytes, bytes] = redis.hgetall(key)
        return found

    until(lambda: b"tests.tasks.sample_tasks.nap" in learned(), timeout=240)
    lesson = Lesson.unpack(learned()[b"tests.tasks.sample_tasks.nap"])
    assert lesson is not None
    assert lesson.size.processes == 1
    assert lesson.demand.wait > lesson.demand.cpu
    assert 0 < redis.ttl(key) <= LESSONS_TTL_S
    assert learned()[b"nobody.knows"] == b"[", "it is another's"


def test_other_models_have_no_size_to_choose(consume: Callable[..., Consumer]) -> None:
    consumer = consume("--model", "threads", **TASKS).ready()
    assert "auto" not in report(consumer)
    assert consumer.samples("heori_auto_slots") == []

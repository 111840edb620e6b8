"""Real consumers that send what their code declares, and `heori schedule` beside them."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rq.job import Job
from rq.serializers import JSONSerializer

from tests.rigs.commands import run_here
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until

NAME = "tests.tasks.periodic_tasks"


def shown(redis_url: str, *words: str) -> dict[str, Any]:
    ran = run_here(redis_url, "schedule", *words, "--json")
    assert ran.exit_code == 0, ran.output
    record: dict[str, Any] = json.loads(ran.stdout)
    return record


def entries(redis_url: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in shown(redis_url)["entries"]}


def test_a_consumer_sends_what_its_code_declares_and_people_look_after_it(
    consume: Callable[..., Consumer], redis: Any, redis_url: str
) -> None:
    assert "there are no periodic jobs" in run_here(redis_url, "schedule").stdout
    consumer = consume(HEORI_TASKS=NAME).ready()
    until(lambda: entries(redis_url).get(f"{NAME}.tick", {}).get("outcome") == "finished")
    found = entries(redis_url)
    assert found.keys() == {f"{NAME}.tick", f"{NAME}.report", f"{NAME}.greet", "greetings"}
    tick, report = found[f"{NAME}.tick"], found[f"{NAME}.report"]
    assert (tick["timing"], tick["catch_up"], tick["state"]) == ("every 1s", "all", "active")
    assert (report["timing"], report["overlap"], report["last"]) == (
        "0 3 1 1 * Asia/Seoul", False, None,
    )  # fmt: skip
    assert report["next"].endswith("-12-31T18:00:00+00:00"), "at 3 o'clock in Seoul"
    until(lambda: consumer.metric("heori_ticks_total", entry=f"{NAME}.tick", outcome="sent") >= 1)
    assert redis.hget(f"rq:job:{tick['job']}", "origin") == b"default"
    job = Job.fetch(tick["job"], redis, serializer=JSONSerializer)
    moment = datetime.fromisoformat(str(job.return_value()))
    assert tick["job"].endswith(f"-{moment:%Y%m%dT%H%M%SZ}")
    assert job.meta == {"scheduled_for": moment.isoformat()}

    table = run_here(redis_url, "schedule").stdout
    assert "Periodic jobs at" in table
    assert "greetings" in table
    assert shown(redis_url, "pause", "greetings") == {
        "name": "greetings", "state": "paused", "changed": True,
    }  # fmt: skip
    assert "already paused" in run_here(redis_url, "schedule", "pause", "greetings").stdout
    ran = shown(redis_url, "run", "greetings")
    assert redis.lrange("rq:queue:else", 0, -1) == [ran["job"].encode()]
    assert redis.hget(f"rq:job:{ran['job']}", "meta") is None, "it is no tick"
    description = redis.hget(f"rq:job:{ran['job']}", "description")
    assert description == f"{NAME}.greet(name='all')".encode()
    paused = entries(redis_url)["greetings"]
    assert (paused["state"], paused["next"], paused["sent"]) == ("paused", None, 1)
    assert shown(redis_url, "resume", "greetings")["changed"]
    redis.hset("rq:heori:entry:" + f"{NAME}.report", "job", ran["job"])  # its last one waits
    refused = run_here(redis_url, "schedule", "run", f"{NAME}.report")
    assert (refused.exit_code, "may not overlap" in refused.stderr) == (2, True)
    unknown = run_here(redis_url, "schedule", "pause", "nothing")
    assert (unknown.exit_code, "There are: greetings" in unknown.stderr) == (2, True)

    assert consumer.stop() == 0
    assert {entry["state"] for entry in entries(redis_url).values()} == {"nobody"}
    told = run_here(redis_url, "doctor", "--json").stdout
    assert "no consumer sends 4 periodic jobs" in told


def test_a_schedule_that_makes_no_sense_is_told_in_a_line(
    consume: Callable[..., Consumer],
) -> None:
    consumer = consume(HEORI_TASKS="tests.tasks.bad_schedule")
    assert consumer.join() != 0
    said = " ".join(str(line) for line in consumer.log)
    assert f"HEORI_TASKS: two entries are called {NAME}.greet, one every 1h" in said
    assert "Traceback" not in said

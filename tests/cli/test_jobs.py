"""`heori jobs` and `heori job`: jobs are found, and told with everything that is known of them."""

import json
import re
from collections.abc import Callable
from typing import Any

from heori import Producer, chain
from tests.rigs.commands import Heori
from tests.rigs.consumers import Consumer
from tests.rigs.script_bench import Bench
from tests.rigs.terminals import on_terminal
from tests.rigs.waiting import until
from tests.tasks import lock_tasks, sample_tasks


def test_jobs_are_listed_for_people_and_for_scripts(
    heori: Heori, producer: Producer, redis_url: str
) -> None:
    sent = producer.submit_many(sample_tasks.add, range(3))
    late = producer.options(delay=1000).submit(sample_tasks.speak_and_die, "x" * 500)
    lines = heori("jobs", "--json").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [each.id for each in (*sent, late)]
    assert {row["status"] for row in rows} == {"queued", "scheduled"}
    assert (rows[0]["task"], rows[0]["tenant"]) == ("tests.tasks.sample_tasks.add", None)
    code, shown = on_terminal(redis_url, "jobs", columns=80)
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    assert all(each.id in shown for each in (*sent, late))
    assert re.search(r"in 1\d min", shown)
    some = heori("jobs", "--limit", "2")
    assert (some.stdout.count("queued"), "2 more were not looked at" in some.stderr) == (2, True)
    assert json.loads(heori("jobs", "--search", late.id, "--json").stdout)["id"] == late.id
    assert heori("jobs", "--queue", "nobody").stderr.startswith("no such jobs found at ")
    refused = heori("jobs", "--state", "odd")
    assert (refused.returncode, "queued, scheduled" in refused.stderr) == (2, True)


def test_a_job_is_told_with_its_call_and_what_may_be_done(heori: Heori, producer: Producer) -> None:
    job = producer.options(meta={"who": "Ann"}, tenant="acme").submit(sample_tasks.add, 1, b=2)
    told = json.loads(heori("job", job.id, "--json").stdout)
    assert (told["args"], told["kwargs"], told["meta"]) == ([1], {"b": 2}, {"who": "Ann"})
    assert (told["tenant"], told["actions"]) == ("acme", ["cancel", "delete"])
    assert told["waited"] >= 0
    shown = heori("job", job.id).stdout
    assert "arguments    [1]" in shown
    assert "cancel, delete" in shown
    absent = heori("job", "nobody")
    assert (absent.returncode, "there is no job nobody" in absent.stderr) == (2, True)


def test_earlier_tries_and_the_rest_of_a_flow_are_told(
    heori: Heori, producer: Producer, consume: Callable[..., Consumer], redis: Any
) -> None:
    flow = producer.submit_flow(chain(sample_tasks.fail.s("no"), sample_tasks.add.s(1)))
    first, rest = (handle.id for handle in flow.handles)
    consume().ready()
    until(lambda: redis.hget(f"rq:job:{rest}", "status") == b"canceled")
    assert heori("dead", "replay", first).returncode == 0
    until(lambda: redis.xlen(f"rq:results:{first}") == 2)
    told = json.loads(heori("job", first, "--json").stdout)
    assert [each["outcome"] for each in told["tries"]] == ["failed", "failed"]
    assert all("ValueError: no" in each["error"] for each in told["tries"])
    assert (told["ran"] >= 0, told["actions"]) == (True, ["retry", "delete"])
    assert heori("job", first).stdout.count("ValueError: no") >= 2
    child = json.loads(heori("job", rest, "--json").stdout)
    assert child["came_after"] == {"count": 1, "jobs": {first: "failed"}}
    assert first in child["reason"]


def test_the_locks_of_a_job_are_told(heori: Heori, producer: Producer, bench: Bench) -> None:
    holds, waits, last = (
        producer.submit(lock_tasks.write, "redis://nowhere", 7).id for _ in range(3)
    )
    assert [claim.job_id for claim in bench.claim()] == [holds]

    def locks(job_id: str) -> Any:
        return json.loads(heori("job", job_id, "--json").stdout)["locks"]

    lock = {"kind": "mutex", "name": "account:7"}
    assert locks(holds) == [{**lock, "state": "holds", "before": None}]
    assert locks(waits) == [{**lock, "state": "waits", "before": 0}]
    assert locks(last) == [{**lock, "state": "waits", "before": 1}]
    assert "waits mutex account:7, behind 1" in heori("job", last).stdout


def test_jobs_are_acted_on_by_their_ids(heori: Heori, producer: Producer) -> None:
    later = producer.options(delay=1000)
    one, two = (later.submit(sample_tasks.add, number).id for number in range(2))
    done = heori("run", one, two)
    assert done.stdout == f"job {one} is queued\njob {two} is queued\n"
    half = heori("cancel", one, "nobody")
    assert (half.returncode, half.stdout) == (1, f"job {one} is canceled\n")
    assert half.stderr == "heori: there is no job nobody; its result may have expired\n"
    assert heori("retry", one).stdout == f"job {one} is queued\n"
    refused = heori("stop", one, "--json")
    told = json.loads(refused.stdout)
    assert (told["status"], told["problem"]) == (
        "queued",
        f"job {one} cannot be stopped: it is queued",
    )
    assert json.loads(heori("delete", two, "--json").stdout)["status"] == "deleted"
    assert heori("job", two).returncode == 2

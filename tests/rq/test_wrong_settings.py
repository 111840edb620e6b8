"""What a consumer may not run for a setting waits for another one; and the advice is true."""

import json
import os
import pickle
import sys
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heori import Producer
from heori.inspect.queues import describe_refusals
from heori_common.protocol.payload import BadPayload, decode_call
from heori_common.resolution import resolve
from heori_common.tasks import UnknownTask
from tests.rigs.commands import run_here
from tests.rigs.consumers import Consumer
from tests.rigs.waiting import until
from tests.tasks import sample_tasks
from tests.tasks.own_classes import Reversed

MANY = 2000 if os.environ.get("EXAMPLES") else 500  # of each wrong setting
ADD = "tests.tasks.sample_tasks.add"
WRONG: dict[str, tuple[Any, str]] = {  # by queue: what a job of it calls, and what lets it run
    "pickled": (
        pickle.dumps((ADD, None, (1, 2), {})),
        "set HEORI_ACCEPT=json,pickle",
    ),
    "strange": (("shopping.till.pay", None, [1], {}), "set HEORI_ALLOW=nowhere,shopping"),
    "untasked": (("tests.tasks.shop.add", None, [1], {}), "or set HEORI_ALLOW=nowhere,tests"),
    "missing": (("nowhere.at.all", None, [1], {}), "install nowhere here"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a package that consumers can import, and one that some cannot."""
    for package, name in (("shopping", "till.py"), ("elsewhere/nowhere", "at.py")):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / name).write_text("def pay(n): return n\nall = pay\n")
    return tmp_path


def fill(redis: Any, queue: str, payload: Any, count: int = MANY) -> list[bytes]:
    """Put jobs on a queue, as rq does; returns their ids in order."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    pipeline = redis.pipeline()
    ids = [f"{queue}-{number}" for number in range(count)]
    for job_id in ids:
        fields = {"data": zlib.compress(raw), "status": "queued", "origin": queue, "timeout": 180}
        pipeline.hset(f"rq:job:{job_id}", mapping=fields)
    pipeline.rpush(f"rq:queue:{queue}", *ids)
    pipeline.sadd("rq:queues", f"rq:queue:{queue}")
    pipeline.execute()
    return [job_id.encode() for job_id in ids]


def waiting(redis: Any, queue: str) -> Any:
    return redis.lrange(f"rq:queue:{queue}", 0, -1)


def ended(redis: Any, queue: str, registry: str) -> Any:
    return redis.zcard(f"rq:{registry}:{queue}")


@pytest.mark.parametrize("model", ["threads", "processes"])
def test_jobs_of_each_wrong_setting_wait_for_another_consumer(
    model: str,
    folder: Path,
    redis: Any,
    redis_url: str,
    producer: Producer,
    consume: Callable[..., Consumer],
) -> None:
    many = MANY if model == "threads" else 100
    ids = {queue: fill(redis, queue, payload, many) for queue, (payload, _) in WRONG.items()}
    fill(redis, "default", ("os.system", None, ["true"], {}), 1)  # is to blame itself
    good = producer.submit_many(sample_tasks.add, [(n, 1) for n in range(50)])
    words = [word for queue in WRONG for word in ("--queue", queue)]
    at_first = {"HEORI_ALLOW": "nowhere", "PYTHONPATH": str(folder)}
    # What is asked back of a worker that is slow to begin goes to the front before all else does.
    wrong = consume(*words, "--model", model, program="tests.rigs.patient", **at_first).ready()
    assert [handle.result(60) for handle in good] == [n + 1 for n in range(50)]
    until(lambda: wrong.metric("heori_queue_refused") == len(WRONG))
    until(lambda: all(redis.llen(f"rq:queue:{queue}") == many for queue in WRONG))
    assert {queue: waiting(redis, queue) for queue in WRONG} == ids
    report = json.load(urllib.request.urlopen(wrong.url + "/readyz", timeout=60))
    assert report["refuses"].keys() == WRONG.keys()
    until(lambda: len(describe_refusals(records(redis))) == len(WRONG))
    told = run_here(redis_url, "doctor").output

    def refusals() -> list[dict[str, Any]]:
        return [line for line in list(wrong.log) if "takes no more jobs" in line["event"]]

    until(lambda: len(refusals()) >= len(WRONG))
    lines = refusals()
    assert sorted(line["queue"] for line in lines) == sorted(WRONG)
    for line in lines:
        assert line["level"] == "error"
        assert line["reason"].endswith(WRONG[line["queue"]][1]) or "PYTHONPATH" in line["reason"]
        assert f"takes no jobs of {line['queue']}: " in told
    for queue in WRONG:
        assert not ended(redis, queue, "failed")
        first = redis.hgetall(f"rq:job:{queue}-0")
        assert first[b"status"] == b"queued"
        assert first.get(b"heori_deliveries", b"0") == b"0"
    until(lambda: ended(redis, "default", "failed") == 1)
    producer.submit(sample_tasks.add, 1, 1).result(60)  # the other queue goes on

    mended = {
        "HEORI_ACCEPT": "json,pickle",
        "HEORI_ALLOW": "nowhere,shopping,tests",
        "PYTHONPATH": f"{folder}:{folder / 'elsewhere'}",
    }
    consume(*words, "--model", model, **mended).ready()
    until(lambda: all(ended(redis, queue, "finished") == many for queue in WRONG))
    assert not any(ended(redis, queue, "failed") for queue in WRONG)
    assert wrong.stop() == 0


@pytest.mark.parametrize("model", ["threads", "processes", "asyncio", "auto"])
def test_jobs_that_wait_beside_refused_ones_keep_their_order(
    model: str, folder: Path, redis: Any, producer: Producer, consume: Callable[..., Consumer]
) -> None:
    runs, gate = folder / "runs", folder / "gate"
    producer.submit_many(sample_tasks.add, [(n, 1) for n in range(50)])  # then it claims 64 at once
    ids = fill(redis, "strange", WRONG["strange"][0], 10)
    good = [(str(runs), str(gate), number) for number in range(100)]
    record = sample_tasks.record_and_wait
    last = producer.options(queue="good").submit_many(record, good)[-1]
    words = ["--queue", "strange", "--queue", "good", "--model", model]
    words += ["--processes", "1"] if model != "threads" else []
    words += ["--slots", "1"] if model != "processes" else []
    # It would claim what follows before Redis has what it gives back.
    at_first = {"HEORI_ALLOW": "nowhere", "PYTHONPATH": str(folder)}
    consumer = consume(*words, program="tests.rigs.patient", **at_first).ready()
    until(lambda: runs.exists() and waiting(redis, "strange") == ids)
    gate.touch()
    assert last.result(60) == 99
    assert [int(line) for line in runs.read_text().split()] == list(range(100))
    assert consumer.stop() == 0


def records(redis: Any) -> dict[str, dict[str, str]]:
    return {
        name.decode(): {
            field.decode(): value.decode() for field, value in redis.hgetall(name).items()
        }
        for name in redis.smembers("rq:workers")
    }


def test_a_consumer_that_may_run_nothing_ends_with_the_line_that_mends_it(
    redis: Any, consume: Callable[..., Consumer]
) -> None:
    ids = fill(redis, "default", WRONG["pickled"][0], 100)
    consumer = consume()
    assert consumer.join() == 2
    assert "accepts json only; set HEORI_ACCEPT=json,pickle" in consumer.log[-1]["event"]
    assert waiting(redis, "default") == ids
    assert not redis.smembers("rq:workers")


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_what_an_own_serializer_cannot_read_is_refused_if_another_could(serializer: str) -> None:
    call: Any = (ADD, None, [1], {})
    raw = json.dumps(call).encode() if serializer == "json" else pickle.dumps(call)
    with pytest.raises(BadPayload) as refused:
        decode_call(raw, ["json"], 1000, own=Reversed)
    assert refused.value.mend == f"start this consumer with --serializer {serializer}"
    with pytest.raises(BadPayload) as damaged:
        decode_call(raw[:-4], ["json"], 1000, own=Reversed)
    assert not damaged.value.mend


def test_a_prefix_ends_at_a_dot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(UnknownTask) as refused:
        resolve("shopping.till.pay", ("shop.",))
    assert refused.value.mend == "set HEORI_ALLOW=shop,shopping"
    assert "shopping" not in sys.modules

"""What travels with a job beside its arguments, and middleware where jobs are sent."""

import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rq.job import Job

from heori import Options, Producer, QueueFull, Settings
from heori_common.middleware import make
from heori_common.protocol.job import MalformedJob
from heori_common.protocol.meta import LARGEST_META_BYTES, decode_meta, has_meta, shown_meta
from heori_common.protocol.payload import PayloadTooLarge
from tests.rigs.commands import Heori
from tests.tasks import sample_tasks
from tests.tasks.middleware import Slow, Stamps

STAMPS = "tests.tasks.middleware.Stamps"
ADD = "tests.tasks.sample_tasks.add"


def test_stock_rq_reads_the_meta_of_a_job_and_others_have_no_such_field(
    producer: Producer, redis: Any
) -> None:
    given: dict[str, Any] = {"customer": "äcme", "tries": [1, None]}
    sender = producer.options(meta=given)
    given["late"] = True
    sent = [sender.submit(sample_tasks.add, 1), *sender.submit_many(sample_tasks.add, [2, 3])]
    for handle in sent:
        job = Job.fetch(handle.id, redis, "rq.serializers.JSONSerializer")
        assert job.meta == {"customer": "äcme", "tries": [1, None]}
    for other in (producer, sender.options(meta=None), sender.options(meta={})):
        assert not redis.hexists(f"rq:job:{other.submit(sample_tasks.add, 1).id}", "meta")


@pytest.mark.parametrize(
    ("meta", "error", "why"),
    [
        ([1], TypeError, "a dict is needed whose keys are texts"),
        ({1: 2}, TypeError, "a dict is needed whose keys are texts"),
        ({"a": {1, 2}}, ValueError, "has no JSON form"),
        ({"a": float("nan")}, ValueError, "has no JSON form"),
        ({"a": "x" * LARGEST_META_BYTES}, PayloadTooLarge, "over the limit of 16384"),
    ],
)
def test_meta_that_cannot_travel_is_refused_where_it_is_given(
    meta: Any, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        Options(meta=meta)


def test_what_rq_has_pickled_is_read_as_far_as_it_is_values() -> None:
    field = pickle.dumps({"customer": "acme", "when": (1, 2)})
    assert decode_meta(field, "pickle") == {"customer": "acme", "when": (1, 2)}
    assert shown_meta(field) == {"customer": "acme", "when": [1, 2]}
    with pytest.raises(MalformedJob, match="its meta"):
        decode_meta(pickle.dumps({"sink": Stamps}), "pickle")


@pytest.mark.parametrize("field", [b"nonsense", b"[1]", b"\x80\x04N.", b"{" * 5000])
def test_meta_without_a_meaning_is_told_to_who_reads_it_and_to_nobody_else(field: bytes) -> None:
    with pytest.raises(MalformedJob, match="its meta"):
        decode_meta(field)
    assert shown_meta(field) == {}
    assert not has_meta(field, {"a": "1"})


def test_middleware_adds_to_jobs_that_are_sent_refuses_them_and_hears_what_came_of_them(
    redis_url: str, redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # Another class that is named has nothing to do with sending, and is not made here.
    names = (STAMPS, "tests.tasks.middleware.Notes")
    settings = Settings(redis_url=redis_url, middleware=names, queue_limits={"full": 1})
    [stamps] = make(names, ("sending",))
    assert isinstance(stamps, Stamps)
    stamps.told.clear()
    with Producer(settings=settings) as producer:
        sender = producer.options(meta={"customer": "acme"})
        with pytest.raises(PermissionError, match="no thirteen"):
            sender.submit_many(sample_tasks.add, [1, 13])
        assert not redis.exists("rq:queue:default"), "nothing was sent"
        handles = sender.options(queue="full", when_full="reject")
        with pytest.raises(QueueFull) as full:
            handles.submit_many(sample_tasks.add, [1, 2])
    assert json.loads(redis.hget(f"rq:job:{full.value.sent[0].id}", "meta")) == {
        "customer": "acme",
        "stamp": 1,
    }
    default, to_full = ("sending", ADD, "default"), ("sending", ADD, "full")
    refused = ("sent", ADD, "PermissionError")
    assert stamps.told == [
        *(default, default, refused, refused),
        *(to_full, to_full, ("sent", ADD, "NoneType"), ("sent", ADD, "QueueFull")),
    ]
    assert "Stamps.sent has failed" in caplog.text


def test_threads_that_send_their_first_jobs_at_once_have_the_same_middleware(
    redis_url: str, redis: Any
) -> None:
    settings = Settings(redis_url=redis_url, middleware=("tests.tasks.middleware.Slow",))
    both = threading.Barrier(2)

    def send(_: int) -> str:
        with Producer(settings=settings) as producer:
            both.wait(60)
            return producer.submit(sample_tasks.add, 1).id

    with ThreadPoolExecutor(2) as threads:
        ids = list(threads.map(send, range(2)))
    stamps = [json.loads(redis.hget(f"rq:job:{each}", "meta")) for each in ids]
    assert stamps == [{"stamped by": 0}] * 2
    assert len(Slow.made) == 1


FORKED_MEANWHILE = """
import os, signal, threading
from heori_common.middleware import Middleware, make
begun, parent = threading.Event(), os.getpid()
class Made(Middleware):
    def __init__(self):
        if os.getpid() == parent:
            begun.set()
            threading.Event().wait()
threading.Thread(target=make, args=(["__main__.Made"],), daemon=True).start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)  # or it would wait for a thread that it does not have
    os._exit(len(make(["__main__.Made"])))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_was_forked_while_middleware_was_made_makes_its_own() -> None:
    assert subprocess.check_output([sys.executable, "-c", FORKED_MEANWHILE]) == b"1\n"


def test_meta_is_shown_with_a_job_and_dead_letters_are_found_by_it(
    producer: Producer, redis: Any, heori: Heori
) -> None:
    ids = {}
    for name, meta in (("a", {"customer": "acme", "n": 1}), ("b", {"customer": "other"})):
        job = producer.options(meta=meta).submit(sample_tasks.add, 1)
        redis.hset(f"rq:job:{job.id}", "status", "failed")
        redis.zadd("rq:failed:default", {job.id: 2e10})
        ids[name] = job.id
    assert json.loads(heori("job", ids["a"], "--json").stdout)["meta"] == {
        "customer": "acme",
        "n": 1,
    }
    for wanted, found in (
        (["customer=acme"], ["a"]),
        (["customer=acme", "n=1"], ["a"]),
        (["customer=other", "n=1"], []),
        (["customer"], None),
    ):
        told = heori("dead", "list", "--json", *(f"--meta={each}" for each in wanted))
        if found is None:
            assert "KEY=VALUE is needed" in told.stderr
        else:
            letters = [json.loads(line)["id"] for line in told.stdout.splitlines()]
            assert letters == [ids[name] for name in found]

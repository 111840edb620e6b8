"""What readers make of results and failures that somebody has written to Redis."""

import json
import pickle
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import pytest

from heori import BadPayload, InvalidArguments, InvalidResult, JobFailed, Producer, group
from heori.inspect import job as job_record
from heori.inspect.dead_letters import DeadLetters
from heori.inspect.reader import RedisReader
from heori_common import tasks
from heori_common.protocol.job import Job
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import (
    MOST_FAILURE_BYTES,
    decode_call,
    decode_failure,
    decode_result,
    encode_failure,
)
from heori_common.raised import Raised
from heori_common.redis.client import RedisClient
from heori_common.settings import Settings
from heori_producer.errors import original
from tests.rigs.dead_letters import letter
from tests.tasks import sample_tasks, served_tasks

pytestmark = pytest.mark.usefixtures("full_stack")


@cache  # not as the module is read, which every process of a run does
def large() -> bytes:
    """Of 26 kB, which become 20 MB."""
    return b64encode(zlib.compress(b"x" * 20_000_000))


def test_a_failure_is_read_to_its_end_unless_that_is_far_away() -> None:
    for text in ("", "no", "예외 \U0001f600\n" * 20_000, "x" * MOST_FAILURE_BYTES):
        assert decode_failure(encode_failure(text)) == text
    hundred_thousand = "".join(chr(0x10000 + n) for n in range(100_000))  # what a worker may keep
    assert decode_failure(encode_failure(hundred_thousand)) == hundred_thousand


@pytest.mark.parametrize(
    "make",
    [
        large,
        lambda: b"x" * 20_000_000,  # neither base64 nor deflated: as it stands
        lambda: "é".encode() * 10_000_000,
        lambda: b64encode(zlib.compress(("é" * 20_000_000).encode())),
        lambda: b64encode(zlib.compress(b"\xff" * 50 + bytes(600_000))),  # no UTF-8
    ],
    ids=["zeros", "plain", "not ASCII", "split character", "bytes"],
)  # fmt: skip
def test_a_failure_that_inflates_is_cut_and_says_so(make: Callable[[], bytes]) -> None:
    field = make()
    tracemalloc.start()
    shown = decode_failure(field)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(shown) < 4 * MOST_FAILURE_BYTES + 200
    assert shown.endswith("... the rest is left out, as it is longer than 500,000 bytes ...")
    assert peak < 20_000_000


def test_every_reader_of_a_failure_is_bounded(
    producer: Producer, redis: Any, settings: Settings
) -> None:
    handle = producer.submit(sample_tasks.add, 1, 2)
    letter(redis, handle.id)
    redis.xadd(f"rq:results:{handle.id}", {"type": "2", "exc_string": large()})
    redis.hset(f"rq:job:{handle.id}", "heori_unknown", large())
    read: dict[str, Callable[[], str]] = {}

    def of_handle() -> str:
        with pytest.raises(JobFailed) as failed:
            handle.result(60)
        return str(failed.value)

    with RedisClient(settings.redis_url) as client:
        letters = DeadLetters(client, settings, ["default"])
        [(_, dead)] = [*letters.read(next(letters.find([handle.id])))]
        read = {
            "handle": of_handle,
            "job, GET": lambda: str(
                job_record.read(RedisReader(client, Keys()), settings, handle.id)
            ),
            "dead": lambda: dead.traceback or "",
            "dead list": lambda: dead.reason * 1000,  # of 300 characters
            "unknown": lambda: Job.from_hash("a", redis.hgetall(f"rq:job:{handle.id}")).unknown,
        }
        for name, told in read.items():
            assert "the rest is left out" in told(), name
            assert len(told()) < 600_000, name


def test_the_message_of_a_failure_commands_no_terminal() -> None:
    told = "Traceback\n\tValueError: \x1b]0;title\x07\x9b31m\u202e\ud800\r"
    failed = JobFailed("a\x1b", told)
    assert str(failed) == (
        "job a\\x1b failed:\nTraceback\n\tValueError: \\x1b]0;title\\x07\\x9b31m\\u202e\\ud800\\r"
    )
    assert failed.traceback == told


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "recursion"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "recursion"),
        (b"[" * 250 + b"]" * 250, "recursion"),  # Python reads it, HTTP cannot write it
        (b'"\\ud800"', "hex escape"),
        (b"9" * 5000, "out of range"),
        (pickle.dumps({"a": [1]}), "expected value"),
        (b"\xff", "expected value"),
        (b"", "EOF"),
    ],
    ids=["lists", "objects", "deeper than HTTP", "surrogate", "digits", "pickle", "bytes", "empty"],
)
def test_a_result_that_cannot_be_read_is_refused_with_one_error(value: bytes, why: str) -> None:
    with pytest.raises(BadPayload, match=f"no JSON that can be read here: .*{why}"):
        decode_result(b64encode(value))


def test_a_result_that_is_no_base64_is_refused_likewise() -> None:
    for field in (b"!", b"\xff", b"a", b"W10=\n!"):
        with pytest.raises(BadPayload, match="no JSON that can be read here"):
            decode_result(field)


def test_every_reader_of_a_result_tells_of_one_that_is_too_deep(
    producer: Producer, redis: Any, settings: Settings
) -> None:
    handle = producer.submit(sample_tasks.add, 1, 2)
    deep = b64encode(b"[" * 100_000 + b"]" * 100_000)
    redis.xadd(f"rq:results:{handle.id}", {"type": "1", "return_value": deep})
    redis.hset(f"rq:job:{handle.id}", "status", "finished")
    with pytest.raises(BadPayload, match="recursion limit"):
        handle.result(60)
    with RedisClient(settings.redis_url) as client:
        shown = job_record.read(RedisReader(client, Keys()), settings, handle.id)
    assert shown is not None
    assert "recursion limit" in shown.record()["error"]
    assert len(json.dumps(shown.record())) < 2000


def test_a_result_without_a_type_ends_every_wait_for_it(producer: Producer, redis: Any) -> None:
    for entry in (
        {"type": "x"},
        {"type": b"\xff"},
        {"none": "1"},
        {"type": "-1"},
        {"type": "9" * 5000},
    ):
        handle = producer.submit(sample_tasks.add, 1, 2)
        awaited = group([handle])
        redis.xadd(f"rq:results:{handle.id}", entry)
        with pytest.raises(BadPayload, match="no type that could be read"):
            awaited.results(60)
        with pytest.raises(BadPayload, match="no type that could be read"):
            handle.result(60)


def test_an_exception_that_is_nested_without_end_is_none() -> None:
    """Its reader would take the whole stack, and end the process."""
    packed = b""
    for _ in range(3000):
        packed = msgpack.packb(msgpack.ExtType(1, packed))
    assert Raised.decode(packed) is None
    assert JobFailed("a", "no", packed).error_type is None
    copy = Raised("builtins", "ValueError", "no", [], packed).encode()
    assert original(JobFailed("a", "no", copy)).__cause__ is None  # the failure itself


def test_an_exception_with_arguments_nested_without_end_travels_as_text() -> None:
    deep: tuple[Any, ...] = ()
    for _ in range(400):
        deep = (deep,)
    raised = Raised.of(ValueError(deep))
    assert (raised.type, raised.copy) == ("ValueError", None)
    exact = Raised.decode(Raised.of(ValueError(((1, (2,)), [3]))).encode())
    assert exact is not None
    assert repr(exact.made_anew()) == "ValueError(((1, (2,)), [3]))"


def nested(depth: int, kind: type[Any] = list) -> Any:
    value = kind()
    for _ in range(depth - 1):
        value = kind([value])
    return value


def test_what_is_nested_too_deeply_for_readers_is_refused_by_the_writer(
    producer: Producer, redis: Any
) -> None:
    echo = tasks.find(served_tasks.anything)
    for depth in (205, 250, 255, 300, 2000):
        with pytest.raises(InvalidArguments, match=r"no reader takes it|recursion"):
            producer.submit(served_tasks.anything, nested(depth))
        with pytest.raises(InvalidResult, match=r"no reader takes it|recursion"):
            echo.dump_result(nested(depth))
    with pytest.raises(InvalidArguments):
        producer.submit(served_tasks.anything, nested(150, tuple))  # each is two arrays there
    assert redis.keys("*") == []
    for value in (nested(190), nested(80, tuple), [[n] for n in range(500)]):
        stored = echo.dump_result(value)
        assert stored is not None
        assert echo.load_result(stored) == value
        call = decode_call(producer.encode(echo, (value,), {}).data, ("json",), 10**6)
        assert call.function == echo.name


def test_what_no_reader_could_read_is_refused_as_arguments_and_as_a_result(
    producer: Producer, redis: Any
) -> None:
    echo = tasks.find(served_tasks.anything)
    value: Any
    for value in (10**4300, [1, {"n": -(10**5000)}], "\ud800", {"path": Path("/\udcff")}):
        with pytest.raises(InvalidArguments, match=r"anything: .* no JSON form"):
            producer.submit(served_tasks.anything, value)
        with pytest.raises(InvalidResult, match=r"anything returned .* no JSON form"):
            echo.dump_result(value)
    assert redis.keys("*") == []
    for value in (10**4299, "9" * 100_000, [10**50] * 5000, ["1" * 4400, -(10**4298)]):
        stored = echo.dump_result(value)
        assert stored is not None
        assert echo.load_result(stored) == value
        job = producer.encode(echo, (value,), {})
        assert decode_call(job.data, ("json",), 10**6).args == [value]

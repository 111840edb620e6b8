"""The protocol against rq 3.0.0 itself: what one writes, the other reads."""

import dataclasses
import json
import pickle
import re
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py
import rq
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rq.job import Job as RqJob
from rq.results import Result as RqResult
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.utils import get_call_string

from heori_common.protocol.commands import Commands
from heori_common.protocol.job import (
    Job,
    NewJob,
    describe,
)
from heori_common.protocol.payload import (
    BadPayload,
    Call,
    PayloadTooLarge,
    decode_call,
    decode_failure,
    decode_result,
    encode_call,
    encode_failure,
    encode_result,
)
from heori_common.protocol.unpickling import Pickles
from heori_common.redis.client import RedisClient
from tests.rigs.lua_files import CALLED, LUA
from tests.rigs.rq_records import LEFT_OUT, call_of

ADD = "tests.tasks.sample_tasks.add"
LIMIT = 1_000_000

rq_json: Any = JSONSerializer  # it has no type hints

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


# What is sent


@pytest.mark.parametrize(
    ("args", "kwargs", "timeout"),
    [
        ([1], {"b": 2}, 180),
        ([], {}, 30),
        (["힐", {"k": [1.5, None, True]}], {"z": "ü" * 100, "a": "'\""}, -1),
    ],
)
def test_a_job_is_written_as_rq_writes_it_but_for_what_is_empty(
    redis: redis_py.Redis, redis_url: str, args: list[Any], kwargs: dict[str, Any], timeout: int
) -> None:
    def written() -> dict[str, Any]:
        """Every key with its type, TTL and content; what may differ is checked and left out."""
        readers: dict[bytes, Callable[[bytes], Any]] = {
            b"hash": lambda key: shown(client.hgetall(key)),
            b"set": lambda key: [named(member) for member in client.smembers(key)],
            b"list": lambda key: [named(item) for item in client.lrange(key, 0, -1)],
        }
        found = {
            named(key): (kind := client.type(key), client.ttl(key), readers[kind](key))
            for key in client.keys("*")
        }
        client.flushdb()
        return found

    def shown(fields: dict[bytes, bytes]) -> dict[str, Any]:
        rest: dict[str, Any] = {
            name.decode(): value for name, value in fields.items() if value or name not in LEFT_OUT
        }
        rest["data"] = json.loads(call_of(rest["data"]))
        for name in ("created_at", "enqueued_at"):
            text = rest.pop(name).decode()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
            age = datetime.now(UTC) - datetime.fromisoformat(text)
            assert abs(age) < timedelta(minutes=1)
        return rest

    def named(name: bytes) -> str:
        return name.decode().replace(theirs.id, "<id>").replace(ours.id, "<id>")

    client: Any = redis  # its hints mix in those of asyncio and of decoded replies
    ours = NewJob.create("7f-0_Z", Call(ADD, args, kwargs), timeout)
    theirs = rq.Queue("mail", connection=redis, serializer=JSONSerializer).enqueue(
        ADD, args=args, kwargs=kwargs, job_timeout=timeout
    )
    expected = written()
    with RedisClient(redis_url) as redis_client:
        assert redis_client.execute(Commands().enqueue("mail", [ours])).new == 1

    saved = RqJob.fetch(ours.id, connection=redis, serializer=JSONSerializer).to_dict()
    assert {saved[name.decode()] for name in LEFT_OUT} == {""}, (
        "rq reads what is empty from nothing"
    )
    assert not client.hgetall(f"rq:job:{ours.id}").keys() & LEFT_OUT
    assert written() == expected
    assert set(expected) == {"rq:queues", "rq:queue:mail", "rq:job:<id>"}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        (("x" * 73,), {}),
        (("x" * 74,), {}),
        (("x" * 5000, b"y" * 200), {"k": "z" * 76}),
        ((1, -0.0, None), {"zulu": 1, "alpha": 2, "Mike": 3}),
        (("힐\n\t\u202e\ud800'\"",), {"ключ": "значение"}),
        (([{"deep": (1, 2)}], datetime(2026, 1, 2, tzinfo=UTC)), {}),
    ],
)
def test_the_description_is_rqs_call_string(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    expected = get_call_string("myapp.send", args, kwargs, max_length=75)
    assert describe(Call("myapp.send", args, kwargs)) == expected


def test_the_description_of_a_large_call_is_short() -> None:
    shown = describe(Call("myapp.send", list(range(1_000_000)), {}))
    assert (shown[:18], len(shown)) == ("myapp.send(0, 1, 2", 4096 + 3)
    many = ["x" * 10_000_000, b"y" * 10_000_000]
    assert describe(Call("m.f", many, {})) == get_call_string("m.f", many, {}, max_length=75)


def test_a_call_is_described_although_an_argument_cannot_be_shown() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise LookupError("it is no longer attached to its session")

    shown = describe(Call("m.f", [1, Silent()], {"n": 10**5000}))
    assert shown.startswith("m.f(1, <Silent whose repr raises LookupError>, n=<int whose repr ")


@hypothesis_settings(max_examples=50, deadline=None)
@given(args=st.lists(json_values, max_size=3), kwargs=st.dictionaries(st.text(), json_values))
def test_any_json_arguments_come_back_from_our_payload_and_from_rqs(
    args: list[Any], kwargs: dict[str, Any]
) -> None:
    data = encode_call(Call("m.f", args, kwargs))
    raw = call_of(data)
    assert encode_call(Call("m.f", args, kwargs), len(raw)) == data
    with pytest.raises(PayloadTooLarge, match=f"over the limit of {len(raw) - 1} "):
        encode_call(Call("m.f", args, kwargs), len(raw) - 1)
    assert rq_json.loads(raw) == ["m.f", None, args, kwargs]
    assert decode_call(data, ["json"], len(raw)) == Call("m.f", args, kwargs)
    theirs = zlib.compress(rq_json.dumps(("m.f", None, args, kwargs)))
    assert decode_call(theirs, ["json"], LIMIT) == Call("m.f", args, kwargs)


def test_a_small_payload_is_written_as_it_stands_and_a_large_one_deflated() -> None:
    def call(characters: int) -> bytes:
        return b'["m.f",null,["%b"],{}]' % (b"x" * characters)

    def written(characters: int) -> bytes:
        return encode_call(Call("m.f", ["x" * characters], {}))

    room = 200 - len(call(0))
    assert written(room) == call(room)
    assert len(written(room + 1)) < 100
    assert zlib.decompress(written(room + 1)) == call(room + 1)


def test_rq_reads_payloads_of_any_size(redis: redis_py.Redis) -> None:
    for size in (0, 100, 10_000):
        job = RqJob("a", connection=redis, serializer=JSONSerializer)
        job.restore({b"data": encode_call(Call(ADD, ["x" * size], {"b": 2})), b"created_at": b""})
        assert (job.func_name, job.args, job.kwargs) == (ADD, ["x" * size], {"b": 2})


@pytest.mark.parametrize("argument", [object(), b"\xff", "\ud800", {1: object()}])
def test_an_argument_without_a_json_form_is_refused(argument: object) -> None:
    with pytest.raises(BadPayload, match="no JSON form"):
        encode_call(Call("m.f", [argument], {}))


# What is received


@pytest.mark.parametrize(
    ("serializer", "accept"),
    [(JSONSerializer, ["json"]), (DefaultSerializer, ["json", "pickle"])],
)
def test_calls_that_rq_wrote_are_read(
    redis: redis_py.Redis, serializer: Any, accept: list[str]
) -> None:
    job = RqJob.create(
        ADD, args=(1, "x"), kwargs={"b": [None]}, connection=redis, serializer=serializer
    )
    call = decode_call(job.to_dict()["data"], accept, LIMIT)
    assert (call.function, list(call.args), call.kwargs) == (ADD, [1, "x"], {"b": [None]})
    assert call.serializer == accept[-1]
    assert decode_call(job.data, accept, LIMIT) == call  # rq reads an uncompressed one, too


class Witness:
    """Tells when it is unpickled."""

    unpickled = False

    def __setstate__(self, state: object) -> None:
        Witness.unpickled = True


def test_a_pickle_is_not_loaded_unless_accepted_and_the_message_names_the_setting() -> None:
    witness = Witness()
    witness.__dict__["state"] = 1
    data = zlib.compress(pickle.dumps(("m.f", None, (witness,), {})))
    with pytest.raises(BadPayload, match=r"pickle.*HEORI_ACCEPT=json,pickle"):
        decode_call(data, ["json"], LIMIT)
    with pytest.raises(BadPayload, match=r"Witness is under no allowed prefix; set HEORI_ALLOW"):
        decode_call(data, ["json", "pickle"], LIMIT)
    assert not Witness.unpickled
    decode_call(data, ["json", "pickle"], LIMIT, Pickles((), restricted=False))
    assert Witness.unpickled


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_call_of_a_method_brings_its_instance(serializer: str) -> None:
    call = ["send", {"host": "x"}, [1], {}]
    raw = json.dumps(call).encode() if serializer == "json" else pickle.dumps(tuple(call))
    read = decode_call(raw, ["json", "pickle"], LIMIT)
    assert (read.function, read.instance, read.args) == ("send", {"host": "x"}, [1])


NO_CALL = "not a call"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no json"),
        (b"garbage", "no json"),
        (b'["m.f", null, [], {}', "no json"),
        (b"[" * 100_000, "no json"),
        (b"\x80\x05garbage", "is damaged"),
        (b"(garbage.", "is damaged"),
        (b"null", NO_CALL),
        (b'"m.f"', NO_CALL),
        (b"{}", NO_CALL),
        (b'["m.f", null, []]', NO_CALL),
        (b'["m.f", null, [], {}, 5]', NO_CALL),
        (b'["m.f", null, {}, []]', NO_CALL),
        (b'["m.f", null, "ab", {}]', NO_CALL),
        (b'[7, null, [], {}]', NO_CALL),
        (pickle.dumps(("m.f", None, (), {1: 2})), NO_CALL),
        (pickle.dumps(("m.f", None, None, None)), NO_CALL),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("full_stack")
@pytest.mark.parametrize("pack", [zlib.compress, bytes])
def test_what_is_no_call_is_refused_with_the_reason(
    pack: Callable[[bytes], bytes], raw: bytes, reason: str
) -> None:
    with pytest.raises(BadPayload, match=reason):
        decode_call(pack(raw), ["json", "pickle"], LIMIT)


def test_a_truncated_payload_is_refused() -> None:
    data = encode_call(Call("m.f", ["x" * 1000], {}))
    with pytest.raises(BadPayload, match="no json"):
        decode_call(data[:-9], ["json"], LIMIT)


def test_a_payload_that_inflates_to_fifty_megabytes_costs_no_more_than_the_limit() -> None:
    bomb = zlib.compress(b'["' + b"a" * 50_000_000 + b'"]')
    assert len(bomb) < 60_000
    tracemalloc.start()
    try:
        with pytest.raises(BadPayload, match=f"more than the limit of {LIMIT} bytes"):
            decode_call(bomb, ["json"], LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [zlib.compress, bytes])
def test_a_payload_may_be_just_as_long_as_the_limit(pack: Callable[[bytes], bytes]) -> None:
    raw = b'["m.f",null,["x"],{}]'
    assert decode_call(pack(raw), ["json"], len(raw)).args == ["x"]
    with pytest.raises(BadPayload, match="limit"):
        decode_call(pack(raw), ["json"], len(raw) - 1)


# Results


def restore(fields: dict[bytes, bytes], serializer: Any) -> RqResult:
    """Read by rq what a result stream holds."""
    connection: Any = None  # it makes no use of it
    return RqResult.restore("id", "1-0", {b"type": b"1", **fields}, connection, serializer)


@pytest.mark.parametrize(
    "value", [0, "", "힐", [1, {"a": None}], 1e300, False, {"x": "y" * 10_000}]
)
def test_results_are_readable_by_rq_in_the_serializer_of_the_job(value: Any) -> None:
    value_json = json.dumps(value).encode()
    as_json, as_pickle = (encode_result(value_json, which) for which in ("json", "pickle"))
    assert restore({b"return_value": as_json}, JSONSerializer).return_value == value
    assert restore({b"return_value": as_pickle}, DefaultSerializer).return_value == value
    assert json.loads(decode_result(as_json)) == value
    with pytest.raises(BadPayload, match="rq"):
        decode_result(as_pickle)


@pytest.mark.parametrize("field", [b"%%%", b64encode(b"{"), b64encode(b"\xff"), b""])
def test_a_damaged_result_is_refused(field: bytes) -> None:
    with pytest.raises(BadPayload, match="no JSON"):
        decode_result(field)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Traceback …\nValueError: 힐\n", None),
        ("", None),
        ("x\n" * 100_000, None),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
    ],
)
def test_tracebacks_are_readable_by_rq(text: str, read: str | None) -> None:
    encoded = encode_failure(text)
    expected = text if read is None else read
    assert restore({b"exc_string": encoded}, JSONSerializer).exc_string == expected
    assert decode_failure(encoded) == expected


@pytest.mark.parametrize("field", [b"", b"no base64 \xff", b64encode(b"no zlib")])
def test_a_damaged_traceback_is_shown_as_it_stands(field: bytes) -> None:
    assert decode_failure(field) == field.decode("utf-8", "backslashreplace")


# Jobs


def test_a_job_that_rq_wrote_is_read(redis: redis_py.Redis, redis_url: str) -> None:
    queue = rq.Queue("mail", connection=redis, serializer=JSONSerializer)
    theirs = queue.enqueue(ADD, 1, job_timeout=77, description="Ünïcode")
    with RedisClient(redis_url) as redis_client:
        job = redis_client.execute(Commands().job(theirs.id))
        assert redis_client.execute(Commands().job("nobody")) is None
    assert job is not None
    assert dataclasses.replace(job, data=b"") == Job(
        id=theirs.id,
        queue="mail",
        status="queued",
        description="Ünïcode",
        timeout=77,
        data=b"",
        created_at=theirs.created_at,
        enqueued_at=theirs.enqueued_at,
        started_at=None,
        ended_at=None,
        consumer="",
        deliveries=0,
        restarts=0,
    )
    assert decode_call(job.data, ["json"], LIMIT) == Call(ADD, [1], {})


@pytest.mark.parametrize(
    "field", ["timeout", "created_at", "enqueued_at", "started_at", "ended_at", "heori_deliveries"]
)
@pytest.mark.parametrize("value", [b"abc", b"\xff\xfe", b"1.5", b"9" * 5000, b"2026-13-01"])
def test_a_field_without_a_meaning_is_named(field: str, value: bytes) -> None:
    job = Job.from_hash("id", {field.encode(): value, b"status": b"queued"})
    (problem,) = job.problems
    assert field in problem
    assert len(problem) < 120
    assert getattr(job, field.removeprefix("heori_")) is None
    assert job.status == "queued"


@pytest.mark.parametrize("value", [b"2026-01-02T03:04:05", b"2026-01-02"])
def test_a_time_without_a_zone_is_no_time(value: bytes) -> None:
    (problem,) = Job.from_hash("id", {b"created_at": value}).problems
    assert "created_at" in problem


def test_garbage_where_any_text_may_stand_is_shown_escaped() -> None:
    job = Job.from_hash("id", {b"description": b"\xff!", b"status": b"\xfe", b"origin": b"q"})
    assert (job.description, job.status, job.queue) == ("\\xff!", "\\xfe", "q")


# Scripts


def test_there_are_scripts() -> None:
    assert set(CALLED) >= {"enqueue", "claim", "ack", "extend_leases", "give_back", "reclaim"}


EPOCHS = st.integers(min_value=0, max_value=253_402_300_799)  # to the end of 9999


@hypothesis_settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(seconds=EPOCHS, micros=st.integers(min_value=0, max_value=999_999))
@example(seconds=0, micros=0)
@example(seconds=951_782_399, micros=999_999)  # 2000-02-28T23:59:59, a leap year by 400
@example(seconds=951_782_400, micros=0)
@example(seconds=1_709_251_199, micros=1)  # 2024-02-29T23:59:59
@example(seconds=1_709_251_200, micros=1)
@example(seconds=1_798_761_599, micros=10)  # the end of 2026
@example(seconds=4_107_542_400, micros=0)  # 2100-03-01, no leap year by 100
@example(seconds=4_107_542_399, micros=0)
@example(seconds=253_402_300_799, micros=999_999)
def test_lua_writes_times_as_python_does(redis: redis_py.Redis, seconds: int, micros: int) -> None:
    clock = "".join(
        (LUA / "parts" / name).read_text()
        for name in ("server_time.lua", "now_s.lua", "rq_time.lua", "now_text.lua")
    )
    source = clock.replace("redis.call('TIME')", "ARGV") + "return { now_iso, now_text }"
    assert "ARGV" in source
    now_iso, now_text = redis.eval(source, 0, seconds, micros)
    then = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=micros)
    assert now_iso.decode() == then.isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert float(now_text) == pytest.approx(seconds + micros / 1e6, abs=1e-5)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0", 0), ("-1", -1), ("500", 500), ("9999999999", 9999999999),
        ("1.5", 7), ("nan", 7), ("inf", 7), ("0x10", 7), ("1e3", 7), ("", 7), (" 1", 7),
        ("1" * 30, 7), ("--1", 7), ("1\n", 7),
    ],
)  # fmt: skip
def test_lua_takes_whole_numbers_only(redis: redis_py.Redis, written: str, read: int) -> None:
    source = (LUA / "parts" / "to_integer.lua").read_text()
    source += "return string.format('%.0f', to_integer(ARGV[1], 7))"
    assert int(redis.eval(source, 0, written)) == read

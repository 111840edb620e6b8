"""What consumers publish of their tasks, and what a producer makes of it."""

import datetime as dt
import decimal
import json
import types
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, Field

from heori import InvalidArguments, UnknownTask
from heori_common import tasks
from heori_common.protocol.commands.publishing import MOST_VERSIONS, PUBLISHED_TTL_S
from heori_common.protocol.keys import Keys
from heori_common.published import (
    SCHEMA_BYTES,
    NamedTask,
    describe,
    describe_all,
    encode,
    offered,
    version_of,
)
from heori_common.rate import RateTemplate
from heori_common.values.problems import MOST_TOLD
from heori_common.values.results import Stored
from tests.rigs.script_bench import Bench
from tests.tasks import sample_tasks

KEYS = Keys()


class Point(BaseModel):
    x: Annotated[int, Field(ge=0)]
    near: list["Point"] = []


def many(first: int, second: str = "b", *rest: float, point: Point | None = None,
         **others: bool) -> None: ...  # fmt: skip
def apart(first: int, /, *, call: Callable[[], None] = print) -> None: ...
def typed(when: dt.datetime, amount: decimal.Decimal, who: uuid.UUID) -> None: ...
def held(number: int = 5, who: str | None = None, when: dt.date = dt.date(2030, 1, 1)) -> None: ...
def any_name(name: Annotated[str, AfterValidator(str.lower)]) -> None: ...
def other_name(name: Annotated[str, Field(alias="n")]) -> None: ...


def named(function: Callable[..., Any], **options: Any) -> NamedTask:
    declared = tasks.Task(function, "q", 30, **options)
    return NamedTask(declared.name, encode(describe(declared)))


def refused(declared: NamedTask, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidArguments) as refusal:
        declared.to_send(args, kwargs)
    return str(refusal.value).removeprefix(f"{declared.name}: ")


def test_what_does_not_fit_is_told_by_the_name_of_each_argument() -> None:
    of_many, of_typed = named(many), named(typed)
    assert refused(of_many) == "first: Missing required argument"
    assert refused(of_many, "a") == """first: it is not of type "integer" (got 'a')"""
    assert refused(of_many, 1, first=2) == "first: Got multiple values for argument (got 2)"
    assert refused(of_many, 1, "b", 1.5, "c", new=3) == (
        """argument 4: it is not of type "number" (got 'c'); """
        """new: it is not of type "boolean" (got 3)"""
    )
    near = {"x": 1, "near": [{"x": 2}, {"x": -1}]}
    assert refused(of_many, 1, point=near) == (
        "point.near.1.x: it is less than the minimum of 0 (got -1)"
    )
    apart_ = named(apart)
    assert refused(apart_, 1, 2) == "argument 2: Unexpected positional argument (got 2)"
    assert refused(apart_, first=1) == (
        "first: Unexpected keyword argument (got 1); first: Missing required argument"
    )
    told = refused(of_typed, "soon", "1.5", "me")
    assert told.startswith("""when: it is not a "date-time" (got 'soon')""")
    assert "who: it is not a" in told
    assert refused(of_many, object()).startswith("first: Unable to serialize")
    assert refused(of_many, 1, point="\ud800").startswith("the arguments have no JSON form")
    text = refused(of_many, 1, "b", *(["x"] * 100))
    assert text.count("it is not of type") == MOST_TOLD
    assert text.endswith("; and more")


def test_what_fits_is_sent_as_json() -> None:
    near = Point(x=1, near=[Point(x=2)])
    sent = named(many).to_send((1, "b", 2), {"point": near, "new": True})
    assert sent.json == (
        [1, "b", 2], {"point": {"x": 1, "near": [{"x": 2, "near": []}]}, "new": True},
    )  # fmt: skip
    assert sent.types is None
    moment, amount, who = (
        dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
        decimal.Decimal("1.50"),
        uuid.UUID(int=1),
    )
    sent = named(typed).to_send((moment, amount), {"who": who})
    assert sent.json == (["2030-01-01T00:00:00Z", "1.50"], {"who": str(who)})
    bound = tasks.Task(typed, "q", 30).receive(*sent.json, None)
    assert bound == ((moment, amount), {"who": who}) or bound == ((moment, amount, who), {})
    with pytest.raises(InvalidArguments, match="HEORI_STRICT"):
        named(typed).to_send((moment, amount, who), {}, strict=True)
    # What JSON schema has no words for is for the consumer to judge.
    assert named(apart).to_send((1,), {"call": "print"}).json == ([1], {"call": "print"})
    assert named(many).load_result(Stored(b'{"a": [1]}', b'"any"')) == {"a": [1]}


def test_locks_and_rates_are_those_that_the_function_would_have() -> None:
    options: dict[str, Any] = {"locks": ["n:{number}:{who}"], "permits": {"all": 3}}
    declared, by_name = tasks.Task(held, "q", 30, **options), named(held, **options)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    calls = [((), {}), ((7,), {"who": "me"}), ((), {"number": 8, "who": None})]
    for args, kwargs in calls:
        assert by_name.locks_of(args, kwargs) == declared.locks_of(args, kwargs)
    assert by_name.locks_of((7.0,), {}) == declared.locks_of((7,), {})
    with pytest.raises(InvalidArguments):
        by_name.locks_of((1,), {"who": "a" * 2000})
    fast = RateTemplate(held, "100/min", "who:{who}", 5)
    for rate in (fast, RateTemplate(held, "1/s", None, None)):
        paced = tasks.Task(held, "q", 30, rate=rate)
        assert named(held, rate=rate).rate_of((), {"who": "me"}) == paced.rate_of((), {"who": "me"})


def test_what_only_the_code_can_tell_cannot_be_sent_by_name() -> None:
    for function, options, why in (
        (held, {"locks": ["{when}"]}, "{when} stands for no plain text"),
        (held, {"locks": ["{number:03}"]}, "only its code can fill in"),
        (held, {"permits": {"{who!r}": 2}}, "only its code can fill in"),
        (any_name, {"locks": ["{name}"]}, "only its code can fill in"),
        (held, {"rate": RateTemplate(held, "1/s", "{when}", 1)}, "{when} stands for"),
        (other_name, {}, "'name' has an alias"),
    ):
        with pytest.raises(UnknownTask, match="cannot be sent by its name") as refusal:
            named(function, **options)
        assert why in str(refusal.value)
    assert named(any_name).to_send(("A",), {}).json == (["A"], {})


def test_what_anybody_may_have_written_makes_no_task() -> None:
    good = json.loads(encode(describe(tasks.Task(held, "q", 30, locks=["{number}"]))))
    elsewhere = {"$ref": "http://127.0.0.1:1/schema"}
    for wrong in (
        b"",
        b"[]",
        b'{"parameters": [{"name": "no name"}]}',
        json.dumps({**good, "locks": ["{number.__class__}"]}).encode(),
        json.dumps({**good, "locks": ["{number:99999999999}"]}).encode(),
        json.dumps({**good, "retry": [-1]}).encode(),
        json.dumps({**good, "rate": ["often", None, 1]}).encode(),
        json.dumps({**good, "arguments": elsewhere}).encode(),
        json.dumps({**good, "arguments": {"type": 5}}).encode(),
    ):
        with pytest.raises(UnknownTask, match="makes no sense"):
            NamedTask("m.held", wrong)


def test_defaults_and_large_schemas_are_left_out() -> None:
    def drawn(number: int = id(object())) -> None: ...

    assert b"default" not in encode(describe(tasks.Task(many, "q", 30))).replace(
        b'"default":"b"', b""
    )
    large: Any = types.FunctionType(held.__code__, {}, "large")
    large.__annotations__ = {"number": Annotated[int, Field(description="a" * SCHEMA_BYTES)]}
    assert describe(tasks.Task(large, "q", 30)).arguments == {}
    del drawn


def test_consumers_with_the_same_tasks_share_a_version(bench: Bench, redis: Any) -> None:
    declared = offered(["tests.tasks.sample_tasks"])
    published = describe_all(declared)
    version = version_of(published)
    assert version == version_of(dict(reversed(published.items())))
    commands, name = bench.commands, f"{sample_tasks.__name__}.add"
    assert bench.execute(commands.find_task(name)) == (None, [])
    assert not bench.execute(commands.keep_tasks(version, begins=True))
    assert bench.execute(commands.publish_tasks(version, published)) == 0
    assert bench.execute(commands.keep_tasks(version, begins=True))
    assert redis.ttl(KEYS.published(version)) == pytest.approx(PUBLISHED_TTL_S, abs=60)
    assert bench.execute(commands.find_task(name)).described == published[name]
    missing = bench.execute(commands.find_task("nothing"))
    assert missing.described is None
    assert name in missing.names


def test_the_version_that_began_last_comes_first_and_others_are_known_too(
    bench: Bench, redis: Any
) -> None:
    def publish(version: str, **tasks: bytes) -> None:
        if not bench.execute(bench.commands.keep_tasks(version, begins=True)):
            bench.execute(bench.commands.publish_tasks(version, tasks))

    def find(name: str) -> bytes | None:
        return bench.execute(bench.commands.find_task(name)).described

    publish("old", both=b"1", gone=b"1")
    publish("new", both=b"2", added=b"2")
    assert [find(name) for name in ("both", "gone", "added")] == [b"2", b"1", b"2"]
    publish("old")  # another consumer of it begins
    assert find("both") == b"1"
    bench.execute(bench.commands.keep_tasks("new", begins=False))
    assert find("both") == b"1"
    redis.delete(KEYS.published("old"))  # as when it has expired
    assert (find("both"), find("gone")) == (b"2", None)
    # Of very many those go that were not kept for longest.
    publish("kept", kept=b"3")
    for number in range(MOST_VERSIONS):
        redis.expire(KEYS.published("kept"), 10_000_000)
        publish(f"v{number}", each=str(number).encode())
    assert redis.zcard(KEYS.versions()) == MOST_VERSIONS
    assert (find("kept"), find("each"), find("both")) == (b"3", b"31", None)
    assert len(redis.keys(KEYS.published("*"))) == MOST_VERSIONS

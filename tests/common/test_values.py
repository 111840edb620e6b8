"""Values on their way: a task receives what it would be called with, or nothing is sent."""

import ast
import os
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import HttpUrl, SecretStr
from pydantic_core import SchemaValidator, from_json, to_json

from heori import InvalidArguments, InvalidResult, Producer
from heori_common.values.equality import same
from heori_common.values.results import Stored, read_loosely
from tests.rigs.travel import given_back, received, task_of
from tests.tasks import protocol_tasks, value_tasks
from tests.tasks.protocol_tasks import Level
from tests.tasks.value_tasks import (
    Aliased,
    Base,
    Corner,
    Counted,
    Derived,
    Letter,
    Login,
    Pair,
    Price,
    Shy,
    Signed,
    Spoken,
    Twin,
)

SIGNED = Signed(text="a")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


CASES: list[tuple[Callable[..., Any], Any, Any]] = [
    # What is sent, and what arrives.
    (value_tasks.take_secret, "x", SecretStr("x")),
    (value_tasks.take_secret, SecretStr("x"), SecretStr("x")),
    (value_tasks.take_hundredfold, 5, 500),
    (value_tasks.take_price, {"cents": 5}, Price.model_construct(cents=501)),
    (value_tasks.take_price, Price(cents=5), Price.model_construct(cents=501)),
    (value_tasks.take_signed, SIGNED, Signed(text="a")),
    (value_tasks.take_signed, [SIGNED], [Signed(text="a")]),
    (value_tasks.take_signed, {"text": "a"}, Signed(text="a")),
    (value_tasks.take_loud, SIGNED, Signed(text="a").model_copy(update={"text": "!"})),
    (value_tasks.take_counted, Counted([1]), Counted([1])),
    (value_tasks.take_counted, {"items": [1]}, Counted([1])),
    (value_tasks.take_groups, {"a": [1]}, defaultdict(list, a=[1])),
    (value_tasks.take_groups, defaultdict(list), defaultdict(list)),
    (value_tasks.take_json, "[1, 2]", [1, 2]),
    (value_tasks.take_base64, b"aGVvcmk=", b"heori"),
    (value_tasks.take_base64, b"/w==", b"\xff"),
    (value_tasks.take_words, "a b", ["a", "b"]),
    (value_tasks.take_aliased, {"A": 1, "b": 2, "see": 3, "e": 4, "d": 5},
     Aliased(A=1, b=2, C=3, e=4, d=5)),  # type: ignore[call-arg]
    (value_tasks.take_base, Base(x=1), Base(x=1)),
    (value_tasks.take_shy, Shy(shown=1, hidden=2), Shy(shown=1, hidden=2)),
    *((value_tasks.take_datetime_or_str, value, value)
      for value in (NOON, "2026-01-02", "noon", NOON.replace(tzinfo=ZoneInfo("Europe/Berlin")))),
    *((value_tasks.take_uuid_or_str, value, value) for value in (UUID(int=1), str(UUID(int=1)))),
    *((value_tasks.take_path_or_str, value, value) for value in (Path("a"), "a")),
    *((value_tasks.take_set_or_list, value, value) for value in ({1, 2}, [1, 2], set(), [])),
    *((value_tasks.take_base_or_twin, value, value) for value in (Base(x=1), Twin(x=1))),
    (value_tasks.take_grid, {(1, 2): "a"}, {(1, 2): "a"}),
    (value_tasks.take_corner, Corner.TOP, Corner.TOP),
    (value_tasks.take_spoken, Spoken(when=date(2026, 1, 2)), Spoken(when=date(2026, 1, 2))),
    *((value_tasks.take_bytes_of_any_kind, value, value) for value in (b"a", b"\xff\x00")),
    *((value_tasks.take_pair, value, value) for value in (Pair(NOON, "a"), Pair(NOON, Path("a")))),
    (value_tasks.take_url, "http://a/b", HttpUrl("http://a/b")),
    *((value_tasks.take_container, value, value)
      for value in (deque([1], 3), OrderedDict(b=1, a=2), frozenset([UUID(int=1)]))),
    *((value_tasks.take_it, value, value) for value in (
        NOON, Decimal("1.10"), {1: "a"}, (1, 2), {1, 2}, b"\xff", timedelta(1), SecretStr("x"),
        [{"a": (NOON, None)}], float("nan"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "value", "arrives"), CASES, ids=lambda each: getattr(each, "__name__", None)
)
def test_what_goes_in_comes_out(function: Callable[..., Any], value: Any, arrives: Any) -> None:
    task = task_of(function)
    (direct,), _ = task.bind((value,), {})
    (by_place, *_), _ = received(task, (value,), {})
    _, by_name = received(task, (), {"value": value})
    for got in (by_place, by_name["value"]):
        assert same(got, direct), "as when it is called directly"
        assert same(got, arrives)


@pytest.mark.skipif(
    "_use_prebuilt" not in (SchemaValidator.__text_signature__ or ""),
    reason="an older pydantic changes them",
)
def test_a_ready_made_object_in_what_becomes_a_model_is_not_changed_again() -> None:
    letter = Letter.model_construct(first=Signed(text="a"))
    task = task_of(value_tasks.take_letter)
    (got,), _ = received(task, ({"first": SIGNED},), {})
    assert same(got.first, Signed(text="a"))
    assert same(SIGNED, Signed(text="a")), "the caller's"
    assert same(given_back(task, letter), letter)


RESULTS: list[tuple[Callable[..., Any], Any, Any]] = [
    # What is returned, and what its reader gets.
    (value_tasks.take_secret, SecretStr("x"), SecretStr("x")),
    (value_tasks.take_hundredfold, 5, 500),
    (value_tasks.take_price, Price(cents=5), Price(cents=5)),
    (value_tasks.take_counted, Counted([1]), Counted([1])),
    (value_tasks.take_signed, SIGNED, Signed(text="a")),
    (value_tasks.take_words, "a b", ["a", "b"]),
    *((function, value, value) for function, _, value in CASES if function not in (
        value_tasks.take_hundredfold, value_tasks.take_base64, value_tasks.take_words,
        value_tasks.take_url,
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "value", "read"), RESULTS, ids=lambda each: getattr(each, "__name__", None)
)
def test_what_a_task_returns_is_what_its_reader_gets(
    function: Callable[..., Any], value: Any, read: Any
) -> None:
    assert same(given_back(task_of(function), value), read)


@pytest.mark.parametrize("zone", [None, UTC, ZoneInfo("Europe/Berlin")])
@pytest.mark.parametrize("fold", [0, 1])
def test_of_two_hours_that_a_change_of_the_clocks_makes_it_is_told_which(
    zone: tzinfo | None, fold: int
) -> None:
    task = task_of(value_tasks.take_moment)
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold)
    for value in (moment, moment.timetz()):
        (got,), _ = received(task, (value,), {})
        for each in (got, given_back(task, value)):
            assert (each, each.fold, each.tzinfo) == (value, fold, zone)


def test_a_defaultdict_whose_makers_the_hint_does_not_tell_is_refused() -> None:
    task = task_of(value_tasks.take_groups)
    sets: defaultdict[str, Any] = defaultdict(set, a=[1])
    with pytest.raises(InvalidArguments, match=r"value: defaultdict.*no JSON form"):
        task.to_send((sets,), {})
    with pytest.raises(InvalidResult, match=r"returned .*defaultdict.*no JSON form"):
        task.dump_result(sets)


DAMAGED = [
    ('"2026-01-02"', ["datetime", None, 5]),
    ('"12:00"', ["time", None, [1]]),
    ("5", "bytes"),
    ("5", ["keys", None, "int"]),
    ('"x"', "Decimal"),
    ("5", ["*", "int"]),
    ("[]", {"a": "int"}),
    ("5", 5),
]


@pytest.mark.parametrize(("json", "types"), DAMAGED)
def test_a_result_that_nobody_has_written_so_is_damaged(json: str, types: Any) -> None:
    stored = Stored(json.encode(), to_json(["print", types]))
    with pytest.raises(ValueError, match=r"^it is damaged: "):
        read_loosely(stored)
    with pytest.raises(InvalidResult, match="does not fit"):
        task_of(value_tasks.take_moment).load_result(stored)


REFUSED: list[tuple[Callable[..., Any], Any, str]] = [
    # What would change on its way, and what is said of it.
    (value_tasks.take_base, Derived(x=1, y=2), r"Derived, and the hint names Base only"),
    (value_tasks.take_private, value_tasks.Private.seen(), "private attributes"),
    (value_tasks.take_counted, value_tasks.with_more(Counted([1])), "'more', which is no field"),
    (value_tasks.take_lock, value_tasks.Lock(), r"Lock .*no JSON form that would be read"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "value", "said"), REFUSED)
def test_what_would_change_is_refused_by_name(
    function: Callable[..., Any], value: Any, said: str
) -> None:
    task = task_of(function)
    with pytest.raises(InvalidArguments, match=rf"{task.name}: value: .*{said}"):
        task.to_send((value,), {})
    with pytest.raises(InvalidResult, match=rf"{task.name} returned .*{said}"):
        task.dump_result(value)
    within = task_of(value_tasks.take_deep)
    deep = {"a": [None, value]}
    with pytest.raises(InvalidArguments, match=rf"take_deep: deep\.a\.1: .*{said}"):
        within.to_send((), {"deep": deep})


def test_a_hint_that_makes_an_iterator_says_what_to_name_in_its_place() -> None:
    for function in (value_tasks.take_iterable, value_tasks.take_generator):
        task = task_of(function)
        with pytest.raises(InvalidArguments, match=r"value: the hint makes .* name list or Seq"):
            task.to_send(([1, 2],), {})
        with pytest.raises(InvalidResult, match=r"given back: the hint makes .* name list or Seq"):
            task.dump_result([1, 2])


def test_without_a_hint_other_classes_arrive_as_json_unless_it_is_strict() -> None:
    task = task_of(value_tasks.take_it)
    named = Pair(NOON, "a")
    sent = [Base(x=1), Corner.TOP, OrderedDict(a=1), named, Login(user="a", password="b")]  # type: ignore[arg-type]
    ((got, *_), _) = received(task, (sent,), {})
    password = SecretStr("b")
    assert same(got, [{"x": 1}, (0, 1), OrderedDict(a=1), [NOON, "a"],
                      {"user": "a", "password": password}])  # fmt: skip
    for value in (Base(x=1), Corner.TOP, named, [{"a": Level.HIGH}]):
        with pytest.raises(InvalidArguments, match=r"take_it: value.*, which no hint names"):
            task.to_send((value,), {}, strict=True)
        with pytest.raises(InvalidResult, match="which no hint names"):
            task.dump_result(value, strict=True)

    class Id(UUID):
        """As the driver of a database gives it."""

    task = task_of(value_tasks.take_uuid_or_str)
    assert same(received(task, (Id(int=1),), {})[0][0], UUID(int=1))
    task = task_of(value_tasks.take_it)
    for kept in (NOON, (1,), {1: 2}, b"\xff", {"a": [1, "b"]}, None):
        assert same(received(task, (kept,), {}, strict=True)[0][0], kept)


def test_parameters_of_each_kind_and_their_defaults() -> None:
    task = task_of(value_tasks.take_many)
    args, kwargs = (NOON,), {"only": Pair(NOON, Path("p")), "b": UUID(int=1)}
    assert task.to_send(args, kwargs).kwargs.keys() == {"only", "b"}, "a default is the task's own"
    assert same(received(task, args, kwargs), (args, {"second": date(2020, 1, 1), **kwargs}))
    args = (NOON, date(2021, 1, 1), Corner.TOP, Corner.LEFT)  # type: ignore[assignment]
    assert same(received(task, args, kwargs), (args, kwargs))
    with pytest.raises(InvalidArguments, match=r"take_many: argument 3: "):
        task.to_send((NOON, date(2021, 1, 1), "none"), kwargs)
    task = task_of(value_tasks.take_alias)
    assert received(task, (), {"number": 5}) == ((), {"value": 5, "more": 1})
    assert received(task, (5,), {"more": 2}) == ((5,), {"more": 2})
    task = task_of(value_tasks.take_unpacked)
    assert received(task, (), {"when": NOON}) == ((), {"when": NOON})


def test_json_is_validated_once_and_by_the_rules_for_json() -> None:
    task = task_of(value_tasks.take_strict)
    text = "2026-01-02"
    with pytest.raises(InvalidArguments, match="take_strict: value: "):
        task.to_send((text,), {})
    for sent in (received(task, (text,), {}, from_json=True), task.receive([text], {}, None)):
        assert sent == ((date(2026, 1, 2),), {}), "as a browser or stock rq sends it"
    task = task_of(value_tasks.take_price)
    assert received(task, ({"cents": 5},), {}, from_json=True)[0][0].cents == 501
    with pytest.raises(InvalidArguments, match=r"take_price: value\.cents: .*\(got 'x'\)"):
        task.receive([], {"value": {"cents": "x"}}, None)
    task = task_of(value_tasks.take_aliased)
    names = {"A": 1, "b": 2, "C": 3, "e": 4, "d": 5}
    assert received(task, (names,), {}, from_json=True)[0][0] == Aliased(**names)


def test_other_readers_see_plain_json_and_nobody_a_secret() -> None:
    task = task_of(value_tasks.take_pair)
    sent = task.to_send((Pair(NOON, Path("a")),), {})
    assert sent.json == ([["2026-01-02T12:00:00Z", "a"]], {})
    task = task_of(protocol_tasks.take_nested)
    sent = task.to_send(({1: [], 5: []},), {})
    assert sent.json == ([{"1": [], "5": []}], {})
    task = task_of(value_tasks.take_secret)
    with Producer() as producer:  # which connects to nothing
        job = producer.encode(task, (SecretStr("hush"),), {})
    assert "hush" not in str(job.fields()[3])
    assert "SecretStr('**" in str(job.fields()[3])
    assert task_of(protocol_tasks.pause).to_send((1,), {"at": 2}).types is None


def test_code_with_other_hints_validates_what_it_gets() -> None:
    sent = task_of(value_tasks.take_price).to_send((Price(cents=5),), {})
    other = task_of(value_tasks.take_other_price)
    (got,), _ = other.receive(from_json(to_json(sent.json[0])), {}, sent.types)
    assert (type(got), got.cents) == (value_tasks.OtherPrice, Decimal(501))
    sent = task_of(value_tasks.take_bytes_of_any_kind).to_send((b"\xff",), {})
    with pytest.raises(InvalidArguments, match=r"take_other_price: value: .*\(got b'\\xff'\)"):
        other.receive(from_json(to_json(sent.json[0])), {}, sent.types)
    stored = task_of(value_tasks.take_price).dump_result(Price(cents=5))
    assert stored is not None
    assert other.load_result(stored).cents == Decimal(501)
    with pytest.raises(InvalidResult, match=r"the stored result of .* does not fit"):
        task_of(value_tasks.take_corner).load_result(stored)


def test_two_processes_with_the_same_code_know_that_of_each_other() -> None:
    """Whatever the seed of their hashes and the addresses of their functions."""
    script = (
        "from tests.tasks import value_tasks; from heori_common.tasks import registered;"
        "tasks = sorted((n, t) for n, t in registered().items() if 'value_tasks' in n);"
        "print([task._arguments._fingerprint for _, task in tasks])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert len(set(ast.literal_eval(told.pop().decode()))) > 20

"""Tasks: registration, arguments and results through JSON, and what may be imported."""

import functools
import json
import math
import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic_core import core_schema, from_json

from heori import InvalidArguments, UnknownTask, task
from heori_common import tasks
from heori_common.protocol.payload import Call, decode_call, encode_call
from heori_common.tasks import InvalidResult, Task
from heori_common.values.results import Stored
from tests.tasks import protocol_tasks, sample_tasks
from tests.tasks.protocol_tasks import NOON, VALUES, Address, book, plain, send_mail, total


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(tasks, "_registry", dict(tasks.registered()))


def made(function: Callable[..., Any]) -> Task[..., Any]:
    return Task(function, "default", 180)


# Registration


def test_a_task_stays_the_function_it_was() -> None:
    assert sample_tasks.add(1) == 3
    assert not hasattr(sample_tasks.add, "delay")
    found = tasks.find(sample_tasks.add)
    assert found.function is sample_tasks.add
    assert tasks.registered()[found.name] is found
    assert (found.name, found.queue, found.timeout, found.is_async) == (
        "tests.tasks.sample_tasks.add", "default", 180, False,
    )  # fmt: skip


def test_a_task_has_the_settings_it_was_given() -> None:
    found = tasks.find(send_mail)
    assert (found.queue, found.timeout, found.is_async) == ("mail", 30, True)
    assert repr(found) == "<Task tests.tasks.protocol_tasks.send_mail>"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": -2}, "timeout=-2"),
        ({"result_ttl": 0}, "result_ttl=0"),
        ({"result_ttl": -2}, "result_ttl=-2"),
        *(
            ({"queue": q}, "queue")
            for q in ("", "a@", "a@@b", "a,b", "a\n", "\t", "a:intermediate")
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        task(**options)


def test_what_no_consumer_could_import_by_name_is_refused() -> None:
    def local() -> None: ...

    for thing in (lambda: None, local, functools.partial(plain, 1), len, int, Address(
        postCode="1", since=date(2020, 1, 1)
    )):  # fmt: skip
        with pytest.raises(TypeError, match="no function at the top of a module or class"):
            task(thing)  # type: ignore[arg-type]


class Opaque:
    """Nothing that pydantic knows."""


def takes_opaque(a: Opaque) -> None: ...
def returns_opaque() -> Opaque: ...  # type: ignore[empty-body]
def takes_missing(a: "Missing") -> None: ...  # type: ignore[name-defined] # noqa: F821
def returns_missing() -> "Missing": ...  # type: ignore[name-defined] # noqa: F821
def returns_nonsense() -> "not a hint": ...  # type: ignore[valid-type] # noqa: F722


@pytest.mark.parametrize(
    "function",
    [takes_missing, returns_missing, returns_nonsense],
)
def test_a_hint_that_is_no_type_is_refused_where_the_task_is_defined(
    function: Callable[..., Any],
) -> None:
    with pytest.raises(TypeError, match=rf"{function.__name__} has a hint that is no type"):
        task(function)


@pytest.mark.parametrize("function", [takes_opaque, returns_opaque])
def test_a_hint_that_only_python_knows_is_refused_with_what_to_do(
    function: Callable[..., Any],
) -> None:
    said = rf"{function.__name__} has a hint that names <class '.*Opaque'>, which pydantic does not"
    with pytest.raises(TypeError, match=said) as refused:
        task(function)
    assert "arbitrary_types_allowed" not in str(refused.value), "of which a task has none"


def test_only_tasks_are_found_and_none_of_the_program_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnknownTask, match=r"tests\.tasks\.protocol_tasks\.plain is no task"):
        tasks.find(plain)
    twin = functools.wraps(sample_tasks.add)(lambda a: a)
    with pytest.raises(UnknownTask, match="is no task"):
        tasks.find(twin)
    monkeypatch.setattr(plain, "__module__", "__main__")
    with pytest.raises(UnknownTask, match="consumers can import modules only"):
        tasks.find(task(plain))


# Arguments

MORE = {"address": {"postCode": "1", "since": "2020-02-29"}}


@pytest.mark.parametrize(
    ("args", "kwargs", "problems"),
    [
        (("noonish", 1), MORE, ["when: .*datetime.* \\(got 'noonish'\\)"]),
        ((NOON, "x"), MORE, ["seats: .*integer.* \\(got 'x'\\)"]),
        ((NOON, 0), MORE, ["seats: .*greater than or equal to 1 \\(got 0\\)"]),
        ((NOON,), {**MORE, "seats": [1]}, ["seats: .*integer.* \\(got \\[1\\]\\)"]),
        ((NOON, 1), {}, ["address: Missing[^(]*$"]),
        ((), MORE, ["when: Missing[^(]*", "seats: Missing[^(]*"]),
        ((NOON, 1, "x"), MORE, ["argument 3: Unexpected positional argument \\(got 'x'\\)"]),
        ((NOON, 1), {**MORE, "typo": 5}, ["typo: Unexpected keyword argument \\(got 5\\)"]),
        ((NOON, 1), {**MORE, "when": NOON}, ["when: Unexpected keyword argument"]),
        ((NOON, 1), {**MORE, "seats": 1}, ["seats: Got multiple"]),
        ((NOON, 1), {"address": {"postCode": 7}}, ["address.postCode: ", "address.since: F"]),
        (("noonish", 0), {}, ["when: ", "; seats: ", "; address: "]),
        (("x" * 500, 1), MORE, ["when: .*\\(got 'x{50,96}\\.\\.\\.\\)"]),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused_with_each_field_named(
    args: tuple[Any, ...], kwargs: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        tasks.find(book).bind(args, kwargs)
    message = str(caught.value)
    assert message.startswith("tests.tasks.protocol_tasks.book: ")
    for problem in problems:
        assert re.search(problem, message), message
    assert "pydantic.dev" not in message


def test_any_number_of_arguments_is_bound_where_the_task_takes_them() -> None:
    found = tasks.find(total)
    assert found.bind((1, "2"), {"x": "3"}) == ((1, 2), {"x": 3})
    with pytest.raises(InvalidArguments, match=r"total: argument 3: .*; x: "):
        found.bind((1, 2, "few"), {"x": "many"})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (20, r"total: first: [^;]*\(got 'x'\); .*; and 10 more$"),
        (3000, r"total: first: [^(]*; and 2990 more$"),
    ],
)
def test_the_first_of_many_problems_are_told_and_of_very_many_not_what_was_given(
    wrong: int, told: str
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        tasks.find(total).bind(["x"] * wrong, {})
    assert re.search(told, str(caught.value)), caught.value


class Picky:
    """Whose validator raises what pydantic does not expect."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        return core_schema.no_info_plain_validator_function(cls.validate)

    @staticmethod
    def validate(value: Any) -> Any:
        raise KeyError(value)


def takes_picky(value: Picky) -> None: ...


def test_a_validator_that_raises_anything_makes_the_arguments_invalid() -> None:
    with pytest.raises(InvalidArguments, match="takes_picky: KeyError: 'a'"):
        made(takes_picky).bind(("a",), {})


@pytest.mark.parametrize(("function", "value"), VALUES, ids=lambda v: getattr(v, "__name__", None))
def test_a_value_comes_through_json_to_the_worker_and_back_to_the_producer(
    function: Callable[..., Any], value: Any
) -> None:
    found = tasks.find(function)
    for args, kwargs in (((value,), {}), ((), {"value": value})):
        sent = found.to_send(args, kwargs)
        data = encode_call(Call(found.name, *sent.json))
        call = decode_call(data, ["json"], 10_000)  # here the worker's side begins
        bound_args, bound_kwargs = found.receive(call.args, call.kwargs, sent.types)
        [arrived] = [*bound_args, *bound_kwargs.values()]
        assert (arrived, type(arrived)) == (value, type(value))

        returned = found.dump_result(function(arrived))
        if value is None:
            assert returned is None, "RQ stores no None"
        else:
            assert returned is not None
            came_back = found.load_result(returned)  # and here the producer's
            assert (came_back, type(came_back)) == (value, type(value))


def test_nan_comes_back_as_nan() -> None:
    found = tasks.find(protocol_tasks.take_float)
    dumped = found.dump_result(math.nan)
    assert dumped is not None
    assert math.isnan(found.load_result(dumped))
    assert math.isnan(json.loads(dumped.json)), "stock rq reads it, too"
    data = encode_call(Call(found.name, *found.bind((math.nan,), {})))
    assert math.isnan(decode_call(data, ["json"], 1000).args[0])


def test_what_the_worker_gets_is_converted_and_not_only_checked() -> None:
    args, kwargs = tasks.find(book).bind(
        ["2026-01-02T12:00:00Z", "2"], {"address": {"postCode": "1", "since": "2020-02-29"}}
    )
    assert args == (datetime(2026, 1, 2, 12, tzinfo=UTC), 2)
    assert kwargs["address"] == Address(postCode="1", since=date(2020, 2, 29))
    assert book(*args, **kwargs) == "12:00 2 2020 -"


# Results


@pytest.mark.parametrize(
    ("function", "value", "dumped"),
    [
        (sample_tasks.add, 3, b"3"),
        (sample_tasks.add, "4", b"4"),
        (sample_tasks.fail, None, None),
        (protocol_tasks.take_union, None, None),
        (protocol_tasks.take_union, "", b'""'),
        (protocol_tasks.take_untyped, {"a": (1, NOON)}, b'{"a":[1,"2026-01-02T12:00:00.123456Z"]}'),
        (protocol_tasks.take_untyped, None, None),
        (protocol_tasks.take_anything, None, None),
        (protocol_tasks.take_options, {"at": "2026-01-02"}, b'{"at":"2026-01-02T00:00:00"}'),
    ],
)
def test_a_result_is_validated_and_written_as_json(
    function: Callable[..., Any], value: Any, dumped: bytes | None
) -> None:
    stored = tasks.find(function).dump_result(value)
    assert (stored and stored.json) == dumped
    if dumped is not None:
        assert from_json(dumped) is not None


class NoRepr:
    def __repr__(self) -> str:
        raise RuntimeError


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("function", "value", "reason"),
    [
        (sample_tasks.add, "many", "add returned 'many': .*integer"),
        (sample_tasks.add, None, "add returned None: .*integer"),
        (sample_tasks.fail, 1, "fail returned 1: .*None"),
        (protocol_tasks.take_point, {"x": "y"}, "take_point returned .*integer"),
        (sample_tasks.unserialisable, threading.Lock(), "unserialisable returned .*no JSON form"),
        (protocol_tasks.take_untyped, object(), "no JSON form"),
        (protocol_tasks.take_untyped, LOOP, "no JSON form"),
        (protocol_tasks.take_untyped, "\ud800", "no JSON form"),
        (protocol_tasks.take_untyped, NoRepr(), "<NoRepr whose repr raises RuntimeError>.*no JSON"),
        (sample_tasks.add, NoRepr(), "<NoRepr whose repr raises RuntimeError>: .*integer"),
    ],
)
def test_a_result_that_does_not_fit_or_has_no_json_form_is_refused(
    function: Callable[..., Any], value: Any, reason: str
) -> None:
    with pytest.raises(InvalidResult, match=reason) as caught:
        tasks.find(function).dump_result(value)
    assert len(str(caught.value)) < 400


def test_a_stored_result_of_another_version_of_the_task_is_refused() -> None:
    with pytest.raises(InvalidResult, match="the stored result of tests"):
        tasks.find(sample_tasks.add).load_result(Stored(b'"many"'))

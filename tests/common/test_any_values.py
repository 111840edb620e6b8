"""Values of types that nobody has thought of: they arrive as they would be received, or not at all.

`EXAMPLES=5000 .venv/bin/pytest tests/common/test_any_values.py` draws so many, others each time.
"""

import base64
import copy
import dataclasses
import enum
import json
import os
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretStr,
    Strict,
    StringConstraints,
    WrapValidator,
    computed_field,
    create_model,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import SchemaValidator, core_schema
from typing_extensions import TypeAliasType, TypedDict

from heori import InvalidArguments, InvalidResult
from heori_common.values.equality import same
from heori_common.values.writing import is_json
from tests.rigs.travel import given_back, received, task_of

EXAMPLES = int(os.environ.get("EXAMPLES", "150"))


# Called with what was drawn, of which a type checker knows nothing.
named_tuple: Any = NamedTuple
typed_dict: Any = TypedDict
alias: Any = TypeAliasType


T = TypeVar("T")


class Drawn(NamedTuple):
    """A type, and what may be given for it."""

    hint: Any
    values: st.SearchStrategy[Any]
    is_hashable: bool = False
    may_be_refused: bool = False


class Colour(enum.Enum):
    """By text."""

    RED = "red"
    BLUE = "blue"


class Corner(enum.Enum):
    """By tuple, one of which is like another's."""

    TOP = (0, 1)
    LEFT = (1, 0)


class Level(enum.IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    """Whose members may be joined."""

    READ = 1
    WRITE = 2


class Root(RootModel[dict[str, datetime]]):
    """A model without fields."""


class Opaque:
    """What only its own validator knows, and nothing writes."""

    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        return core_schema.no_info_plain_validator_function(cls.of)

    @classmethod
    def of(cls, value: Any) -> "Opaque":
        return value if isinstance(value, cls) else cls(int(value) + 1)


class Tree(BaseModel):
    """A model of models, one of which knows what it has computed."""

    name: str
    below: "list[Tree]" = []
    _size: int = PrivateAttr(default=0)

    def model_post_init(self, context: Any) -> None:
        self._size = 1 + sum(each._size for each in self.below)
        self.name += "!"

    @model_validator(mode="after")
    def _longer(self) -> "Tree":
        self.name += "?"
        return self


class Box(BaseModel, Generic[T]):
    """A generic model."""

    model_config = ConfigDict(validate_default=True)

    item: T
    made: UUID = Field(default_factory=lambda: UUID(int=3))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> list[T]:
        return [self.item] * 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frozen:
    """A dataclass that is made of more than it keeps."""

    number: int
    more: dataclasses.InitVar[int] = 0
    late: list[int] = dataclasses.field(init=False, compare=False)

    def __post_init__(self, more: int) -> None:
        object.__setattr__(self, "number", self.number + more)
        object.__setattr__(self, "late", [self.number])


class Cat(BaseModel):
    """Of two kinds of animal."""

    kind: Literal["cat"] = "cat"
    born: date | str


class Dog(Cat):
    """The other, which is told by its kind."""

    kind: Literal["dog"] = "dog"  # type: ignore[assignment]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
numbers = st.integers(-9, 9)
zones = st.none() | st.timezones() | st.just(ZoneInfo("Europe/Berlin"))
moments = st.datetimes(timezones=zones, allow_imaginary=True)
LEAVES = [
    Drawn(int, st.integers(), is_hashable=True),
    Drawn(int, numbers.map(str), is_hashable=True),
    Drawn(str, texts | st.just("2020-01-01"), is_hashable=True),
    Drawn(float, st.floats(allow_nan=False), is_hashable=True),
    Drawn(float, st.floats()),
    Drawn(bool, st.booleans(), is_hashable=True),
    Drawn(None, st.none(), is_hashable=True),
    Drawn(bytes, st.binary(max_size=4), is_hashable=True),
    Drawn(datetime, moments, is_hashable=True),
    Drawn(date, st.dates(), is_hashable=True),
    Drawn(time, st.times(timezones=zones), is_hashable=True),
    Drawn(timedelta, st.timedeltas(), is_hashable=True),
    Drawn(Decimal, st.decimals(allow_nan=False), is_hashable=True),
    Drawn(UUID, st.uuids() | st.uuids().map(str), is_hashable=True),
    Drawn(Path, texts.map(lambda text: Path(text.replace("\0", ""))), is_hashable=True),
    Drawn(Fraction, st.fractions(), is_hashable=True),
    Drawn(complex, st.complex_numbers(allow_nan=False), is_hashable=True),
    Drawn(IPv4Address, st.ip_addresses(v=4), is_hashable=True),
    Drawn(Literal["a", 1, Colour.RED], st.sampled_from(["a", 1, Colour.RED]), is_hashable=True),
    Drawn(Colour, st.sampled_from([*Colour, "red"]), is_hashable=True),
    Drawn(Corner, st.sampled_from(Corner), is_hashable=True),
    Drawn(Level, st.sampled_from([*Level, 1]), is_hashable=True),
    Drawn(Rights, st.sampled_from([*Rights, Rights.READ | Rights.WRITE]), is_hashable=True),
    Drawn(SecretStr, texts | texts.map(SecretStr), is_hashable=True),
    Drawn(HttpUrl, st.sampled_from(["http://a", HttpUrl("https://b/c?d")]), is_hashable=True),
    Drawn(NewType("Number", int), numbers, is_hashable=True),
    Drawn(Tree, st.recursive(
        st.builds(lambda name: {"name": name}, texts),
        lambda each: st.builds(
            lambda name, below: {"name": name, "below": below}, texts, st.lists(each, max_size=2)),
        max_leaves=3,
    ).flatmap(lambda tree: st.sampled_from([tree, Tree(**tree)]))),
    Drawn(Box[datetime], moments.flatmap(
        lambda each: st.sampled_from([{"item": each}, Box[datetime](item=each)]))),
    Drawn(Frozen, st.builds(lambda a, b: Frozen(number=a, more=b), numbers, numbers)),
    Drawn(Annotated[Cat | Dog, Field(discriminator="kind")],
          st.builds(Cat, born=st.dates() | texts) | st.builds(Dog, born=st.dates() | texts)),
    Drawn(Counter[str], st.dictionaries(texts, numbers)),
    Drawn(re.Pattern[str], st.sampled_from(["a+", re.compile("b", re.IGNORECASE)])),
    Drawn(ZoneInfo, st.sampled_from(["Asia/Tokyo", ZoneInfo("UTC")]), is_hashable=True),
    Drawn(ByteSize, st.sampled_from(["1 kB", 5])),
    Drawn(Callable[[], int], st.just(int), may_be_refused=True),
    Drawn(Any, st.recursive(
        numbers | texts | moments | st.decimals(allow_nan=False) | st.binary(max_size=3)
        | st.just({1: (2,)}) | st.just({frozenset({1})}),
        lambda each: st.lists(each, max_size=2) | st.dictionaries(texts, each, max_size=2),
        max_leaves=3,
    )),
    Drawn(Annotated[int, Field(ge=0, lt=10)], st.integers(-1, 11), is_hashable=True),
    Drawn(Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True)], texts),
    Drawn(Annotated[date, Strict()], st.dates(), is_hashable=True),
    Drawn(Annotated[int, AfterValidator(lambda value: value * 100)], numbers, is_hashable=True),
    Drawn(Annotated[int, Field(lt=10), AfterValidator(lambda value: value + 9)], numbers),
    Drawn(Annotated[int, WrapValidator(lambda value, inner: inner(value) + 1)], numbers),
    Drawn(Annotated[str, AfterValidator(str.split)], texts),
    Drawn(Annotated[list[str], BeforeValidator(str.split)], texts),
    Drawn(Annotated[datetime, PlainSerializer(lambda value: value.year)], moments),
    Drawn(Annotated[set[int], PlainSerializer(len)], st.sets(numbers)),
    Drawn(Json[list[int]], st.lists(numbers).map(json.dumps)),
    Drawn(Base64Bytes, st.binary(max_size=4).map(base64.b64encode)),
    Drawn(Opaque, numbers),
    Drawn(Opaque, numbers.map(Opaque), may_be_refused=True),
    Drawn(Root, st.dictionaries(texts, moments, max_size=2).map(Root)),
]  # fmt: skip
HASHED = [each for each in LEAVES if each.is_hashable]
VALIDATORS: list[Any] = [
    AfterValidator(lambda value: value),
    BeforeValidator(lambda value: value),
    PlainSerializer(repr),
    Field(exclude=True),
    Field(alias="other"),
    Field(validation_alias=AliasChoices("one", "two")),
    Field(serialization_alias="written"),
    Field(repr=False),
]


def _one(drawn: Drawn, hint: Any, values: st.SearchStrategy[Any]) -> Drawn:
    return Drawn(hint, values, may_be_refused=drawn.may_be_refused)


def _generic(generic: Any, *parts: Any) -> Any:
    return generic[parts if len(parts) > 1 else parts[0]]


def _containers(each: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    def lists(of: Drawn) -> st.SearchStrategy[Drawn]:
        one, many = of.hint, st.lists(of.values, max_size=3)
        by_name = st.dictionaries(texts, of.values, max_size=2)
        listed = _generic(list, one)
        return st.sampled_from([
            _one(of, listed, many),
            _one(of, _generic(tuple, one, ...), many | many.map(tuple)),
            _one(of, _generic(deque, one), many.map(deque)),
            _one(of, alias("Alias", listed), many),
            _one(of, _generic(dict, str, one), by_name),
            _one(of, _generic(OrderedDict, str, one), by_name.map(OrderedDict)),
            # What makes their new lists is lost, where they stand within another value.
            _one(of, _generic(defaultdict, str, listed), st.dictionaries(texts, many, max_size=2))
            ._replace(may_be_refused=True),
            _one(of, int | None if one is None else one | None, of.values),
        ])  # fmt: skip

    def sets(of: Drawn) -> st.SearchStrategy[Drawn]:
        one, pairs = of.hint, st.tuples(of.values, numbers)
        return st.sampled_from([
            Drawn(_generic(set, one), st.sets(of.values, max_size=3)),
            Drawn(_generic(frozenset, one), st.frozensets(of.values, max_size=3)),
            Drawn(_generic(dict, one, int), st.dictionaries(of.values, numbers, max_size=3)),
            Drawn(_generic(dict, _generic(tuple, one, int), one),
                  st.dictionaries(pairs, of.values, max_size=3)),
        ])  # fmt: skip

    several = st.lists(each, min_size=1, max_size=3).flatmap(_several)
    return each.flatmap(lists) | st.sampled_from(HASHED).flatmap(sets) | several


def _several(parts: list[Drawn]) -> st.SearchStrategy[Drawn]:
    may = any(part.may_be_refused for part in parts)
    rows = st.tuples(*(part.values for part in parts))
    hints = [part.hint for part in parts]
    names = [f"f{number}" for number in range(len(parts))]
    fields: Any = list(zip(names, hints, strict=True))
    dicts = rows.map(lambda row: dict(zip(names, row, strict=True)))

    def union() -> Drawn:
        hint = hints[0]
        for other in hints[1:]:
            hint = Annotated[hint, Field()] | other
        return Drawn(hint, st.one_of(*(part.values for part in parts)), may_be_refused=may)

    def named() -> Drawn:
        made = named_tuple("Row", fields)
        return Drawn(made, rows | rows.map(lambda row: made(*row)), may_be_refused=may)

    def stdlib() -> Drawn:
        def late(self: Any) -> None:
            self.f0 = [self.f0, len(str(self.f0))] if type(self.f0) is list else self.f0

        made = dataclasses.make_dataclass(
            "Plain", fields, namespace={"__post_init__": late}, slots=len(parts) > 1
        )
        return Drawn(made, rows.map(lambda row: made(*row)), may_be_refused=may)

    def checked() -> Drawn:
        made = pydantic_dataclass(dataclasses.make_dataclass("Checked", fields))
        return Drawn(made, dicts | dicts.map(lambda row: _made(made, row)), may_be_refused=may)

    def typed() -> Drawn:
        made = typed_dict("Typed", dict(fields), total=len(parts) > 1)
        return Drawn(made, dicts, may_be_refused=may)

    def model(options: list[Any], config: ConfigDict) -> Drawn:
        annotated = {
            name: (Annotated[hint, option], ...)
            for name, hint, option in zip(names, hints, options, strict=False)
        }
        made = create_model("Model", __config__=config, **annotated)  # type: ignore[call-overload]
        below = create_model("Below", __base__=made, more=(int, 1))
        instances = dicts.map(lambda row: _made(made, row))
        derived = dicts.map(lambda row: _made(below, row))
        given = st.one_of(dicts, instances, instances, derived)
        return Drawn(made, given, may_be_refused=may)

    configs = st.sampled_from([
        ConfigDict(validate_by_name=True),
        ConfigDict(validate_by_name=True, frozen=True, str_to_upper=True),
        ConfigDict(validate_by_name=True, extra="allow", ser_json_bytes="base64"),
        ConfigDict(validate_by_name=True, str_strip_whitespace=True, use_enum_values=True),
    ])  # fmt: skip
    options = st.lists(st.sampled_from(VALIDATORS), min_size=3, max_size=3)
    return st.builds(model, options, configs) | st.sampled_from(
        [union, named, stdlib, checked, typed]
    ).map(lambda make: make())


def _made(cls: Any, row: dict[str, Any]) -> Any:
    """An instance; what does not fit stays what it is."""
    try:
        return cls(**row)
    except Exception:  # validators may raise anything
        return row


drawn = st.recursive(st.sampled_from(LEAVES), _containers, max_leaves=4)


def _function(hint: Any) -> Callable[..., Any]:
    def work(value: Any) -> Any:
        return value

    work.__annotations__ = {"value": hint, "return": hint}
    return work


def _has(value: Any, name: str) -> bool:
    """Whether there is an instance of a class of this name in a value."""
    if type(value).__name__ == name:
        return True
    if isinstance(value, dict):
        return any(_has(each, name) for each in [*value, *value.values()])
    if isinstance(value, list | tuple | set | frozenset | deque):
        return any(_has(each, name) for each in value)
    if dataclasses.is_dataclass(value):
        return any(_has(getattr(value, each.name), name) for each in dataclasses.fields(value))
    return bool(getattr(value, "__dict__", None)) and _has(vars(value), name)


def _outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the error with which it is refused."""
    try:
        return call()
    except (InvalidArguments, InvalidResult) as error:
        return error


@pytest.mark.skipif(
    "_use_prebuilt" not in (SchemaValidator.__text_signature__ or ""),
    reason="an older pydantic changes ready-made objects in what becomes a model",
)
@pytest.mark.timeout(max(900, EXAMPLES))
@settings(
    max_examples=EXAMPLES,
    derandomize="EXAMPLES" not in os.environ,  # the same ones each time
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_task_receives_what_it_would_be_called_with_or_nothing_is_sent(
    data: st.DataObject,
) -> None:
    of = data.draw(drawn)
    value = data.draw(of.values)
    task = task_of(_function(of.hint))
    before = copy.deepcopy(value)
    direct = _outcome(lambda: task.bind((value,), {})[0][0])
    arrived = _outcome(lambda: received(task, (value,), {})[0][0])
    assert same(value, before), "the caller's object"
    event("does not fit" if isinstance(direct, InvalidArguments)
          else "is refused" if isinstance(arrived, InvalidArguments) else "arrives")  # fmt: skip
    if isinstance(arrived, InvalidArguments):
        assert f"{task.name}: " in str(arrived)
        may = (
            of.may_be_refused
            or _has(direct, "Below")
            or (_has(direct, "Opaque") and not is_json(value))
        )
        assert may or isinstance(direct, InvalidArguments), arrived
    else:
        assert same(arrived, direct), (arrived, direct)
    if isinstance(direct, InvalidArguments):
        return

    back = _outcome(lambda: given_back(task, direct))
    try:
        (returned,), _ = task.bind((direct,), {})
    except InvalidArguments:  # what validates the argument need not take what it makes of it
        assert isinstance(back, InvalidResult)
        return
    if isinstance(back, InvalidResult):
        assert f"{task.name} returned " in str(back)
        may = of.may_be_refused or _has(returned, "Below") or _has(returned, "Opaque")
        assert may, back
    else:
        assert same(back, returned), (back, returned)

"""Tasks whose hints say what JSON does not."""

import enum
from collections import OrderedDict, defaultdict, deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    Field,
    HttpUrl,
    Json,
    PrivateAttr,
    SecretStr,
    Strict,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict, Unpack

from heori import task

Hundredfold = Annotated[int, AfterValidator(lambda value: value * 100)]
Words = Annotated[list[str], BeforeValidator(str.split)]


class Price(BaseModel):
    """A model whose validator changes it."""

    cents: Hundredfold

    @field_validator("cents")
    @classmethod
    def _one_more(cls, value: int) -> int:
        return value + 1


class Signed(BaseModel):
    """A model that changes itself when it is whole."""

    text: str
    words: list[str] = []

    @model_validator(mode="after")
    def _sign(self) -> "Signed":
        self.text += "."
        self.words.append(self.text)
        return self


class Letter(BaseModel):
    """A model with such a model in it."""

    first: Signed
    more: list[Signed] = []


@task
def take_letter(value: Letter) -> Letter:
    return value


Loud = Annotated[Signed, AfterValidator(lambda value: value.model_copy(update={"text": "!"}))]


@task
def take_signed(value: Signed | list[Signed]) -> Signed | list[Signed]:
    return value


@task
def take_loud(value: Loud) -> Signed:
    return value


@dataclass
class Counted:
    """A dataclass that changes itself when it is made."""

    items: list[int]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.items = [*self.items, 0]
        self.size = len(self.items)


class Login(BaseModel):
    """A model with a secret."""

    user: str
    password: SecretStr


class Aliased(BaseModel):
    """A model with a name for each way."""

    a: int = Field(validation_alias="A")
    b: int = Field(serialization_alias="B")
    c: int = Field(validation_alias=AliasChoices("C", "see"))
    # Each is called as the other is.
    d: int = Field(alias="e")
    e: int = Field(alias="d")


class Base(BaseModel):
    """A model that has others below it."""

    x: int


class Derived(Base):
    """One of them."""

    y: int


class Twin(BaseModel):
    """A model with the same fields as another."""

    x: int


class Shy(BaseModel):
    """A model with fields that it does not show."""

    shown: int
    hidden: int = Field(default=1, exclude=True)
    _cache: int = PrivateAttr(default=0)


class Spoken(BaseModel):
    """A model that writes a field as another type."""

    when: date

    @field_serializer("when")
    def _say(self, when: date) -> str:
        return f"the {when.day}th"


class Corner(enum.Enum):
    """Whose values are tuples."""

    TOP = (0, 1)
    LEFT = (1, 0)


class Pair(NamedTuple):
    """A named tuple."""

    when: datetime
    path: Path | str


@task
def take_secret(value: SecretStr, login: Login | None = None) -> SecretStr:
    return value if login is None else login.password


@task
def take_hundredfold(value: Hundredfold) -> Hundredfold:
    return value


@task
def take_price(value: Price) -> Price:
    return value


@task
def take_counted(value: Counted) -> Counted:
    return value


@task
def take_groups(value: defaultdict[str, list[int]]) -> defaultdict[str, list[int]]:
    return value


@task
def take_moment(value: datetime | time) -> datetime | time:
    return value


@task
def take_json(value: Json[list[int]]) -> list[int]:
    return value


@task
def take_base64(value: Base64Bytes) -> Base64Bytes:
    return value


@task
def take_words(value: Words) -> Words:
    return value


@task
def take_aliased(value: Aliased) -> Aliased:
    return value


@task
def take_alias(value: Annotated[int, Field(alias="number")], more: int = 1) -> int:
    return value * more


@task
def take_base(value: Base) -> Base:
    return value


@task
def returns_less(fields: dict[str, int]) -> Base:
    """Returns more than it promises."""
    return Derived(**fields)


@task
def take_shy(value: Shy) -> Shy:
    return value


@task
def take_datetime_or_str(value: datetime | str) -> datetime | str:
    return value


@task
def take_uuid_or_str(value: UUID | str) -> UUID | str:
    return value


@task
def take_path_or_str(value: Path | str) -> Path | str:
    return value


@task
def take_set_or_list(value: set[int] | list[int]) -> set[int] | list[int]:
    return value


@task
def take_base_or_twin(value: Base | Twin) -> Base | Twin:
    return value


@task
def take_grid(value: dict[tuple[int, int], str]) -> dict[tuple[int, int], str]:
    return value


@task
def take_corner(value: Corner) -> Corner:
    return value


@task
def take_spoken(value: Spoken) -> Spoken:
    return value


@task
def take_bytes_of_any_kind(value: bytes) -> bytes:
    return value


@task
def take_pair(value: Pair) -> Pair:
    return value


@task
def take_url(value: HttpUrl) -> HttpUrl:
    return value


Container = deque[int] | OrderedDict[str, int] | frozenset[UUID]


@task
def take_container(value: Container) -> Container:
    return value


class Private(BaseModel):
    """A model that knows more than its fields tell."""

    x: int
    _seen: bool = PrivateAttr(default=False)

    @classmethod
    def seen(cls) -> "Private":
        """One that has been changed."""
        made = cls(x=1)
        made._seen = True
        return made


@task
def take_private(value: Private) -> Private:
    return value


def with_more(value: Counted) -> Counted:
    """One with an attribute that is no field."""
    value.more = 1  # type: ignore[attr-defined]
    return value


class Lock:
    """What only its own validator knows, and nothing writes."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        return core_schema.is_instance_schema(cls)


@task
def take_iterable(value: Iterable[int]) -> Iterable[int]:
    return value


@task
def take_generator(value: Generator[int, None, None]) -> Generator[int, None, None]:
    return value


@task
def take_lock(value: Lock) -> Lock:
    return value


@task
def take_deep(*, deep: dict[str, list[Base | Private | Counted | Lock | None]]) -> None: ...


@task
def take_strict(value: Annotated[date, Strict()]) -> None: ...


class More(TypedDict, total=False):
    """Keyword arguments."""

    when: datetime


@task
def take_unpacked(**more: Unpack[More]) -> None: ...


class OtherPrice(BaseModel):
    """What another version of the code has in the place of `Price`."""

    cents: Decimal


@task
def take_other_price(value: OtherPrice) -> OtherPrice:
    return value


@task
def take_it(value):  # type: ignore[no-untyped-def]
    """Has no hints."""
    return value


@task
async def take_many(
    first: datetime, /, second: date = date(2020, 1, 1), *rest: Corner, only: Pair, **more: UUID
) -> list[Any]:
    """With each kind of parameter."""
    return [first, second, rest, only, more]

"""Tasks with every kind of argument and result that must come through JSON and back."""

import enum
import math
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, computed_field
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from heori import task

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: int
    label: str = ""


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")

    post_code: str = Field(alias="postCode")
    since: date

    @computed_field  # type: ignore[prop-decorator]
    @property
    def year(self) -> int:
        return self.since.year


class Options(TypedDict):
    at: datetime


NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)

# Tasks that return their argument, and values of its type.
VALUES: list[tuple[Callable[[Any], Any], Any]] = []


def _takes(*values: T) -> Callable[[Callable[[T], T]], Callable[[T], T]]:
    def remember(function: Callable[[T], T]) -> Callable[[T], T]:
        VALUES.extend((function, value) for value in values)
        return task(function)

    return remember


@_takes(NOON, NOON.replace(tzinfo=None))
def take_datetime(value: datetime) -> datetime:
    return value


@_takes(timedelta(days=1, microseconds=5))
def take_timedelta(value: timedelta) -> timedelta:
    return value


@_takes(uuid.UUID(int=7))
def take_uuid(value: uuid.UUID) -> uuid.UUID:
    return value


@_takes(Decimal("1.10"))
def take_decimal(value: Decimal) -> Decimal:
    return value


@_takes(Path("/tmp/x"))
def take_path(value: Path) -> Path:
    return value


@_takes(Colour.RED)
def take_colour(value: Colour) -> Colour:
    return value


@_takes(Level.HIGH)
def take_level(value: Level) -> Level:
    return value


@_takes(Point(1, "힐"))
def take_point(value: Point) -> Point:
    return value


@_takes(Address(postCode="1234", since=date(2020, 2, 29)))
def take_address(value: Address) -> Address:
    return value


@_takes(Options(at=NOON))
def take_options(value: Options) -> Options:
    return value


@_takes((1, "a", NOON))
def take_tuple(value: tuple[int, str, datetime]) -> tuple[int, str, datetime]:
    return value


@_takes({3, 4}, set())
def take_set(value: set[int]) -> set[int]:
    return value


@_takes({1: [Point(2)], 5: []})
def take_nested(value: dict[int, list[Point]]) -> dict[int, list[Point]]:
    return value


@_takes(b"ascii", "힐".encode())
def take_bytes(value: bytes) -> bytes:
    return value


@_takes(math.inf, -math.inf, 1e-300, 0.1 + 0.2)
def take_float(value: float) -> float:
    return value


@_takes(2**200, -1)
def take_int(value: int) -> int:
    return value


@_takes(1, "1", None)
def take_union(value: int | str | None) -> int | str | None:
    return value


ON: Literal["on", "off"] = "on"


@_takes(ON)
def take_literal(value: Literal["on", "off"]) -> Literal["on", "off"]:
    return value


@_takes([1, {"a": None}], "x", True)
def take_anything(value: Any) -> Any:
    return value


@_takes([1, {"a": None}])
def take_untyped(value):  # type: ignore[no-untyped-def]
    return value


@task
def book(
    when: datetime, /, seats: Annotated[int, Field(ge=1)], *, address: Address, note: str = "-"
) -> str:
    """One parameter of each kind."""
    return f"{when:%H:%M} {seats} {address.year} {note}"


@task
def total(first: int, *others: int, **named: int) -> int:
    """Takes any number of arguments."""
    return first + sum(others) + sum(named.values())


@task
def pause(delay: int, at: int = 0) -> int:
    """Whose parameters are called like options of `submit`."""
    return delay + at


@task(queue="mail", timeout=30)
async def send_mail(to: str) -> None:
    """With settings of its own."""


@task
def unlock(lock: Any) -> int:
    """Whose argument may have no JSON form."""
    return 1 if isinstance(lock, type(threading.Lock())) else 0


def plain(a: int) -> int:
    """A function that is no task."""
    return a

"""Tasks as a service shows them: of every kind of argument."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, Strict

from heori import task


class Size(Enum):
    SMALL = "S"
    LARGE = "L"


class Address(BaseModel):
    street: str
    number: Annotated[int, Field(ge=1)]
    former: "Address | None" = None


@task(queue="shop")
def order(
    article: Annotated[str, Field(min_length=1, max_length=50)],
    count: Annotated[int, Field(ge=1, le=1000)] = 1,
    *,
    to: Address | None = None,
    size: Size = Size.SMALL,
) -> str:
    """Order an article."""
    return f"{count} {article}"


@task(queue="shop")
def strictly(day: Annotated[date, Strict()]) -> list[date]:
    """Takes a date, which JSON can only write as a text."""
    return [day]


@task
def between(start: datetime, end: datetime, step: timedelta = timedelta(hours=1)) -> float:
    return (end - start) / step


@task
def weigh(loads: dict[str, Decimal], ids: set[UUID], kind: Literal["net", "gross"]) -> float:
    return float(sum(loads.values()))


@task
def positions(a: int, b: str, /) -> str:
    return b * a


@task
def rest(*numbers: float) -> float:
    return sum(numbers)


@task
def anything(value: Any = None, **more: Any) -> Any:
    return value


@task
def without_hints(a, b=2):  # type: ignore[no-untyped-def]
    return [a, b]


@task
def not_a_number() -> float:
    return float("nan")


@task
def fail(text: str) -> None:
    raise ValueError(text)

"""An application's own module, whose things are in pickles: allowed in the tests of those."""

import functools
import operator
import os
import subprocess  # noqa: F401 - what a hostile pickle looks for
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, Flag, IntEnum
from pathlib import Path, PosixPath
from subprocess import run  # noqa: F401 - as above
from typing import Any, NamedTuple, Self

import tests.tasks.sample_tasks as elsewhere  # noqa: F401 - as above

shell = os.system
environ = os.environ
getter = operator.attrgetter("os.system")
runner = functools.partial(os.system, "touch canary")
lock = threading.Lock()
rates = {"eur": 1.0}
aside = sys.modules


class Cart:
    """Plain, with a method."""

    discount = 0
    opened = os.system
    Home = Path
    modules = sys.modules

    def __init__(self, items: int) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def total(self, each: int = 2) -> int:
        return self.items * each

    @classmethod
    def make(cls, items: int = 1) -> Self:
        return cls(items)

    @staticmethod
    def tax(amount: int) -> int:
        return amount // 5

    class Line:
        """Defined inside another."""

        def __eq__(self, other: object) -> bool:
            return type(other) is type(self)

        __hash__ = None  # type: ignore[assignment]


class Adder:
    """Can be called."""

    def __init__(self, much: int) -> None:
        self.much = much

    def __call__(self, number: int) -> int:
        return number + self.much


@dataclass
class Order:
    number: int
    made: datetime | None = None
    lines: list["Order"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int


class Spot(NamedTuple):
    x: int
    y: int


class Color(Enum):
    RED = 1
    BLUE = "b"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Right(Flag):
    READ = 1
    WRITE = 2
    OWN = 4


class Money(str):  # noqa: SLOT000 - it has attributes
    """Has a `__new__` of its own, and a state."""

    currency: str

    def __new__(cls, text: str, currency: str = "eur") -> Self:
        made = super().__new__(cls, text)
        made.currency = currency
        return made


class Bag(list[Any]):
    pass


class Table(dict[str, Any]):
    pass


class Broken(Exception):
    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Settings:
    """There is one of it."""

    _only: "Settings | None" = None
    safe = True

    def __new__(cls) -> Self:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only  # type: ignore[return-value]


class Home(PosixPath):
    """Inherits what Python's own class can do."""


class Reduced:
    """Says itself how it is made, by a function, and gets a state."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> Any:
        return (empty, (), {"text": self.text})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


def empty() -> Reduced:
    return Reduced.__new__(Reduced)


def shared() -> dict[str, float]:
    """Returns what the application keeps."""
    return rates


def cart_class() -> type[Cart]:
    return Cart


def add(a: int, b: int = 2) -> int:
    return a + b


def later() -> Callable[..., Any]:
    return os.system


@functools.lru_cache
def cached(number: int) -> Cart:
    return Cart(number)


def __getattr__(name: str) -> Any:  # a module may import when it is asked
    if name == "lazy":
        return os.system
    raise AttributeError(name)

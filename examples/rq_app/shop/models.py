"""What the shop deals with."""

from dataclasses import dataclass
from enum import Enum


class Colour(Enum):
    """Of a wrapping."""

    RED = "red"
    GREEN = "green"


@dataclass
class Order:
    """What somebody buys."""

    number: int
    price: int = 0


@dataclass
class Parcel:
    """An order on its way."""

    weight: float


@dataclass
class Cart:
    """So many things, each at a price."""

    things: int

    def total(self, price: int) -> int:
        return self.things * price

    @classmethod
    def make(cls, things: int) -> "Cart":
        return cls(things)

    @staticmethod
    def currency(country: str) -> str:
        return {"gb": "GBP"}.get(country, "EUR")


@dataclass
class Discount:
    """Called with a price, it says what is left to pay."""

    off: int

    def __call__(self, price: int) -> int:
        return price - self.off

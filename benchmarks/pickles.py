"""What it costs to read a pickle without running what its sender likes."""

import pickle
import timeit
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from benchmarks.kinds import Case, Column, Figures, Kind
from heori_common.protocol.unpickling import Pickles

READS = 5_000


@dataclass
class Order:
    number: int
    lines: list[str]


CALLS: Mapping[str, tuple[Any, ...]] = {
    "numbers and texts": (1, "mail@example.com", {"tries": 3, "tags": ["a", "b"]}),
    "a date and an amount": (1, datetime(2026, 1, 2, tzinfo=UTC)),
    "a UUID": (uuid.UUID(int=1),),
    "a dataclass": (Order(7, ["a", "b"]),),
    "1,000 rows": ([{"id": number, "name": f"row {number}"} for number in range(1000)],),
    "1,000 dataclasses": ([Order(number, []) for number in range(1000)],),
}


def _cases(quick: bool) -> list[Case]:
    return [Case(name, partial(_measure, args, quick=quick)) for name, args in CALLS.items()]


def _measure(args: tuple[Any, ...], *, quick: bool) -> Figures:
    raw = Pickles.dumps(("shop.tasks.take", None, args, {}))
    reads = max(1, (50 if quick else READS) * 100 // len(raw))
    took = {
        name: min(timeit.repeat(partial(loads, raw), number=reads, repeat=5)) / reads * 1e6
        for name, loads in (
            ("restricted", Pickles(("benchmarks.",)).loads),
            ("unrestricted", pickle.loads),
        )
    }
    return {**took, "ratio": took["restricted"] / took["unrestricted"], "bytes": len(raw)}


PICKLES = Kind(
    "pickles",
    "Reading a pickled call, restricted and as rq does, in µs of one thread",
    (
        Column("restricted", "restricted", ",.2f"),
        Column("unrestricted", "unrestricted", ",.2f"),
        Column("ratio", "ratio", ".1f"),
        Column("bytes", "bytes"),
    ),
    _cases,
    seconds=5,
)

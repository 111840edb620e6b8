"""Pickles from whoever can write to Redis: what is read, and that nothing else is run."""

import contextlib
import copy
import ipaddress
import os
import pickle
import pickletools
import random
import sys
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from heori_common.protocol.unpickling import Pickles, Unpicklable
from tests.common.hostile_pickles import Hostile, hostile_pickles
from tests.tasks import shop

WATCHED: list[str] = []  # what is done that a pickle must not have done
_watching = False


def _watch(event: str, args: tuple[object, ...]) -> None:
    if not _watching or event in ("import", "object.__getattr__", "pickle.find_class"):
        return
    # Whoever looks for a module reads the folders anew that have changed since, as this one does.
    if event == "os.listdir" and args[0] in sys.path:
        return
    WATCHED.append(f"{event} {args!r}"[:200])


sys.addaudithook(_watch)  # stays, and costs nothing but while it watches


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Fail if anything is done that Python tells to audit hooks: to open, run, connect, compile."""
    global _watching
    WATCHED.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert WATCHED == []


ALLOWED = Pickles(("tests.tasks.shop.",))
ALLOWED.loads(b"Vimports its codec\n.")
HOSTILE = list(hostile_pickles())

VALUES: list[Any] = [
    *(None, True, 0, -1, 255, 2**31, 2**70, -(1 << 3000), 1.5, float("inf"), 1 + 2j),
    *("", "a", "ü" * 300),
    *(b"", b"x" * 300, b"y" * 70_000, bytearray(b"xyz"), bytearray(b"z" * 70_000), "long" * 20_000),
    *([], (), {}, set(), frozenset(), [1, [2, (3,)]], (1, 2, 3, 4), {"a": {1: None}}, {1, 2}),
    *(frozenset({"a"}), range(3), slice(1, None), [{"id": n, "to": "x"} for n in range(2000)]),
    [(n,) for n in range(3000)],
    *(datetime.now(UTC).replace(tzinfo=None), datetime.now(UTC), date(2026, 1, 2), time(1, 2)),
    *(timedelta(1), timezone(timedelta(hours=2)), datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC"))),
    *(Decimal("1.50"), Decimal("NaN").copy_sign(Decimal(-1)), Fraction(-1, 3), Fraction(5)),
    *(uuid.uuid4(), uuid.uuid1(), Path("/a/b"), PurePosixPath("x"), PureWindowsPath("c:\\x")),
    *(OrderedDict(b=1, a=2), deque([1, 2], maxlen=3), deque([1]), Counter("abca")),
    *(defaultdict(list, a=[1]), defaultdict(None), SimpleNamespace(a=1, b=[2])),
    *(ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("10.0.0.0/8")),
    *(ValueError("x", 1), KeyError("k"), OSError(2, "no"), int, dict, ValueError),
    *(shop.Cart(3), shop.Cart.Line(), shop.Adder),
    *(shop.Order(1, datetime.now(UTC), [shop.Order(2)]),),
    *(shop.Point(1, 2), shop.Spot(1, 2), shop.Color.RED, shop.Color.BLUE),
    *(shop.Level.HIGH, shop.Right.READ, shop.Right.READ | shop.Right.WRITE, shop.Right(0)),
    *(shop.Money("5", "usd"), shop.Bag([1, 2]), shop.Table(a=1), shop.Broken("x", 7)),
    *(shop.Reduced("x"), shop.Reduced, shop.add, shop.Cart.tax, shop.cached),
    *(defaultdict(shop.Cart.make), [shop.Cart, shop.Cart(1)], shop.Home("/x")),
    [shop.Order(n, lines=[shop.Order(-n)]) for n in range(100)],
]  # fmt: skip


# Based on classes of Python's, which the oldest protocols make in a way of their own.
OLD = (shop.Money, shop.Bag, shop.Table, shop.Spot)


@pytest.mark.parametrize("protocol", range(6))
def test_what_an_application_sends_arrives_as_it_was(protocol: int) -> None:
    for value in VALUES:
        try:
            raw = pickle.dumps(value, protocol)
        except (TypeError, pickle.PicklingError):  # slots, before protocol 2
            assert protocol < 2
            continue
        inner = type(value) is shop.Cart.Line and protocol < 4  # found by getattr in its class
        if inner or (protocol < 2 and isinstance(value, OLD)):
            with pytest.raises(Unpicklable, match=r"no pickler does|has not named"):
                ALLOWED.loads(raw)
            continue
        read = ALLOWED.loads(raw)
        assert type(read) is type(value)
        assert read == value or repr(read) == repr(value)
        if type(value) is not type and hasattr(value, "__dict__") and not callable(value):
            assert shown(read) == shown(value)


def shown(value: object) -> dict[str, str]:
    return {name: repr(each) for name, each in vars(value).items()}


def test_bound_methods_arrive() -> None:
    total, make = ALLOWED.loads(pickle.dumps([shop.Cart(3).total, shop.Cart.make]))
    assert (total(), make(4).items) == (6, 4)


def test_what_refers_to_itself_arrives() -> None:
    ring: list[Any] = [shop.Cart(1)]
    ring[0].items = ring
    read = ALLOWED.loads(pickle.dumps(ring))
    assert read[0].items is read


@pytest.mark.parametrize("hostile", HOSTILE, ids=[each.name for each in HOSTILE])
def test_a_hostile_pickle_is_refused_with_a_sentence_of_its_own(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop.cached.cache_clear()
    before = vars(shop.Cart).copy(), copy.deepcopy(shop.rates), set(sys.modules)
    settings = shop.Settings()
    with watched(), pytest.raises(Unpicklable) as refused:
        ALLOWED.loads(hostile.raw)
    assert hostile.sentence in str(refused.value)
    assert not list(tmp_path.iterdir())
    assert (dict(vars(shop.Cart)), shop.rates) == (dict(before[0]), before[1])
    assert settings.safe
    assert shop.Color(1) is shop.Color.RED
    assert shop.Color.RED.value == 1
    assert shop.add(1) == 3
    assert not {each for each in set(sys.modules) - before[2] if "tests" in each}


def test_there_are_many_of_them() -> None:
    assert len(HOSTILE) > 150
    assert len({each.name for each in HOSTILE}) == len(HOSTILE)


def mutations(chance: random.Random, raw: bytes) -> bytes:
    """The same pickle with a few instructions changed, moved, left out or put in."""
    changed = bytearray(raw)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([chance.choice(OPCODES)])
            case 1:
                changed[at:at] = bytes([chance.choice(OPCODES)])
            case 2:
                del changed[at : at + chance.randint(1, 3)]
            case 3:
                other = chance.choice(HOSTILE).raw[2:-1] if chance.random() < 0.5 else b"h\x00"
                changed[at:at] = other[:200]
    return bytes(changed)


OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]


def test_random_instructions_run_nothing_and_end_no_process() -> None:
    """More of them: HEORI_FUZZ=1000000 pytest -k random_instructions."""
    chance = random.Random(19)  # the same each time
    small = [raw for raw in (pickle.dumps(value) for value in VALUES) if len(raw) < 500]
    small += [each.raw for each in HOSTILE if len(each.raw) < 500]
    small = [raw for raw in small if b"zoneinfo" not in raw]  # each name of a zone opens its file
    read = 0
    shop.cached.cache_clear()
    with watched():
        for _ in range(int(os.environ.get("HEORI_FUZZ", "3000"))):
            raw = mutations(chance, chance.choice(small))
            with contextlib.suppress(Unpicklable):
                ALLOWED.loads(raw)
                read += 1
    assert read, "some are harmless"
    assert vars(shop.Cart)["discount"] == 0
    assert (shop.rates, shop.add(1), shop.Color(1)) == ({"eur": 1.0}, 3, shop.Color.RED)

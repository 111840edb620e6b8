"""What a lock may be called and asked for: all else is refused before anything is sent."""

import asyncio
import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from heori import Fence, LockOwner, Mutex, Semaphore, acquire_all
from heori_common.locks.session import session_of
from heori_common.locks.templates import LockTemplates
from tests.rigs.lock_kinds import KINDS
from tests.rigs.waiting import until

pytestmark = pytest.mark.usefixtures("no_lock_is_left")

BAD_NAMES = [
    "", "x" * 513, "caf\udce9.txt", "\ud800", "a\0b", "a\n", "\x9b31m", "a\u202eb", b"a",
    bytearray(b"a"), ["a"], {"a": 1}, 5, 5.0, None, True, object(),
]  # fmt: skip
BAD_NUMBERS = [
    -1, -0.001, float("nan"), float("inf"), float("-inf"), 1e18, 10**400, 10**5000, True, False,
    "1", b"1", [1], 1j, object(),
]  # fmt: skip
BAD_PERMITS = [0, 1.5, 2**40, *BAD_NUMBERS]
MAKERS: list[Callable[..., object]] = [Mutex, lambda name, **more: Semaphore(name, 2, **more)]

# Each with what its sentence must name.
REFUSED: list[tuple[Callable[[], object], str]] = [
    *((lambda make=make, name=name: make(name), "name") for make in MAKERS for name in BAD_NAMES),
    *(
        (lambda make=make, lease=lease: make("a", lease=lease), "lease=")
        for make in MAKERS
        for lease in [0, 0.01, None, *BAD_NUMBERS]
    ),
    *((lambda permits=permits: Semaphore("a", permits), "permits=") for permits in BAD_PERMITS),
    *(
        (lambda permits=permits: Semaphore("a", 1).set_permits(permits), "permits=")
        for permits in BAD_PERMITS
    ),
    *(
        (lambda make=make, kind=kind, wrong=wrong: make("a", **{kind: wrong}), f"{kind}=")
        for make in MAKERS
        for kind, wrong in (("on_lost", 5), ("on_lost", "f"), ("owner", "me"), ("owner", object()))
    ),
    *((lambda make=make: make("a", redis=5), "URL") for make in MAKERS),
    *((lambda name=name: Fence(name, Mutex("a")), "name") for name in BAD_NAMES),
    (lambda: Fence("a", "b"), "Mutex"),  # type: ignore[arg-type]
    *(
        (lambda word=word: Fence("a", Mutex("a")).execute("SET", "a", word), "word|UTF-8|bits")
        for word in ("caf\udce9", None, ["a"], 1 << 64, True, 1j)
    ),
    (lambda: Mutex("a", "http://x"), "redis://"),
    *((lambda locks=locks: acquire_all(locks), "acquire_all") for locks in (
        [], Mutex("a"), 5, ["a"], [Mutex("a"), 5], [acquire_all([Mutex("a")])],
        [Mutex("a"), Mutex("a")], [Mutex("a"), Mutex("b", owner=LockOwner())],
        [Mutex("a"), Mutex("b", "redis://localhost:1/0")],
    )),
]  # fmt: skip


def refused(call: Callable[[], object], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=named) as told:
        call()
    assert not isinstance(told.value, UnicodeError)
    assert "\n" not in str(told.value)
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 300


def test_a_timeout_that_makes_no_sense_is_refused(kind: str) -> None:
    lock = KINDS[kind]()
    for timeout in BAD_NUMBERS:
        told = "timeout=.*seconds are needed.*None to wait"
        refused(lambda timeout=timeout: lock.acquire(timeout), told)  # type: ignore[misc]
        refused(lambda timeout=timeout: asyncio.run(lock.acquire_async(timeout)), told)  # type: ignore[misc]


def test_numbers_of_other_kinds_are_taken() -> None:
    for number in (1, 1.5, Fraction(3, 2)):
        lock: Any = Mutex("a", lease=number)  # type: ignore[arg-type]
        assert lock.acquire(timeout=number)
        lock.release()
    with Mutex("\N{SNOWMAN}" * 512), Mutex("a b{c}:d} 주문"):
        pass


def test_the_locks_that_a_task_declares_are_checked_likewise() -> None:
    def function(name: str) -> None: ...

    for wrong in [*BAD_PERMITS, None]:
        if wrong is not None:
            refused(lambda wrong=wrong: LockTemplates(function, [], {"a": wrong}), "permits=")  # type: ignore[misc]
    declared = LockTemplates(function, ["{name}"], None)
    for name in BAD_NAMES[:8]:
        refused(lambda name=name: declared.fill_in([name], {}), "name")  # type: ignore[misc]


def test_a_thousand_refusals_cost_a_process_that_holds_fifty_locks_none_of_them(redis: Any) -> None:
    held = [Mutex(f"n{n}", lease=30.0) for n in range(30)]
    held += [Semaphore(f"n{n}", 2, lease=30.0) for n in range(20)]  # type: ignore[misc]
    for lock in held:
        lock.acquire()
    keys = set(redis.keys("*"))
    fences = [lock.fence for lock in held]
    tried = 0
    while tried < 1000:
        for call, named in REFUSED:
            refused(call, named)
            tried += 1
    session = session_of(os.environ["HEORI_REDIS_URL"])
    with pytest.raises(ValueError, match="surrogates"):
        # What the lock's thread is given all the same.
        session.push.call(session.commands.read("rq:\ud800"), print)
    assert set(redis.keys("*")) == keys
    holds = [lock.hold for lock in held]
    for hold in holds:
        hold.renew_at = 0.0
    session.renewer.look()
    until(lambda: all(hold.renew_at > 0 and not hold.is_renewing for hold in holds))
    assert [lock.fence for lock in held] == fences
    for lock in held:
        assert not lock.lost.is_set()
        lock.release()

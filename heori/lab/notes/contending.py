"""What processes do to each other that want the same lock: each is a copy of this one.

All times are those of one clock, which the copies share: seconds since the experiment began.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from redis import Redis

from heori import DeadlockDetected, Mutex
from heori.lab.notes.copies import Copies
from heori.lab.notes.findings import Figures
from heori_common.platform import stay_on_one_core

HELD_S, AWAY_S = 0.005, 0.001  # of a contender: with the lock, and between two turns
LOOK_S = 0.1  # between two looks of one that polls: the default of redis-py's lock
FOR_EVER = 60.0  # seconds, in which all of this has long been over
LOWEST = 19  # as nice(1) has it
NEEDS_S = 0.05  # of CPU time, of the low one while it holds the lock

Step = Callable[[], None]
# Of a contender: waits for so many seconds at most, and tells whether it has got the lock.
Acquire = Callable[[float], bool]
Release = Callable[[], object]


def polled(url: str, name: str) -> tuple[Acquire, Release]:
    """SET NX, again and again: redis-py's lock, which does what many write by hand."""
    redis: Any = Redis.from_url(url, socket_timeout=None)
    lock = redis.lock(name, timeout=FOR_EVER, sleep=LOOK_S)
    return lambda seconds: lock.acquire(blocking_timeout=seconds), lock.release


def queued(url: str, name: str) -> tuple[Acquire, Release]:
    """Heori's, which has a line."""
    mutex = Mutex(name, url)
    return mutex.acquire, mutex.release


WAYS = {"SET NX": polled, "heori.Mutex": queued}


# Starvation


def turns(way: str, url: str, contenders: int, span: float, step: Step) -> list[Figures]:
    """Have processes take the same lock in turns, as often as they get it.

    Returns:
        Of each, what it `waited` for: from, to, and whether it got it; and when it `held` it.
    """
    with Copies() as copies:
        began = time.monotonic()
        for _ in range(contenders):
            copies.start(partial(_contend, way, url, contenders, span, began))
        found: list[Figures] = copies.results(step)
    return found


def _contend(way: str, url: str, contenders: int, span: float, began: float) -> Figures:
    acquire, release = WAYS[way](url, f"turns: {way}")
    _meet(url, f"met: {way}", contenders)
    waited, held = [], []
    end = time.monotonic() + span
    while (asked := time.monotonic()) < end:
        got = acquire(end - asked)
        answered = time.monotonic()
        waited.append([asked - began, answered - began])
        if got:
            time.sleep(HELD_S)
            release()
            held.append([answered - began, time.monotonic() - began])
            time.sleep(AWAY_S)
    return {"waited": waited, "held": held}


# Inversion of priorities


def inversion(
    url: str, name: str, step: Step, *, middle: float, low: int = LOWEST
) -> dict[str, list[tuple[str, float, float]]]:
    """On one core: a low one holds a lock, a high one wants it, and a middle one computes.

    Args:
        middle: seconds that the middle one computes; 0: there is none.
        low: the niceness of the low one while it holds the lock.

    Returns:
        What each does, from when to when.
    """
    parties = 3 if middle else 2
    with Copies() as copies:
        began = time.monotonic()
        copies.start(partial(_low, url, name, parties, low, began))
        copies.start(partial(_high, url, name, parties, began))
        if middle:
            copies.start(partial(_middle, url, name, parties, middle, began))
        found = copies.results(step)
    return dict(zip(("low", "high", "middle"), found, strict=False))


def _low(url: str, name: str, parties: int, niceness: int, began: float) -> list[Any]:
    stay_on_one_core()
    with Mutex(name, url):
        got = time.monotonic()
        _meet(url, f"{name}: met", parties)
        # Of this thread: those that the lock's client starts keep what it has begun with.
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        end = time.thread_time() + NEEDS_S
        while time.thread_time() < end:
            pass
    return [["has it", got - began, time.monotonic() - began]]


def _high(url: str, name: str, parties: int, began: float) -> list[Any]:
    stay_on_one_core()
    mutex = Mutex(name, url)
    _meet(url, f"{name}: met", parties)
    asked = time.monotonic()
    with mutex:
        return [["waits", asked - began, time.monotonic() - began]]


def _middle(url: str, name: str, parties: int, span: float, began: float) -> list[Any]:
    stay_on_one_core()
    _meet(url, f"{name}: met", parties)
    start = time.monotonic()
    while time.monotonic() < start + span:
        pass
    return [["wants it not, computes", start - began, time.monotonic() - began]]


# Deadlock


def deadlock(url: str, step: Step, timeout: float | None) -> list[Figures]:
    """Two processes each hold a lock, and ask for the other's.

    Args:
        timeout: after which each gives up, as nobody looks for a deadlock; None: Heori looks.

    Returns:
        Of each: whether it `got` the other's lock, and the `seconds` until it knew.
    """
    with Copies() as copies:
        for mine, other in ((0, 1), (1, 0)):
            copies.start(partial(_cross, url, mine, other, timeout))
        found: list[Figures] = copies.results(step)
    return found


def _cross(url: str, mine: int, other: int, timeout: float | None) -> Figures:
    _detect(timeout)
    kind = "detected" if timeout is None else "timeout"
    wanted = Mutex(f"{kind}: {other}", url)
    with Mutex(f"{kind}: {mine}", url):
        _meet(url, f"{kind}: met", 2)
        return _ask(wanted, timeout)


def slow_holder(url: str, step: Step, timeout: float, held: float) -> dict[str, Figures]:
    """A lock is held for long, and there is no deadlock: who waits by a timeout, who by detection.

    Args:
        timeout: of the one who waits by it.
        held: for how long it is held at least, and until that one has given up.

    Returns:
        By how it waits, what is told by `deadlock` of each.
    """
    with Copies() as copies:
        copies.start(partial(_hold_long, url, held))
        for patience in (timeout, None):
            copies.start(partial(_wait_long, url, patience))
        _, by_timeout, by_detection = copies.results(step)
    return {"timeout": by_timeout, "detected": by_detection}


def _hold_long(url: str, held: float) -> None:
    with Mutex("slow", url):
        _meet(url, "slow: met", 3)
        time.sleep(held)
        _meet(url, "slow: given up", 2)  # on a busy machine who waits may have asked late


def _wait_long(url: str, timeout: float | None) -> Figures:
    _detect(timeout)
    wanted = Mutex("slow", url)
    _meet(url, "slow: met", 3)
    told = _ask(wanted, timeout)
    if timeout is not None:
        _meet(url, "slow: given up", 2)
    return told


def _detect(timeout: float | None) -> None:
    """Have Heori look for deadlocks, in this process, where there is no timeout."""
    os.environ["HEORI_DEADLOCK"] = "raise" if timeout is None else "off"


def _ask(wanted: Mutex, timeout: float | None) -> Figures:
    asked = time.monotonic()
    try:
        got = wanted.acquire(timeout)
    except DeadlockDetected:
        got = False
    took = time.monotonic() - asked
    if got:
        wanted.release()
    return {"got": got, "seconds": took}


def _meet(url: str, name: str, number: int) -> None:
    """Wait until so many processes are here."""
    redis: Any = Redis.from_url(url, socket_timeout=None)
    here = redis.incr(name)
    while here < number:
        time.sleep(0.001)
        here = int(redis.get(name))

"""Every key of the catalogue, spoilt in every way that a stranger may think of.

A new key is spoilt, too, without being named here; only what its parameters are called is.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

from heori_common.protocol.catalogue import REDIS_TYPES, catalogue
from heori_common.protocol.keys import Keys, service_of

TYPES = [kind for kind in REDIS_TYPES if kind != "channel"]
HUGE = 1_000_000  # bytes
ODD_SCORES = ("inf", "-inf", "1e300", "-1")


def known_keys(keys: Keys, names: dict[str, Sequence[str]]) -> dict[str, str]:
    """The types of all keys there may be, by their names.

    Args:
        names: what stands for each parameter of the catalogue's methods.
    """
    known = {}
    for entry in catalogue():
        if entry.type != "channel":
            for values in product(*(names[parameter] for parameter in entry.parameters)):
                known[getattr(keys, entry.name)(*values)] = entry.type
    return known


def names_of(queue: str, jobs: Sequence[str], **others: Sequence[str]) -> dict[str, Sequence[str]]:
    """What stands for each parameter; the others are those that a test does not care about."""
    return {
        "queue": [queue],
        "job_id": jobs,
        "job_id_and_execution": [f"{job}:heori0" for job in jobs],
        "group": ["g"],
        "limit": ["l"],
        "name": ["w"],
        "service": [service_of([queue])],
        "ticket": ["t"],
        "kind": ["mutex"],
        "owner": ["o"],
        "resource": ["r"],
        "rate": ["api"],
        "version": ["0"],
        **others,
    }


def spoil(redis: Any, key: str, kind: str, way: str, chance: random.Random) -> None:
    """Let a key hold what it should not.

    Args:
        kind: the type that it should have.
        way: one of `WAYS`.
    """
    WAYS[way](redis, key, kind, chance)


def _wrong_type(redis: Any, key: str, kind: str, chance: random.Random) -> None:
    other = chance.choice([each for each in TYPES if each != kind])
    with redis.pipeline() as pipe:  # at once: others may be writing there
        pipe.delete(key)
        _put(pipe, key, other, b"x", [b"f"], chance)
        pipe.execute()


def _value(value: bytes) -> Callable[[Any, str, str, random.Random], None]:
    def spoil(redis: Any, key: str, kind: str, chance: random.Random) -> None:
        before = _parts(redis, key, kind)
        life = redis.ttl(key)
        with redis.pipeline() as pipe:
            pipe.delete(key)
            _put(pipe, key, kind, value, before, chance)
            if life > 0 and chance.random() < 0.5:
                pipe.expire(key, life)
            pipe.execute()

    return spoil


def _parts(redis: Any, key: str, kind: str) -> list[bytes]:
    """The names of fields, or the members."""
    match kind:
        case "hash":
            return list(redis.hkeys(key))
        case "stream":
            return [field for _, entry in redis.xrange(key) for field in entry]
        case "zset":
            return list(redis.zrange(key, 0, -1))
        case "set":
            return list(redis.smembers(key))
        case "list":
            return list(redis.lrange(key, 0, -1))
    return []


def _put(
    redis: Any, key: str, kind: str, value: bytes, parts: list[bytes], chance: random.Random
) -> None:
    match kind:
        case "hash":
            redis.hset(key, mapping={value: value, **dict.fromkeys(parts, value)})
        case "stream":
            redis.xadd(key, {value: value, **dict.fromkeys(parts, value)})
        case "zset":
            scores = {part: chance.choice(ODD_SCORES) for part in [value, *parts]}
            redis.zadd(key, scores)
        case "set":
            redis.sadd(key, value, *parts)
        case "list":
            redis.rpush(key, value, *parts)
        case _:
            redis.set(key, value)


WAYS: dict[str, Callable[[Any, str, str, random.Random], None]] = {
    "another type": _wrong_type,
    "no UTF-8": _value(b"\xff\xfe\xc0\x80"),
    "huge": _value(b"9" * HUGE),
    "missing": lambda redis, key, *_: redis.delete(key),
    "control characters": _value(b"\x1b[2J\x00\r\n\x9b"),
}


def rounds(known: dict[str, str], chance: random.Random, at_once: int) -> Iterator[dict[str, str]]:
    """All keys in all ways, so many of them at once: by key, the way."""
    pairs = [(key, way) for key in known for way in WAYS]
    chance.shuffle(pairs)
    while pairs:
        some: dict[str, str] = {}
        for pair in pairs[:]:
            if len(some) < at_once and pair[0] not in some:
                some[pair[0]] = pair[1]
                pairs.remove(pair)
        yield some


def snapshot(redis: Any) -> Callable[[], None]:
    """What brings back all that there is now."""
    kept = [(key, redis.dump(key), max(0, redis.pttl(key))) for key in redis.keys("*")]

    def restore() -> None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.flushdb()
            for key, dumped, life in kept:
                pipe.restore(key, life, dumped)
            pipe.execute()

    return restore

"""All that Redis holds in RQ's format, so that what several workers leave can be compared."""

import base64
import re
import zlib
from collections.abc import Iterator
from typing import Any

# Times, and names that are made anew for each execution and each worker.
CHANGING = re.compile(
    rb"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?|\b\d{9,}(\.\d+)?\b"
    rb"|\b[0-9a-f]{32}\b|\bheori-[\w.-]+-\d+-[0-9a-f]{6}\b|\bheori[\w-]{8}[0-9a-f]{4}\b"
)
OURS = (b"rq:heori:", b"rq:queue:default@@")
# What rq writes as empty, until a job begins or for good, and Heori leaves out.
CALLBACKS = {b"success_callback_name", b"failure_callback_name", b"stopped_callback_name"}
LEFT_OUT = {b"started_at", b"ended_at", b"last_heartbeat", b"worker_name", b"group_id"} | CALLBACKS
# What TTLs and scores may differ by. Those that are to be told apart are further from each other.
ABOUT_S = 400


def records(redis: Any, *passed_over: bytes) -> dict[str, Any]:
    """By field of each key: what it holds, without what differs from run to run, and its TTL.

    Args:
        passed_over: how the names of keys begin that are of no interest, beside Heori's own.
    """
    found: dict[str, Any] = {}
    for key in sorted(redis.keys("rq:*")):
        if not key.startswith((*OURS, *passed_over)):
            name = _text(key)
            life = redis.ttl(key)
            content = {f"{name} {place}": value for place, value in _content(redis, key)}
            if content:  # a lock may have ended meanwhile
                found |= {f"{name} TTL": life if life >= 0 else "none", **content}
    return found


def call_of(data: bytes) -> bytes:
    """The call in a job's field `data`, as `rq.job.Job.restore` finds it."""
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where they differ; None stands for what is not there."""
    return {
        place: (one.get(place), other.get(place))
        for place in sorted(one.keys() | other.keys())
        if not _alike(one.get(place), other.get(place))
    }


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) < ABOUT_S
    return bool(one == other)


def _content(redis: Any, key: bytes) -> Iterator[tuple[str, Any]]:
    match redis.type(key):
        case b"hash":
            yield from _fields(redis.hgetall(key))
        case b"zset":
            now = redis.time()[0]
            for member, score in redis.zrange(key, 0, -1, withscores=True):
                is_time = 0 < score < float("inf")
                yield _text(member), score - now if is_time else f"score {score:.0f}"
        case b"list":
            yield "has", [_text(each) for each in redis.lrange(key, 0, -1)]
        case b"set":
            yield "has", sorted(map(_text, redis.smembers(key)))
        case b"stream":
            for number, (_, entry) in enumerate(redis.xrange(key)):
                for field, value in _fields(entry):
                    yield f"{number} {field}", value
        case _:
            if (value := redis.get(key)) is not None:
                yield "has", _text(value)


def _fields(entry: dict[bytes, bytes]) -> Iterator[tuple[str, Any]]:
    for field, value in entry.items():
        if field == b"exc_string":
            # The lines before it are of those who ran the job.
            yield "exc_string", _text(zlib.decompress(base64.b64decode(value)).splitlines()[-1])
        elif not field.startswith(b"heori_"):
            yield _text(field), _text(value)


def _text(raw: bytes) -> str:
    return CHANGING.sub("…".encode(), raw).decode("utf-8", "backslashreplace")

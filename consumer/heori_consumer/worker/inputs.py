"""What a step of a flow gets of the jobs for which it has waited."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgpack

from heori_common.errors import HeoriError
from heori_common.protocol.job import MalformedJob
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import decode_result
from heori_common.redis.redis_py import connect
from heori_common.settings import Settings
from heori_common.values.results import Stored, read_loosely

CHUNK_JOBS = 1000  # whose results are read at once


def read_inputs(job_id: str, flow: str, url: str) -> Any:
    """What one has returned; or what all have, in the order in which they were given.

    Raises:
        MalformedJob: that of one is not there, or it cannot be read.
    """
    values = list(_values(job_id, url))
    if flow == "all":
        return values
    if len(values) != 1:
        raise MalformedJob(f"it waits for one job, and {len(values)} are written down")
    return values[0]


def _values(job_id: str, url: str) -> Iterator[Any]:
    client = _client(url)
    key = Keys(Settings().key_prefix).inputs(job_id)
    first = 0
    while True:
        places: list[bytes | None] = client.hmget(
            key, [f"o{place}" for place in range(first, first + CHUNK_JOBS)]
        )
        ids = [each for each in places if each is not None]
        if ids:
            results = client.hmget(key, [b"r" + each for each in ids])
            yield from map(_value, ids, results)
        if len(ids) < CHUNK_JOBS:
            return
        first += CHUNK_JOBS


def _value(job_id: bytes, packed: bytes | None) -> Any:
    name = job_id.decode(errors="replace")
    if packed is None:
        raise MalformedJob(
            f"the result of {name} was not handed on to it: a stock worker has started this job"
        )
    try:
        value, types = msgpack.unpackb(packed, raw=True)
        return read_loosely(Stored(decode_result(value) if value else b"null", types or None))
    except (ValueError, TypeError, LookupError, HeoriError) as error:
        raise MalformedJob(f"the result of {name} cannot be handed on: {error}") from error


@cache
def _client(url: str) -> Any:
    return connect(url)

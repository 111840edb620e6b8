"""What a step of a flow gets of the jobs for which it has waited."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import msgpack

from heori_common.calls import FlowFailure
from heori_common.errors import HeoriError, NotNow
from heori_common.protocol.commands import Command, Commands
from heori_common.protocol.job import MalformedJob
from heori_common.protocol.keys import Keys
from heori_common.protocol.payload import decode_failure, decode_result
from heori_common.redis.client import RedisClient
from heori_common.redis.errors import RedisRefused, RedisUnavailable
from heori_common.settings import Settings
from heori_common.values.results import Stored, read_loosely

CHUNK_JOBS = 1000  # of which is read at once


def read_inputs(job_id: str, flow: str, url: str) -> Any:
    """What one has returned; or what all have, in the order in which they were given.

    Args:
        flow: as read_flow.lua says. Of `failures`, a `FlowFailure` of each, as JSON has it.

    Raises:
        MalformedJob: that of one is not there, or it cannot be read.
        NotNow: Redis is away.
    """
    inputs = Inputs(job_id, url)
    try:
        if flow == "failures":
            return list(inputs.failures())
        values = list(inputs.values())
    except RedisUnavailable as error:
        raise NotNow(f"what it gets cannot be read: {error}") from error
    except RedisRefused as error:
        if error.is_passing:
            raise NotNow(f"what it gets cannot be read: {error}") from error
        raise
    if flow == "all":
        return values
    if len(values) != 1:
        raise MalformedJob(f"it waits for one job, and {len(values)} are written down")
    return values[0]


class Inputs:
    """Reads what is written down for a job, see flows.lua."""

    def __init__(self, job_id: str, url: str) -> None:
        self._client = _client(url)
        self._commands = Commands(Keys(Settings().key_prefix))
        self._key = self._commands.keys.inputs(job_id)

    def values(self) -> Iterator[Any]:
        """What each of the others has returned."""
        for ids in self._chunks():
            yield from map(_value, ids, self._read([b"r" + each for each in ids]))

    def failures(self) -> Iterator[dict[str, str]]:
        """How those have ended that have not ended well."""
        keys = self._commands.keys
        for ids in self._chunks():
            noted = zip(ids, self._read([b"f" + each for each in ids]), strict=True)
            failed = {_text(each): _text(status) for each, status in noted if status is not None}
            results = self._client.execute_many([self._commands.result(each) for each in failed])
            fields = self._client.execute_many(
                [_read(keys.job(each), ["description", "heori_reason"]) for each in failed]
            )
            for (job_id, status), result, (description, reason) in zip(
                failed.items(), results, fields, strict=True
            ):
                trace = decode_failure(result.exc_string or b"") if result is not None else ""
                task = _text(description).partition("(")[0]
                error = _text(reason) or trace.rstrip().rpartition("\n")[2]
                yield asdict(FlowFailure(job_id, task, status, error))

    def _chunks(self) -> Iterator[list[bytes]]:
        """The ids of those for which it has waited, in the order in which they were given."""
        for first in itertools.count(0, CHUNK_JOBS):
            places = self._read([f"o{place}" for place in range(first, first + CHUNK_JOBS)])
            ids = [each for each in places if each is not None]
            if ids:
                yield ids
            if len(ids) < CHUNK_JOBS:
                return

    def _read(self, fields: Sequence[str | bytes]) -> list[bytes | None]:
        return self._client.execute(_read(self._key, fields))


def _read(key: str, fields: Sequence[str | bytes]) -> Command[list[bytes | None]]:
    return Command(("HMGET", key, *fields), list)


def _text(field: bytes | None) -> str:
    return (field or b"").decode(errors="replace")


def _value(job_id: bytes, packed: bytes | None) -> Any:
    name = _text(job_id)
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
def _client(url: str) -> RedisClient:
    return RedisClient(url)

"""A call of a task as a job that can be sent."""

import os
from collections.abc import Iterator
from typing import Any

from heori_common.protocol.job import NewJob
from heori_common.protocol.payload import BadPayload, Call
from heori_common.sendable import Sendable
from heori_common.tasks import InvalidArguments
from heori_common.values.arguments import Sent


class _Later:
    """An argument that is known when its job begins."""

    def __format__(self, _: str) -> str:
        raise ValueError("its first argument is known only when it begins")

    def __str__(self) -> str:
        return format(self)


LATER = _Later()
_VARIANTS = dict(zip("0123456789abcdef", 4 * "89ab", strict=True))  # of a random digit
_AT_A_TIME = 64  # ids for which the system is asked for random bytes


def new_job_id() -> str:
    """The id of a new job: a random UUID (RFC 9562, version 4), as RQ's are.

    `uuid.uuid4` makes an object of it first, which takes several times as long.
    """
    return _uuid(os.urandom(16).hex())


def new_job_ids() -> Iterator[str]:
    """As many as are wanted: to ask the system for each takes longer than all else."""
    while True:
        digits = os.urandom(16 * _AT_A_TIME).hex()
        for first in range(0, len(digits), 32):
            yield _uuid(digits[first : first + 32])


def _uuid(digits: str) -> str:
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def make_job(
    task: Sendable[Any],
    job_id: str,
    sent: Sent,
    limit: int | None,
    first: tuple[Any, ...] = (),
) -> NewJob:
    """Encode a call.

    Args:
        sent: of `to_send`.
        limit: bytes that its arguments may have; None for any number.
        first: LATER in the place of an argument that is not sent.

    Raises:
        InvalidArguments, PayloadTooLarge: they have no JSON form, or too large a one.
    """
    # Of a function without @task they are never left out: they tell consumers that it is called
    # as a task is, and not as rq would.
    types = sent.types if task.is_declared else sent.types or b""
    args = (*first, *sent.args) if first else sent.args
    args_json, kwargs_json = sent.json
    rate = task.rate_of(args, sent.kwargs)
    try:
        locks = task.locks_of(args, sent.kwargs)
    except InvalidArguments:
        if not first:
            raise
        locks = ()  # it gets them in its slot
    try:
        return NewJob.create(
            job_id,
            Call(task.name, args_json, kwargs_json, "json", types),
            task.timeout,
            task.retry.delays() if task.retry else (),
            locks,
            task.result_ttl,
            limit,
            Call(task.name, sent.args, sent.kwargs) if sent.types else None,
            None if rate is None else {"rate": rate},
        )
    except BadPayload as error:  # such as a path whose bytes are no UTF-8
        raise InvalidArguments(str(error)) from error

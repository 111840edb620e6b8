"""Arrays that Lua and Python hand each other: which field stands where is said here, for both.

Tuples, as their readers get them once a job and once a lock. See `prelude` for their Lua side.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple


class JobFields(NamedTuple):
    """What of a job's hash a claim reads and hands to the worker; None for what is not there.

    Of a plain job the worker gets the first ones only, see `TOLD_IF_PLAIN`.
    """

    data: bytes | None
    status: bytes | None
    timeout: bytes | None
    enqueued_at: bytes | None
    success_callback_name: bytes | None = None
    failure_callback_name: bytes | None = None
    stopped_callback_name: bytes | None = None
    heori_deliveries: bytes | None = None
    heori_execution: bytes | None = None
    result_ttl: bytes | None = None
    failure_ttl: bytes | None = None
    heori_locks: bytes | None = None
    heori_types: bytes | None = None
    heori_options: bytes | None = None  # what few jobs ask for, see job_options.lua
    meta: bytes | None = None  # what travels with it, see meta.py
    retries_left: bytes | None = None
    retry_intervals: bytes | None = None
    dependency_ids: bytes | None = None
    repeats_left: bytes | None = None
    rate_limit_key: bytes | None = None
    webhooks: bytes | None = None
    started_at: bytes | None = None


# A plain job, which asks for nothing and was not begun before, has all of the fields before these.
# Its fields of these names are empty, or not there; and none of the others is there.
EMPTY_IF_PLAIN = (
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "started_at",
)
TOLD_IF_PLAIN = JobFields._fields[: JobFields._fields.index(EMPTY_IF_PLAIN[0])]
ABSENT_IF_PLAIN = tuple(
    name for name in JobFields._fields if name not in (*TOLD_IF_PLAIN, *EMPTY_IF_PLAIN)
)


class ClaimReply(NamedTuple):
    """One job in the reply of claim.lua; False stands for what is not there.

    Of a plain job of no tenant that can run, only what has no default is sent.
    """

    queue_number: int  # from 0, in the order of the call
    job_id: bytes
    execution: bytes
    deliveries: int
    timeout: bytes | Literal[False]  # as in the hash
    packed_fields: bytes  # JobFields as msgpack, for the worker; empty when there is a problem
    problem: bytes | Literal[False] = False  # why it cannot run as it stands
    result_ttl: bytes | Literal[False] = False  # as in the hash, like the next
    failure_ttl: bytes | Literal[False] = False
    locks: Sequence[tuple[bytes, int]] | Literal[False] = False  # (key, fence) of each
    waited_s: float = 0  # for its locks
    tenant: bytes = b""
    suspicion: int = 0
    special: bool = False  # whether more than its own records depends on its end, see ack.lua
    rate_limit_key: bytes | Literal[False] = False  # as in the hash
    # Its hash but for its data, as msgpack [name, value, …], for a worker that is to run callbacks
    # or to prepare webhooks; empty for all other jobs.
    rest: bytes = b""


class LockRecord(NamedTuple):
    """A request for a lock, as the lock's hash keeps it, packed. Times are microseconds."""

    owner: bytes
    wake: bytes | Literal[False]  # the channel on which a grant is told; False for who looks
    limit: int | Literal[False]  # permits; False for a mutex
    lease_us: int
    about: bytes  # who asks, for people
    since_us: int  # when it got the lock, or came to wait for it
    fence: int  # 0 for one that waits
    handed_us: int | Literal[False]  # end of the short lease with which it was handed the lock
    # A job waits in no slot and is put back on its queue: this is its id, and the keys of its hash,
    # its queue, the deferred and the parked.
    job: Sequence[Any] | None = None

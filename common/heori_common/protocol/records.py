"""Arrays that Lua and Python hand each other: which field stands where is said here, for both.

Tuples, as their readers get them once a job and once a lock. See `prelude` for their Lua side.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple


class JobFields(NamedTuple):
    """What of a job's hash a claim reads and hands to the worker; None for what is not there."""

    data: bytes | None
    status: bytes | None
    heori_deliveries: bytes | None
    heori_execution: bytes | None
    timeout: bytes | None
    result_ttl: bytes | None
    failure_ttl: bytes | None
    heori_locks: bytes | None
    heori_types: bytes | None
    heori_options: bytes | None  # what few jobs ask for, see job_options.lua
    meta: bytes | None  # what travels with it, see meta.py
    enqueued_at: bytes | None
    retries_left: bytes | None
    retry_intervals: bytes | None
    dependency_ids: bytes | None
    repeats_left: bytes | None
    rate_limit_key: bytes | None
    success_callback_name: bytes | None
    failure_callback_name: bytes | None
    stopped_callback_name: bytes | None
    webhooks: bytes | None


class ClaimReply(NamedTuple):
    """One job in the reply of claim.lua; False stands for what is not there."""

    queue_number: int  # from 0, in the order of the call
    job_id: bytes
    execution: bytes
    deliveries: int
    problem: bytes | Literal[False]  # why it cannot run as it stands
    timeout: bytes | Literal[False]  # as in the hash, like the next two
    result_ttl: bytes | Literal[False]
    failure_ttl: bytes | Literal[False]
    packed_fields: bytes  # JobFields as msgpack, for the worker; empty when there is a problem
    locks: Sequence[tuple[bytes, int]] | Literal[False]  # (key, fence) of each
    waited_s: float  # for its locks
    tenant: bytes
    suspicion: int
    special: bool  # whether more than its own records depends on its end, see ack.lua
    rate_limit_key: bytes | Literal[False]  # as in the hash
    # Its hash but for its data, as msgpack [name, value, …], for a worker that is to run callbacks
    # or to prepare webhooks; empty for all other jobs.
    rest: bytes


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
